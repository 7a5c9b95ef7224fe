"""The board's power, looked at from time to time beside the main loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_agent.beside import Beside
from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError
from edge_agent.power import Power, power

logger = logging.getLogger(__name__)

EVERY_S = 30.0
"""Under-voltage comes and goes; what happened between two looks stands in the firmware's record."""


class Supply:
    """Belongs to the main thread. ``power`` is what was heard last, None where the board does not tell."""

    def __init__(self, beside: Beside, clock: Clock, look: Callable[[], Power | None] = power) -> None:
        self.power: Power | None = None
        self._beside = beside
        self._clock = clock
        self._look = look
        self._looking = False
        self._due_ns = clock.monotonic_ns()

    @property
    def fault(self) -> str | None:
        """What is wrong at the moment, with its remedy."""
        return self.power.fault if self.power else None

    def turn(self) -> None:
        """Begin to look, where it is time."""
        now_ns = self._clock.monotonic_ns()
        if not self._looking and now_ns >= self._due_ns:
            self._looking, self._due_ns = True, now_ns + int(EVERY_S * 1e9)
            self._beside.start("power", self._look, self._heard)

    def _heard(self, outcome: Power | EdgeAgentError | None) -> None:
        self._looking = False
        told = outcome if isinstance(outcome, Power) else None
        if told is not None and told.now and (self.power is None or told.now != self.power.now):
            logger.warning("power: %s", told.fault)
        self.power = told
