"""Announces the agent to Home Assistant, and takes back what is there no more.

Home Assistant forgets an entity only when it is told so. What was announced is therefore written down: a
camera that went while the agent was stopped vanishes too, and so does an agent that is not to be seen.
"""

from __future__ import annotations

import logging
import random
from typing import Protocol

from edge_agent.announced import Announced
from edge_agent.clock import Clock
from edge_agent.homeassistant import AgentProfile, components, discovery_topic, payload, undecided
from edge_agent.mqtt import Received
from edge_agent.publishing import Publishing
from edge_agent.state_file import StateFile

logger = logging.getLogger(__name__)

BIRTH_S = (1.0, 5.0)
"""So long after Home Assistant's birth all is told again: at random, for many devices hear it at once."""

TAKEN_IN_S = 3.0
"""So long after an announcement what is retained is told again: Home Assistant ignores a label that is not in
the options which it knows yet, and asks for nothing anew where a topic stays the same.
"""

SETTLE_S = 10.0
"""A connection that lasts so long has delivered what went: the broker gets retained messages first."""

ONLINE = b"online"


class Resending(Publishing, Protocol):
    """What the announcer needs of :class:`edge_agent.mqtt.Publisher`."""

    def resend(self) -> None:
        """Publish again what is retained."""
        ...


class Announcer:
    """Belongs to the main thread, but for ``hear``."""

    def __init__(self, publisher: Resending, prefix: str, file: StateFile[Announced], clock: Clock) -> None:
        self._publisher = publisher
        self._prefix = prefix
        self._file = file
        self._clock = clock
        self._known = file.read()
        self._told: AgentProfile | None = None
        self._gone: dict[str, str] = {}
        self._leaving = False
        self._leaving_since_ns: int | None = None
        self._resend_ns: int | None = None

    def hear(self, received: Received) -> None:
        """On the publisher's thread: Home Assistant has started, or goes. A retained word is an old one, and
        a new connection of ours has told everything anyway.
        """
        if received.payload == ONLINE and not received.retained:
            self._resend_in(random.uniform(*BIRTH_S))  # noqa: S311  spreads agents, hides nothing

    def announce(self, agent: AgentProfile) -> None:
        """Have Home Assistant see this; nothing is published while it is what was told before."""
        if agent == self._told:
            return
        self._told = agent
        topic = discovery_topic(self._prefix, agent.id)
        entities = components(agent)
        left = tuple(each for each in _topics(self._known) if each != topic)
        for each in left:
            self._publisher.publish(each, b"", retain=True)
        before = self._known.components if self._known and self._known.topic == topic else {}
        vanished = {key: platform for key, platform in before.items() if key not in entities}
        self._gone = {key: platform for key, platform in vanished.items() if not undecided(agent, key)}
        now = {key: str(entity["platform"]) for key, entity in entities.items()}
        self._remember(Announced(topic, {**vanished, **now}, left))
        self._publisher.publish(topic, payload(agent, entities, self._gone), retain=True)
        self._leave(bool(self._gone or left))
        self._resend_in(TAKEN_IN_S)

    def withdraw(self) -> None:
        """Have Home Assistant see nothing, where it saw something once."""
        if self._known is not None and not self._leaving:
            for each in _topics(self._known):
                self._publisher.publish(each, b"", retain=True)
            self._leave(True)

    def turn(self, *, connected: bool) -> None:
        """Do what is due: tell all again after a birth, forget what Home Assistant has forgotten."""
        self._file.keep(self._known)
        now_ns = self._clock.monotonic_ns()
        if self._resend_ns is not None and not connected:
            self._resend_ns = now_ns + int(TAKEN_IN_S * 1e9)
        elif self._resend_ns is not None and now_ns >= self._resend_ns:
            self._resend_ns = None
            logger.debug("Home Assistant has heard of us: all that is retained is published again")
            self._publisher.resend()
        if not connected or not self._leaving:
            self._leaving_since_ns = None
        elif self._leaving_since_ns is None:
            self._leaving_since_ns = now_ns
        elif now_ns - self._leaving_since_ns >= int(SETTLE_S * 1e9):
            self._forget()

    def _leave(self, leaving: bool) -> None:
        """Whether there is something that Home Assistant has yet to hear the end of."""
        self._leaving, self._leaving_since_ns = leaving, None

    def _forget(self) -> None:
        """Home Assistant has heard it."""
        self._leave(False)
        if self._told is None or self._known is None:
            self._remember(None)
            return
        topic, known = self._known.topic, self._known.components
        self._remember(Announced(topic, {key: known[key] for key in known if key not in self._gone}))
        if self._gone:
            self._publisher.publish(topic, payload(self._told, components(self._told), {}), retain=True)

    def _remember(self, announced: Announced | None) -> None:
        self._known = announced
        self._file.keep(announced)

    def _resend_in(self, pause_s: float) -> None:
        """Not before that, though less was asked for."""
        due_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        self._resend_ns = max(due_ns, self._resend_ns or 0)


def _topics(announced: Announced | None) -> tuple[str, ...]:
    """Where something is or may be announced."""
    return () if announced is None else (announced.topic, *announced.left)
