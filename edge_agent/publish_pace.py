"""Which predictions are published: each, or those that show something new, and how many at most."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishRule:
    """``on_change``: only what shows something else than the last one published; ``every_s``: at most one
    prediction in so many seconds, 0 for no limit.
    """

    on_change: bool = False
    every_s: float = 0.0


class PublishPace:
    """One camera's; ``rule`` may change at any time."""

    def __init__(self, rule: PublishRule | None = None) -> None:
        self.rule = rule or PublishRule()
        self._shown: Hashable = None
        self._published_ns: int | None = None

    def lets(self, shown: Hashable, now_ns: int) -> bool:
        """Whether the prediction of that moment (CLOCK_MONOTONIC) is published, which shows this.

        What is held back for its time only is not lost: the first prediction after it shows the change.
        """
        if self._published_ns is not None:
            too_soon = now_ns - self._published_ns < self.rule.every_s * 1e9
            if too_soon or (self.rule.on_change and shown == self._shown):
                return False
        self._shown, self._published_ns = shown, now_ns
        return True
