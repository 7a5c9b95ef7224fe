"""Whether the broker takes what we publish, and gives it back: tried with one message."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.mqtt.session import Session
from edge_agent.mqtt.settings import BrokerSettings, Pace, ProtocolVersion
from edge_agent.mqtt.subscription import connected
from edge_agent.mqtt.versions import VersionChoice

ECHO_S = 3.0
"""How long the broker has to give the message back; it is hardly ever more than a round trip."""


@dataclass(frozen=True)
class Trial:
    """What came of it. ``refused``: why the broker does not take the message; ``heard``: it came back.

    A broker that speaks 3.1.1 acknowledges what it throws away: there only ``heard`` proves anything.
    """

    protocol: ProtocolVersion
    refused: str | None
    heard: bool


@dataclass(frozen=True)
class Verdict:
    """A trial in words; ``remedy`` is None where all is well."""

    found: str
    remedy: str | None = None


_ACL = "allow this user to write and read below the base topic (the broker's ACL)"


def judge(trial: Trial, settings: BrokerSettings, topic: str, *, hears: bool) -> Verdict:
    """What to say of it; ``hears``: what others publish is to be heard, too."""
    how = f"MQTT {trial.protocol}{' over TLS' if settings.tls else ''}"
    if trial.refused is not None:
        return Verdict(f"it does not let us publish to {topic}: {trial.refused}", _ACL)
    if trial.heard:
        return Verdict(f"{how}: it takes what we publish, and gives it back")
    found = f"{how}: it acknowledges what we publish to {topic}, and does not give it back"
    if hears:
        return Verdict(f"{found}: no request can be heard", _ACL)
    if trial.protocol == "5":
        return Verdict(f"{found}; nothing is to be heard where requests are off")
    return Verdict(f"{found}: with MQTT 3.1.1 it cannot be known whether we may publish")


def try_broker(settings: BrokerSettings, topic: str, clock: Clock, pace: Pace | None = None) -> Trial:
    """Connect, listen to ``topic``, publish to it, and wait for what becomes of that.

    Raises:
        BrokerError: the broker cannot be reached or refuses us, or the connection is lost meanwhile.
    """
    pace, version = pace or Pace(), VersionChoice(settings.protocol)
    session = connected(settings, version, f"edge-agent-check-{secrets.token_hex(4)}", clock, pace)
    try:
        return _tried(session, version.current, topic, clock)
    finally:
        session.close()


def _tried(session: Session, protocol: ProtocolVersion, topic: str, clock: Clock) -> Trial:
    payload = secrets.token_hex(8).encode()
    session.subscribe(topic)
    ticket = session.send(topic, payload, qos=1, retain=False)
    deadline_ns = clock.monotonic_ns() + int(ECHO_S * 1e9)
    refused: str | None = None
    heard = settled = False
    while not (settled and (heard or refused)) and clock.monotonic_ns() < deadline_ns:
        ending = session.turn(0.1)
        for each in session.settled:
            settled = settled or each.ticket == ticket
            refused = refused or each.refused
        heard = heard or any(each.payload == payload for each in session.received)
        if ending is not None:
            raise ending.error
    return Trial(protocol, refused, heard)
