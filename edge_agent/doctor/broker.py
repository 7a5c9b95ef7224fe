"""The MQTT broker: whether it takes what the agent publishes, and gives it back; tried with one message."""

from __future__ import annotations

from edge_agent.clock import Clock
from edge_agent.doctor.findings import Finding
from edge_agent.errors import BrokerError
from edge_agent.mqtt import BrokerSettings, judge, try_broker

_DEAF = "nothing is published; what must not be lost waits, within bounds"

_HERE = ("127.0.0.1", "localhost", "::1")
_START = "sudo apt install mosquitto && sudo systemctl enable --now mosquitto"


def look(settings: BrokerSettings, topic: str, clock: Clock, *, hears: bool) -> Finding:
    """The one finding, ``broker``; ``hears``: requests over MQTT are wanted."""
    try:
        verdict = judge(try_broker(settings, topic, clock), settings, topic, hears=hears)
    except BrokerError as error:
        found = f"{settings.where}: {error.what}"
        fix = _START if settings.host in _HERE and error.what.startswith("cannot reach") else None
        return Finding("broker", "problem", found, _DEAF, error.remedy or "see the broker's log", fix)
    if verdict.remedy is None:
        return Finding("broker", "ok", f"{settings.where}: {verdict.found}")
    return Finding("broker", "problem", f"{settings.where}: {verdict.found}", _DEAF, verdict.remedy)
