"""One kind of work on a disk that may refuse it: told once, tried again after a pause."""

from __future__ import annotations

import logging

from edge_agent.clock import Clock
from edge_agent.errors import OutboxError

logger = logging.getLogger(__name__)


class Attempts:
    """``task`` is what to say before the disk's own words; ``failures`` counts those in a row."""

    def __init__(self, task: str, pause_s: float, clock: Clock) -> None:
        self.failures = 0
        self.fault: str | None = None
        self._task = task
        self._pause_ns = int(pause_s * 1e9)
        self._clock = clock
        self._next_ns = 0

    @property
    def are_due(self) -> bool:
        """The pause after the last failure is over."""
        return self._clock.monotonic_ns() >= self._next_ns

    def failed(self, error: OutboxError) -> None:
        """It was refused; the first time aloud."""
        level = logging.DEBUG if self.fault else logging.WARNING
        self.failures += 1
        self.fault = f"{self._task}: {error}"
        self._next_ns = self._clock.monotonic_ns() + self._pause_ns
        logger.log(level, "%s", self.fault)

    def worked(self) -> None:
        """It was done, or is no more to be done."""
        if self.fault is not None:
            logger.info("the disk is used again: no more %s", self._task)
        self.failures, self.fault, self._next_ns = 0, None, 0
