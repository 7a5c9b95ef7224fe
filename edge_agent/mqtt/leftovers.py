"""Sessions of MQTT 3.1.1 that nobody goes on with: there they have no end of their own."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.clock import Clock
from edge_agent.mqtt.endings import Ending
from edge_agent.mqtt.session import Session
from edge_agent.mqtt.settings import BrokerSettings


def forget(
    settings: BrokerSettings, client_id: str, clock: Clock, timeout_s: float, cancelled: Callable[[], bool]
) -> Ending | None:
    """Have the broker forget what it keeps for our id, with a connection that is good for nothing else.

    None: it has. It says nothing to anybody, for it has no will.
    """
    session = Session(settings, "3.1.1", client_id)
    ending = session.open(clock, timeout_s, cancelled)
    session.close()
    return ending
