"""Publishers of one agent, against whatever broker a test sets up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.mqtt import BrokerSettings, Listener, Pace, Publisher, PublisherStatus, Received
from edge_agent.topics import Topics
from tests.brokers import HOST, PATIENCE_S

TOPICS = Topics("edge-agent", "dock")
QUICK = Pace(first_s=0.02, cap_s=0.1, takeover_s=3600.0)


@contextmanager
def publishing(
    port: int,
    pace: Pace = QUICK,
    *,
    hear: Callable[[Received], None] | None = None,
    session: str | None = None,
    **how: Any,
) -> Iterator[Publisher]:
    """A started publisher of the agent "dock"; ``how`` the broker is reached: BrokerSettings."""
    listeners = [] if hear is None else [Listener(TOPICS.request("#"), hear)]
    publisher = Publisher(BrokerSettings(port=port, **how), TOPICS, SystemClock(), pace, listeners, session)
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.close(PATIENCE_S)


def comes_to(publisher: Publisher, condition: Callable[[PublisherStatus], bool]) -> PublisherStatus:
    """Wait until the status fulfils the condition, and return it."""
    never = threading.Event()
    for _ in range(int(PATIENCE_S * 100)):
        status = publisher.status()
        if condition(status):
            return status
        never.wait(0.01)
    raise AssertionError(f"it never came to that: {publisher.status()}")


@contextmanager
def scripted(answer: bytes, *, stays: bool = False) -> Iterator[tuple[int, list[int]]]:
    """Gives the same answer to whatever comes first, then hangs up; or ``stays`` and says nothing more.

    Yields its port, and a list with one entry per connection so far.
    """
    accepted: list[int] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, (_, port) = listener.accept()
                accepted.append(port)
                with client:
                    client.recv(4096)
                    client.sendall(answer)
                    while stays and client.recv(4096):
                        pass

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], accepted
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
