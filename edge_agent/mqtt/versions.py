"""Which version of MQTT to speak with a broker that was never met."""

from __future__ import annotations

from typing import Literal

from edge_agent.mqtt.endings import Cause
from edge_agent.mqtt.settings import Pace, ProtocolVersion

_DOUBTS = 5
"""A broker that is shutting down, or a network that fails, ends connections too; one that was replaced does
it again and again. To speak 3.1.1 where 5 is spoken would have messages arrive twice."""


class VersionChoice:
    """Which version to try next, and what worked. "auto": 5 first, then 3.1.1, then what worked."""

    def __init__(self, wanted: Literal["auto", "5", "3.1.1"]) -> None:
        self._fixed: ProtocolVersion | None = None if wanted == "auto" else wanted
        self._doubts = 0
        self.worked: ProtocolVersion | None = None
        self.current: ProtocolVersion = self._fixed or "5"

    def patience_s(self, pace: Pace) -> float:
        """How long to wait for the broker's answer to CONNECT."""
        doubtful = self._fixed is None and self.worked is None and self.current == "5"
        return pace.doubt_s if doubtful else pace.connack_s

    def accepted(self) -> None:
        """The broker accepted ``current``."""
        self.worked = self.current
        self._doubts = 0

    def ended(self, cause: Cause) -> bool:
        """Note the end of a session; True: another version is worth trying at once."""
        if self._fixed is not None:
            return False
        if self.worked is not None:
            self._doubts = self._doubts + 1 if cause is Cause.NOT_SPOKEN else 0
            if self._doubts >= _DOUBTS:
                self.worked = None
                self.current = "5"
            return False
        if self.current == "5" and cause in (Cause.NOT_SPOKEN, Cause.SILENT):
            self.current = "3.1.1"
            return True
        self.current = "5"
        return False
