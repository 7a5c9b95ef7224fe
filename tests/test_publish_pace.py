"""publish_pace.py: which predictions are published."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.publish_pace import PublishPace, PublishRule

SECOND = 1_000_000_000


def published(rule: PublishRule, shown: str, every_s: float = 1.0) -> str:
    """Which of these predictions, one each so many seconds, are published: a letter each, else a dot."""
    pace = PublishPace(rule)
    return "".join(
        each if pace.lets(each, int(number * every_s * SECOND)) else "." for number, each in enumerate(shown)
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (PublishRule(), "aabbbaac"),
        (PublishRule(on_change=True), "a.b..a.c"),
        (PublishRule(every_s=3.0), "a..b..a."),
        (PublishRule(on_change=True, every_s=3.0), "a..b..a."),
        (PublishRule(on_change=True, every_s=2.0), "a.b..a.c"),
    ],
)
def test_what_is_published_by_each_rule(rule: PublishRule, expected: str) -> None:
    """Every one, changes only, at most so many, and both."""
    assert expected == published(rule, "aabbbaac")


def test_a_change_that_was_held_back_is_published_later() -> None:
    """Whoever reads only what is published ends up with what is true."""
    assert "a...b.." == published(PublishRule(on_change=True, every_s=4.0), "abbbbbb")


def test_a_flicker_within_the_time_is_nobody_s_business() -> None:
    """What is back to what was published last is no change."""
    assert "a......" == published(PublishRule(on_change=True, every_s=4.0), "abbaaaa")


def test_a_new_rule_holds_from_the_next_one_on() -> None:
    """A configuration that is read again changes the pace, not what it remembers."""
    pace = PublishPace(PublishRule(on_change=True))
    assert [True, False] == [pace.lets("a", number) for number in (1, 2)]
    pace.rule = PublishRule()
    assert pace.lets("a", 3)


@given(
    st.builds(PublishRule, st.booleans(), st.sampled_from([0.0, 0.5, 1.0, 2.5])),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.3, 1.0, 4.0])), max_size=30),
)
def test_never_more_than_the_rule_allows(rule: PublishRule, steps: list[tuple[str, float]]) -> None:
    """No two are nearer than the time; with changes only no two alike follow one another; the first is."""
    pace, now_ns = PublishPace(rule), 0
    told: list[tuple[str, int]] = []
    for shown, pause_s in steps:
        now_ns += int(pause_s * SECOND)
        if pace.lets(shown, now_ns):
            told.append((shown, now_ns))
    assert bool(told) == bool(steps)
    for before, after in itertools.pairwise(told):
        assert after[1] - before[1] >= rule.every_s * SECOND
        assert not rule.on_change or before[0] != after[0]
