"""What is wrong between us and the broker: told once, remembered while it lasts, answered with patience."""

from __future__ import annotations

import logging

from edge_agent.clock import Clock
from edge_agent.mqtt import endings
from edge_agent.mqtt.endings import Cause, Ending
from edge_agent.mqtt.settings import BrokerSettings, Pace, ProtocolVersion

_log = logging.getLogger(__name__)

_FLAPS = 3
"""Short sessions in a row that look like two clients of one id taking turns. MQTT 3.1.1 has no word for
it, and mosquitto before 2.0.15 (Debian 12 has 2.0.11) does not use the one of MQTT 5."""

_REFUSALS = 100
"""Topics whose refusal is remembered."""


class Troubles:
    """The state of affairs for status, log and the next delay; all but ``fault`` on one thread."""

    def __init__(self, settings: BrokerSettings, pace: Pace, clock: Clock) -> None:
        self._settings = settings
        self._pace = pace
        self._clock = clock
        self._told: set[str] = set()
        self._failures = 0
        self._flaps = 0
        self._began_ns: int | None = None
        self._hold_ns = 0
        self._connection: str | None = None
        self._namesake: str | None = None
        self._namesake_until_ns = 0
        self._refusals: dict[str, str] = {}

    @property
    def fault(self) -> str | None:
        """What is wrong now, with the remedy, in one line."""
        return self._connection or self._namesake or next(iter(tuple(self._refusals.values())), None)

    @property
    def may_share_id(self) -> bool:
        """Another client of our id is, or was a moment ago, about."""
        return self._namesake is not None or self._hold_ns > 0

    def began(self, version: ProtocolVersion) -> None:
        """The broker accepted us. After a takeover the fault stays told until it seems to be over."""
        self._began_ns = self._clock.monotonic_ns()
        self._refusals.clear()
        if not self._hold_ns:
            self._connection = None
        level = logging.DEBUG if self._flaps else logging.INFO
        _log.log(level, "connected to the MQTT broker at %s, MQTT %s", self._settings.where, version)

    def lasted(self) -> None:
        """The session still stands; a steady one ends the trouble."""
        if self._namesake is not None and self._clock.monotonic_ns() >= self._namesake_until_ns:
            self._namesake = None
        if self._began_ns is None or not (self._failures or self._hold_ns):
            return
        age_ns = self._clock.monotonic_ns() - self._began_ns
        if age_ns >= self._pace.steady_s * 1e9:
            self._failures = self._flaps = 0
            if age_ns >= self._hold_ns:
                self._hold_ns = 0
                self._connection = None
                self._told.clear()

    def ended(self, ending: Ending) -> float:
        """Note and tell the end of a session; the seconds to wait before the next attempt."""
        ending = self._seen_before(ending)
        self._failures += 1
        self._connection = str(ending.error)
        self._tell(self._connection)
        if ending.cause is Cause.TAKEN_OVER:
            self._hold_ns = int(2e9 * self._pace.takeover_s)
            return self._pace.takeover_delay_s()
        return self._pace.delay_s(self._failures)

    def _seen_before(self, ending: Ending) -> Ending:
        """The same ending, unless it is one too many of its kind."""
        began_ns, self._began_ns = self._began_ns, None
        if began_ns is None or ending.cause is not Cause.LOST:
            return ending
        age_ns = self._clock.monotonic_ns() - began_ns
        if age_ns >= max(self._hold_ns, self._pace.steady_s * 1e9):
            self._failures = self._flaps = self._hold_ns = 0
            self._told.clear()
            return ending
        if self._hold_ns:  # the suspicion still stands
            return endings.flapping(self._settings)
        self._flaps += 1
        return endings.flapping(self._settings) if self._flaps >= _FLAPS else ending

    def met_namesake(self) -> None:
        """Another agent writes to our topics. Told for as long as it may take to come back once more."""
        self._namesake = str(endings.namesake(self._settings))
        self._namesake_until_ns = self._clock.monotonic_ns() + int(2e9 * self._pace.takeover_s)
        self._tell(self._namesake)

    def settled(self, topic: str, refused: str | None) -> None:
        """The broker took a message, or would not. One warning for all topics that it refuses alike."""
        if refused is None:
            self._refusals.pop(topic, None)
        elif topic in self._refusals or len(self._refusals) < _REFUSALS:
            self._refusals[topic] = endings.not_taken(self._settings, topic, refused)
            self._tell(self._refusals[topic], kind=refused)

    def subscribed(self, topic_filter: str, *, granted: bool) -> None:
        """The broker lets us listen, or does not."""
        if granted:
            self._refusals.pop(topic_filter, None)
        else:
            self._refusals[topic_filter] = str(endings.not_granted(self._settings, topic_filter))
            self._tell(self._refusals[topic_filter])

    def echo(self, topic: str, *, missing: bool) -> bool:
        """What we publish to a topic that we listen to does not come back, or does; whether it does again."""
        key = f"echo of {topic}"
        if not missing:
            return self._refusals.pop(key, None) is not None
        if key not in self._refusals:
            self._refusals[key] = str(endings.not_given_back(self._settings, topic))
            self._tell(self._refusals[key])
        return False

    def _tell(self, text: str, kind: str | None = None) -> None:
        """The first time aloud; ``kind``: the first of its kind."""
        kind = kind or text
        level = logging.DEBUG if kind in self._told else logging.WARNING
        if len(self._told) < 100:
            self._told.add(kind)
        _log.log(level, "%s", text)
