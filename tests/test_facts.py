"""facts.py: scores in, and out what began and what ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import Moment
from edge_agent.facts import Began, Ended, FactRules, Facts, LabelRule
from edge_agent.predictions import rank

SECOND = 1_000_000_000
LABELS = ("ant", "bee", "cat")


def moment(seconds: float) -> Moment:
    """So long after the start, on both clocks."""
    passed_ns = int(seconds * SECOND)
    return Moment(passed_ns, 1_700_000_000 * SECOND + passed_ns)


class Watch:
    """Facts about LABELS, a prediction each second, told as short words: +ant began, -ant ended."""

    def __init__(
        self,
        rule: LabelRule | None = None,
        *,
        multilabel: bool = False,
        smoothing_s: float = 0.0,
        **labels: LabelRule,
    ) -> None:
        count = itertools.count(1)
        rules = FactRules(rule or LabelRule(), labels, smoothing_s)
        self.facts = Facts(rules, lambda: f"id{next(count)}")
        self.facts.adopt(LABELS, moment(0), multilabel=multilabel)
        self.now_s = 0.0
        self.changes: list[Began | Ended] = []

    def sees(self, *scores: float) -> str:
        """What one prediction changes."""
        self.now_s += 1.0
        changes = self.facts.observe(np.array(scores, np.float32), moment(self.now_s))
        self.changes += changes
        return words(changes)

    def follows(self, index: int, scores: Iterable[float]) -> list[str]:
        """What scores of one label change, the others being 0."""
        return [self.sees(*(score if place == index else 0.0 for place in range(3))) for score in scores]


def words(changes: Iterable[Began | Ended]) -> str:
    """In short."""
    return " ".join(f"{'+' if isinstance(each, Began) else '-'}{each.label}" for each in changes)


def test_by_default_the_best_label_is_settled_at_once() -> None:
    """No delay, no memory: what is best now, with one end for one beginning."""
    watch = Watch()
    assert ["+ant", "", "-ant +bee", "-bee +ant"] == [
        watch.sees(*scores) for scores in ((0.5, 0.3, 0), (0.4, 0.3, 0), (0.4, 0.41, 0), (0.5, 0.5, 0))
    ]


@pytest.mark.parametrize("multilabel", [False, True])
def test_nothing_is_settled_below_the_threshold(multilabel: bool) -> None:
    """A label whose score is the threshold itself is above it, as in a ranking; one that float32
    rounds down is not.
    """
    watch = Watch(LabelRule(enter=0.5, leave=0.5), multilabel=multilabel)
    assert ["", "+ant", "", "-ant"] == watch.follows(0, (0.49, 0.5, 0.5, 0.49))
    watch = Watch(LabelRule(enter=0.7, leave=0.7), multilabel=multilabel)
    assert ["", "+ant"] == watch.follows(0, (0.7, 0.71))


def test_a_score_within_the_band_changes_nothing() -> None:
    """Hysteresis: below enter no beginning, at leave no end."""
    watch = Watch(LabelRule(enter=0.8, leave=0.5))
    assert ["", "+ant", "", "", "-ant", "", "+ant"] == watch.follows(
        0, (0.79, 0.8, 0.5, 0.79, 0.49, 0.79, 0.9)
    )


def test_another_label_takes_over_only_when_it_enters() -> None:
    """Of a multi-class model the settled one stays though another is better, until that one enters."""
    watch = Watch(LabelRule(enter=0.6, leave=0.3))
    assert ["+ant", "", "-ant +bee", "-bee"] == [
        watch.sees(*scores) for scores in ((0.7, 0.2, 0), (0.4, 0.5, 0), (0.35, 0.6, 0), (0.5, 0.2, 0))
    ]


def test_labels_of_a_multilabel_model_are_each_for_itself() -> None:
    """Several hold at a time, and none ends for another's sake."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5), multilabel=True)
    told = [watch.sees(*scores) for scores in ((0.9, 0.8, 0), (0.9, 0.1, 0.6), (0.9, 0.1, 0.6))]
    assert ["+ant +bee", "-bee +cat", ""] == told
    assert (0, 2) == watch.facts.held


def test_a_blip_is_shorter_than_the_minimum_duration() -> None:
    """A label begins when it was seen for that long, counted anew after each break."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5, min_duration_s=2.0))
    assert ["", "", "", "", "", "+ant", "-ant"] == watch.follows(0, (0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.1))


def test_another_label_must_last_too_before_it_takes_over() -> None:
    """With no threshold at all the minimum duration still steadies the label."""
    watch = Watch(LabelRule(min_duration_s=2.0))
    ant, bee = (0.6, 0.4, 0.0), (0.4, 0.6, 0.0)
    told = [watch.sees(*scores) for scores in (ant, ant, ant, bee, bee, ant, bee, bee, bee)]
    assert ["", "", "+ant", "", "", "", "", "", "-ant +bee"] == told


def test_k_of_the_last_n_begin_and_fewer_end() -> None:
    """A dropout or two are outvoted, and so is a false alarm."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5, at_least=(2, 3)))
    assert ["", "", "+ant", "", "", "-ant", ""] == watch.follows(0, (0.9, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9))


def test_a_label_does_not_begin_again_while_it_cools_down() -> None:
    """Counted from its end; another label is free to begin."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5, cool_down_s=3.0))
    scores = ((0.9, 0, 0), (0, 0, 0), (0.9, 0, 0), (0, 0.9, 0), (0.9, 0, 0), (0.9, 0, 0))
    assert ["+ant", "-ant", "", "+bee", "-bee +ant", ""] == [watch.sees(*each) for each in scores]


def test_a_label_may_have_a_rule_of_its_own() -> None:
    """The others go by the camera's."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5), multilabel=True, bee=LabelRule(enter=0.9, leave=0.9))
    assert "+ant +cat" == watch.sees(0.6, 0.6, 0.6)


def test_smoothing_has_its_time_constant() -> None:
    """After one time constant a step from 0 to 1 is at 1 - 1/e, whatever the rate of predictions."""
    for steps in (1, 10):
        facts = Facts(FactRules(LabelRule(enter=0.632, leave=0.632), smoothing_s=5.0))
        facts.adopt(("ant",), moment(0), multilabel=False)
        facts.observe(np.zeros(1, np.float32), moment(0))
        told = [
            words(facts.observe(np.ones(1, np.float32), moment(5.0 * step / steps)))
            for step in range(1, steps + 1)
        ]
        assert [""] * (steps - 1) + ["+ant"] == told


def test_smoothing_begins_anew_after_a_break() -> None:
    """What a camera saw an hour ago says nothing of now."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5), smoothing_s=1e6)
    assert ["+ant", ""] == watch.follows(0, (0.9, 0.1))
    watch.facts.close(moment(watch.now_s), "camera")
    assert [""] == watch.follows(0, (0.1,))
    assert [""] == watch.follows(0, (0.9,))


def test_the_peak_is_that_of_this_time() -> None:
    """Not of the time before, though votes of then still count."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5, at_least=(2, 3)))
    assert ["", "+ant", "", "-ant", "", "+ant", "", "-ant"] == watch.follows(
        0, (0.9, 0.9, 0.1, 0.1, 0.6, 0.6, 0.1, 0.1)
    )
    assert [0.9, 0.6] == pytest.approx([each.peak for each in watch.changes if isinstance(each, Ended)])


def test_nothing_ends_before_it_began() -> None:
    """Two threads may tell of one camera for a moment, the older moment last."""
    watch = Watch()
    watch.sees(0.9, 0, 0)
    (ended,) = watch.facts.close(moment(0.5), "model")
    assert 0.0 == ended.duration_s


def test_a_beginning_and_its_end_are_one() -> None:
    """The same id; the peak is the highest score in between, the duration that of both moments."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5))
    watch.follows(1, (0.6, 0.9, 0.7, 0.2, 0.8))
    first, end, second = watch.changes
    assert isinstance(end, Ended)
    assert ("id1", "id1", "id2") == (first.id, end.id, second.id)
    assert (0.6, 0.9, 0.2) == pytest.approx((first.score, end.peak, end.score))
    assert (3.0, "left", first.at) == (end.duration_s, end.reason, end.began)


def test_what_is_closed_ends_with_its_reason_and_counts_no_longer() -> None:
    """After a camera was away a label has to last anew."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5, min_duration_s=1.0))
    assert ["", "+ant"] == watch.follows(0, (0.9, 0.9))
    (ended,) = watch.facts.close(moment(5.0), "camera")
    assert ("camera", 3.0) == (ended.reason, ended.duration_s)
    assert [] == watch.facts.close(moment(6.0), "camera")
    watch.now_s = 60.0
    assert ["", "+ant"] == watch.follows(0, (0.9, 0.9))


def test_votes_before_a_break_do_not_count_after_it() -> None:
    """Nor does what was seen before the camera went."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5, at_least=(2, 3)))
    assert [""] == watch.follows(0, (0.9,))
    watch.facts.close(moment(1.5), "camera")
    assert ["", "+ant"] == watch.follows(0, (0.9, 0.9))


def test_another_model_keeps_what_it_knows() -> None:
    """Labels that it has too stay open, wherever they stand in it; those that are gone end."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5), multilabel=True)
    assert "+ant +cat" == watch.sees(0.9, 0.0, 0.8)
    (ended,) = watch.facts.adopt(("dog", "cat", "bee"), moment(2), multilabel=True)
    assert ("ant", "model") == (ended.label, ended.reason)
    assert (1,) == watch.facts.held
    watch.now_s = 2.0
    assert "-cat" == watch.sees(0.0, 0.0, 0.0)
    assert "id2" == watch.changes[-1].id


def test_another_kind_of_model_keeps_nothing() -> None:
    """Several labels at a time cannot become one."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5), multilabel=True)
    watch.sees(0.9, 0.0, 0.8)
    assert "-ant -cat" == words(watch.facts.adopt(LABELS, moment(2), multilabel=False))


@pytest.mark.parametrize(("seen", "place"), [(0, 0), (1, 2)])
def test_two_labels_of_one_name_are_two(seen: int, place: int) -> None:
    """An export may have a label twice; in the next model the first is the first again."""
    facts = Facts(FactRules(LabelRule(enter=0.5, leave=0.5)))
    facts.adopt(("ant", "ant"), moment(0), multilabel=True)
    facts.observe(np.array([seen == 0, seen == 1], np.float32), moment(1))
    assert [] == facts.adopt(("ant", "bee", "ant"), moment(2), multilabel=True)
    assert (place,) == facts.held


def test_a_clock_that_was_set_corrects_the_beginning() -> None:
    """A Pi starts in the past: what began before NTP ends with moments that fit one another."""
    began = Moment(5 * SECOND, 1_000 * SECOND)
    later = Moment(15 * SECOND, 1_700_000_000 * SECOND)
    ended = Ended("id", "ant", 0.5, 0.9, began, later, "left")
    assert (10.0, (1_700_000_000 - 10) * SECOND) == (ended.duration_s, ended.began_wall_ns)
    slewed = Ended("id", "ant", 0.5, 0.9, began, Moment(15 * SECOND, 1_010 * SECOND + 900_000_000), "left")
    assert began.wall_ns == slewed.began_wall_ns


def test_new_rules_do_not_end_what_they_would_not_have_begun() -> None:
    """An open label stays until its next votes speak against it."""
    watch = Watch(LabelRule(enter=0.5, leave=0.5))
    assert ["+ant"] == watch.follows(0, (0.7,))
    watch.facts.obey(FactRules(LabelRule(enter=0.9, leave=0.6, at_least=(3, 5))))
    assert ["", "", "", "-ant", ""] == watch.follows(0, (0.7, 0.1, 0.1, 0.1, 0.8))


SCORES = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0]) | st.floats(0, 1, width=32)
STREAMS = st.lists(st.tuples(SCORES, SCORES, SCORES), max_size=40)


@st.composite
def label_rules(draw: st.DrawFn) -> LabelRule:
    """Any that the configuration takes."""
    low, high = sorted((draw(SCORES), draw(SCORES)))
    least, of = sorted((draw(st.integers(1, 5)), draw(st.integers(1, 5))))
    pauses = st.sampled_from([0.0, 0.5, 1.0, 3.0])
    return LabelRule(high, low, draw(pauses), (least, of), draw(pauses))


@st.composite
def lives(draw: st.DrawFn) -> list[Began | Ended]:
    """Everything that a camera tells in its life: scores, breaks, other models, other rules."""
    rules = st.builds(
        FactRules,
        label_rules(),
        st.dictionaries(st.sampled_from(LABELS), label_rules()),
        st.sampled_from([0.0, 2.0]),
    )
    facts = Facts(draw(rules))
    told: list[Began | Ended] = []
    models = st.tuples(st.permutations(LABELS) | st.just(["cat", "dog", "eel"]), st.booleans())
    now_s = 0.0
    for event in [
        "model",
        *draw(st.lists(st.sampled_from(["look"] * 12 + ["model", "rest", "rules"]), max_size=60)),
    ]:
        now_s += draw(st.sampled_from([0.1, 1.0]))
        if event == "model":
            labels, multilabel = draw(models)
            told += facts.adopt(labels, moment(now_s), multilabel=multilabel)
        elif event == "rest":
            told += facts.close(moment(now_s), "camera")
        elif event == "rules":
            facts.obey(draw(rules))
        else:
            told += facts.observe(
                np.array(draw(st.tuples(SCORES, SCORES, SCORES)), np.float32), moment(now_s)
            )
        opened = {each.id: each.label for each in told if isinstance(each, Began)}
        for each in told:
            if isinstance(each, Ended):
                del opened[each.id]
        assert sorted(opened.values()) == sorted(facts.labels[index] for index in facts.held)
        assert facts.multilabel or len(facts.held) <= 1
    return told + list(facts.close(moment(now_s), "stopped"))


@given(lives())
def test_each_beginning_has_one_end_and_none_is_open_twice(told: Sequence[Began | Ended]) -> None:
    """Whatever happens: an id begins once and ends once, later; a label is open once; peaks fit."""
    open_now: dict[str, Began] = {}
    known: set[str] = set()
    for each in told:
        if isinstance(each, Began):
            assert each.id not in known
            assert each.label not in {other.label for other in open_now.values()}
            known.add(each.id)
            open_now[each.id] = each
        else:
            began = open_now.pop(each.id)
            assert (began.label, began.at) == (each.label, each.began)
            assert each.duration_s >= 0
            assert each.peak >= max(began.score, each.score)
    assert {} == open_now


@given(STREAMS, st.floats(0, 1))
def test_with_defaults_the_label_is_the_best_of_each_prediction(
    stream: list[tuple[float, ...]], threshold: float
) -> None:
    """Exactly what the ranking says, ties and roundings of float32 included."""
    watch = Watch(LabelRule(enter=threshold, leave=threshold))
    for scores in stream:
        watch.sees(*scores)
        ranking = rank(np.array(scores, np.float32), LABELS, top_k=1, threshold=threshold)
        assert [each.index for each in ranking] == list(watch.facts.held)


@given(STREAMS, label_rules(), st.booleans())
def test_within_the_band_nothing_flaps(
    stream: list[tuple[float, ...]], rule: LabelRule, multilabel: bool
) -> None:
    """While every score is at least leave and below enter, what holds goes on to hold and nothing begins."""
    watch = Watch(rule, multilabel=multilabel)
    for scores in stream:
        watch.sees(*scores)
        quiet = len(watch.changes)
        held = watch.facts.held
        band = [np.float32(rule.leave), np.nextafter(np.float32(rule.enter), np.float32(0))]
        if not all(rule.leave <= float(each) < rule.enter for each in band):
            continue
        votes = rule.at_least[1] + 1
        for number in range(votes):
            watch.sees(*([float(band[number % 2])] * 3))
        # What stood at the edge before may still end by older votes; nothing begins, nothing comes back.
        assert "+" not in words(watch.changes[quiet:])
        assert set(watch.facts.held) <= set(held)
        settled = len(watch.changes)
        watch.sees(*([float(band[0])] * 3))
        assert settled == len(watch.changes)


@given(STREAMS, label_rules(), st.booleans())
def test_nothing_begins_that_was_not_seen_often_and_long_enough(
    stream: list[tuple[float, ...]], rule: LabelRule, multilabel: bool
) -> None:
    """Each beginning has its k votes, its time and its pause behind it, by a count of the plainest kind."""
    watch = Watch(rule, multilabel=multilabel)
    seen: dict[str, list[bool]] = {label: [] for label in LABELS}
    ended_s: dict[str, float] = {}
    for scores in stream:
        floats = [float(np.float32(score)) for score in scores]
        for place, label in enumerate(LABELS):
            best = multilabel or place == floats.index(max(floats))
            seen[label].append(best and floats[place] >= rule.enter)
        before = len(watch.changes)
        watch.sees(*scores)
        for each in watch.changes[before:]:
            if isinstance(each, Ended):
                ended_s[each.label] = watch.now_s
                continue
            votes = seen[each.label]
            assert sum(votes[-rule.at_least[1] :]) >= rule.at_least[0]
            run = len(list(itertools.takewhile(bool, reversed(votes))))
            assert run - 1 >= rule.min_duration_s
            assert watch.now_s - ended_s.get(each.label, -1e9) >= rule.cool_down_s
