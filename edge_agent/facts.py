"""From scores to facts: which label is settled, and when it began and ended.

Pure: each moment comes with the scores. Between a prediction and an automation stand a pair of thresholds
(hysteresis), votes of the last predictions, a minimum duration and a cool-down, for each label.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_agent.clock import Moment

EndReason = Literal["left", "camera", "model", "paused", "removed", "stopped"]
"""Why a label ended: another took its place or its score left; the camera went offline or ended; no model
serves, or one without this label; the camera was paused; it was removed; the agent stopped.
"""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """When a label begins and ends.

    It begins at a prediction that scores it at least ``enter``, if those before did so for
    ``min_duration_s`` without a break, ``at_least`` (k, n) k of the last n did, and its last end is
    ``cool_down_s`` ago. It ends when fewer than k of the last n score it at least ``leave``.
    """

    enter: float = 0.0
    leave: float = 0.0
    min_duration_s: float = 0.0
    at_least: tuple[int, int] = (1, 1)
    cool_down_s: float = 0.0


@dataclass(frozen=True)
class FactRules:
    """One camera's: ``labels`` have rules of their own; ``smoothing_s`` is the time constant of the
    exponential mean that stands for the scores, 0 for none.
    """

    rule: LabelRule = LabelRule()
    labels: Mapping[str, LabelRule] = field(default_factory=dict)
    smoothing_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Began:
    """A label is settled from now on; ``id`` is this one's for ever."""

    id: str
    label: str
    score: float
    at: Moment


@dataclass(frozen=True, slots=True)
class Ended:
    """It is no more; ``score`` is its last one, ``peak`` its highest."""

    id: str
    label: str
    score: float
    peak: float
    began: Moment
    at: Moment
    reason: EndReason

    @property
    def duration_s(self) -> float:
        """By a clock that nobody sets."""
        return (self.at.monotonic_ns - self.began.monotonic_ns) / 1e9

    @property
    def began_wall_ns(self) -> int:
        """Unix time of its beginning: as told then, or by the clock as it goes now if it was set since."""
        return self.began.seen_from(self.at).wall_ns


@dataclass(slots=True)
class _Label:
    """What is remembered of one label. The votes are bits, the newest lowest: ``seen`` (it might begin) and
    ``stayed`` (it need not end).
    """

    rule: LabelRule
    seen: int = 0
    stayed: int = 0
    since_ns: int = 0
    cool_until_ns: int | None = None
    began: Began | None = None
    score: float = 0.0
    peak: float = 0.0

    def vote(self, score: float, seen: bool, now_ns: int) -> None:
        """Count one prediction in."""
        window = (1 << self.rule.at_least[1]) - 1
        if not self.seen & 1:
            self.since_ns = now_ns
        self.seen = (self.seen << 1 | seen) & window
        self.stayed = (self.stayed << 1 | (score >= self.rule.leave)) & window
        self.score, self.peak = score, max(self.peak, score)

    def begins(self, now_ns: int) -> bool:
        """Whether it does, having been seen just now."""
        return (
            self.began is None
            and self.seen.bit_count() >= self.rule.at_least[0]
            and now_ns - self.since_ns >= self.rule.min_duration_s * 1e9
            and not self.cools(now_ns)
        )

    def ends(self) -> bool:
        """Whether it does, being open."""
        return self.stayed.bit_count() < self.rule.at_least[0]

    def cools(self, now_ns: int) -> bool:
        """Whether it may not begin yet."""
        return self.cool_until_ns is not None and now_ns < self.cool_until_ns

    def obey(self, rule: LabelRule) -> None:
        """Go by another rule; an open label is not ended by votes that were never asked for."""
        if rule.at_least != self.rule.at_least:
            self.stayed = (1 << rule.at_least[1]) - 1
        self.rule = rule


class Facts:
    """One camera's. Of a multi-class model one label is settled at a time, of a multi-label one each that
    holds: ``held`` says where they stand among ``labels``, in order. One thread at a time uses it.
    """

    def __init__(self, rules: FactRules | None = None, new_id: Callable[[], str] | None = None) -> None:
        self.labels: Sequence[str] = ()
        self.multilabel = False
        self.held: tuple[int, ...] = ()
        self._rules = rules or FactRules()
        self._new_id = new_id or (lambda: str(uuid.uuid4()))
        self._watched: dict[int, _Label] = {}
        self._smoothed: npt.NDArray[np.float64] | None = None
        self._last_ns = 0
        self._enter: npt.NDArray[np.float64] = np.empty(0)

    @property
    def rules(self) -> FactRules:
        """What is in force."""
        return self._rules

    def obey(self, rules: FactRules) -> None:
        """Go by other rules from the next prediction on; what is open stays open until then."""
        self._rules = rules
        for index, label in self._watched.items():
            label.obey(self._rule_of(index))
        self._enter = np.array([self._rule_of(index).enter for index in range(len(self.labels))])

    def adopt(self, labels: Sequence[str], at: Moment, *, multilabel: bool) -> list[Ended]:
        """Another model answers from now on: labels that it has too stay open, the others end.

        One that is there twice is the same only in the same place among its equals.
        """
        kept: dict[int, _Label] = {}
        gone: list[_Label] = []
        places = {name: index for index, name in enumerate(_numbered(labels))}
        names = _numbered(self.labels)
        for index, label in self._watched.items():
            place = places.get(names[index]) if multilabel == self.multilabel else None
            if place is None:
                gone.append(label)
            else:
                kept[place] = label
        ended = [self._end(label, at, "model") for label in gone if label.began is not None]
        self.labels, self.multilabel, self._watched = labels, multilabel, kept
        self._smoothed = None
        self._settle(at.monotonic_ns)
        self.obey(self._rules)
        return ended

    def observe(self, scores: npt.NDArray[np.float32], at: Moment) -> list[Began | Ended]:
        """What one prediction's scores, one per label, change; ends come before beginnings."""
        now_ns = at.monotonic_ns
        values = self._smooth(scores, now_ns)
        seen = self._seen(values)
        for index in seen:
            if index not in self._watched:
                self._watched[index] = _Label(self._rule_of(index))
        floats = values.tolist()
        for index, label in self._watched.items():
            label.vote(floats[index], index in seen, now_ns)
        beginning = [index for index in seen if self._watched[index].begins(now_ns)]
        held = [self._watched[index] for index in self.held]
        ending = held if beginning and not self.multilabel else [label for label in held if label.ends()]
        ended = [self._end(label, at, "left") for label in ending]
        began = [self._begin(index, at) for index in beginning]
        self._settle(now_ns)
        return [*ended, *began]

    def close(self, at: Moment, reason: EndReason) -> list[Ended]:
        """Nobody looks any more: what is open ends, and what was seen counts no longer."""
        ended = [self._end(each, at, reason) for each in self._watched.values() if each.began is not None]
        for label in self._watched.values():
            label.seen = 0
        self._smoothed = None
        self._settle(at.monotonic_ns)
        return ended

    def _rule_of(self, index: int) -> LabelRule:
        return self._rules.labels.get(self.labels[index], self._rules.rule)

    def _smooth(self, scores: npt.NDArray[np.float32], now_ns: int) -> npt.NDArray[np.float64]:
        """As float64: a ranking, too, compares scores with its threshold as Python's floats."""
        values = scores.astype(np.float64)
        if not self._rules.smoothing_s:
            return values
        if self._smoothed is not None:
            passed_s = max(0, now_ns - self._last_ns) / 1e9
            weight = -math.expm1(-passed_s / self._rules.smoothing_s)
            values = self._smoothed + (values - self._smoothed) * weight
        self._smoothed, self._last_ns = values, now_ns
        return values

    def _seen(self, values: npt.NDArray[np.float64]) -> dict[int, None]:
        """The labels that this prediction speaks for: of a multi-class model the best at most."""
        if self.multilabel:
            return dict.fromkeys(np.flatnonzero(values >= self._enter).tolist())
        best = int(values.argmax())
        return {best: None} if values[best] >= self._enter[best] else {}

    def _begin(self, index: int, at: Moment) -> Began:
        label = self._watched[index]
        label.began = Began(self._new_id(), self.labels[index], label.score, at)
        label.stayed, label.peak = label.seen, label.score
        return label.began

    def _end(self, label: _Label, at: Moment, reason: EndReason) -> Ended:
        began = label.began
        assert began is not None
        # A camera that changes its model is on two threads for a moment, and time seems to go back.
        at = at if at.monotonic_ns >= began.at.monotonic_ns else began.at
        label.began = None
        label.cool_until_ns = at.monotonic_ns + int(label.rule.cool_down_s * 1e9)
        return Ended(began.id, began.label, label.score, label.peak, began.at, at, reason)

    def _settle(self, now_ns: int) -> None:
        """Note what is held, and forget the rest: a model may have thousands of labels."""
        self._watched = {
            index: each
            for index, each in self._watched.items()
            if each.began is not None or each.seen or each.cools(now_ns)
        }
        self.held = tuple(sorted(index for index, each in self._watched.items() if each.began is not None))


def _numbered(labels: Sequence[str]) -> list[tuple[str, int]]:
    """Each label with how often it was there before."""
    count: dict[str, int] = {}
    numbered = []
    for label in labels:
        count[label] = count.get(label, -1) + 1
        numbered.append((label, count[label]))
    return numbered
