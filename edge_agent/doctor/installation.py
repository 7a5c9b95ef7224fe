"""What the configuration asks of the machine, beside the Edge TPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.doctor import broker, cameras
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine, User
from edge_agent.mqtt import BrokerSettings


@dataclass(frozen=True)
class Installation:
    """``cameras`` are the sources of those that are not paused, by name; ``topic`` is one that may be
    published to, and ``hears``: requests over MQTT are wanted.
    """

    state_dir: Path
    cameras: Mapping[str, str]
    broker: BrokerSettings
    topic: str
    hears: bool

    def look(
        self, machine: Machine, user: User, clock: Clock, *, serviced: bool, hides_home: bool
    ) -> Iterator[Finding]:
        """``camera`` for each of them, and ``broker``; ``serviced``: systemd runs the agent, and perhaps
        ``hides_home`` from it.
        """
        yield from cameras.look(machine, user, self.cameras, hides_home=hides_home)
        yield broker.look(self.broker, self.topic, clock, hears=self.hears, serviced=serviced)
