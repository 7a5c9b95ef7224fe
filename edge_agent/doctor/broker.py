"""The MQTT broker: whether it takes what the agent publishes, and gives it back; tried with one message."""

from __future__ import annotations

from edge_agent.clock import Clock
from edge_agent.doctor.findings import Finding
from edge_agent.errors import BrokerError
from edge_agent.mqtt import BrokerSettings, judge, try_broker

_DEAF = "nothing is published; what must not be lost waits, within bounds"

_HANDED_OVER = "a password that systemd hands to the service is not handed to doctor"
_ASK = "edge-agent status tells whether the agent is connected"

_HERE = ("127.0.0.1", "localhost", "::1")
_START = "sudo apt install mosquitto && sudo systemctl enable --now mosquitto"


def look(
    settings: BrokerSettings, topic: str, clock: Clock, *, hears: bool, serviced: bool = False
) -> Finding:
    """The one finding, ``broker``; ``hears``: requests over MQTT are wanted, ``serviced``: systemd runs the
    agent, and may hand it a password.
    """
    try:
        verdict = judge(try_broker(settings, topic, clock), settings, topic, hears=hears)
    except BrokerError as error:
        found = f"{settings.where}: {error.what}"
        is_reached = not error.what.startswith("cannot reach")
        if serviced and is_reached and settings.username is not None and settings.password is None:
            return Finding("broker", "note", found, _HANDED_OVER, _ASK)
        fix = _START if settings.host in _HERE and not is_reached else None
        return Finding("broker", "problem", found, _DEAF, error.remedy or "see the broker's log", fix)
    if verdict.remedy is None:
        return Finding("broker", "ok", f"{settings.where}: {verdict.found}")
    return Finding("broker", "problem", f"{settings.where}: {verdict.found}", _DEAF, verdict.remedy)
