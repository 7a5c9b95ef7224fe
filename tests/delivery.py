"""An agent's voice under load, and a subscriber with a session of its own that counts what arrives."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.clock import SystemClock
from edge_agent.mqtt import BrokerSettings, Pace, Publisher
from edge_agent.outbox import Outbox, OutboxSettings, OutboxStatus
from edge_agent.topics import Topics
from tests.brokers import HOST, PATIENCE_S
from tests.proxies import Sight

TOPICS = Topics("edge-agent", "dock")
EVENT = TOPICS.event("door")
LIVE = TOPICS.prediction("door")

QUICK = Pace(first_s=0.02, cap_s=0.2, steady_s=0.0, takeover_s=0.1)


def persistent(folder: Path) -> list[str]:
    """The options of a broker that keeps what a session is owed, however much that is."""
    location = folder / "broker"
    location.mkdir()
    return [
        "persistence true",
        f"persistence_location {location}/",
        "max_queued_messages 0",
        "max_inflight_messages 0",
    ]


class Load:
    """Events (that must not be lost) and predictions (live) at a rate, from a thread of its own.

    ``made`` are the ids of the events, in order; ``spent_s`` what each hand-over cost its caller.
    """

    def __init__(
        self, port: int, folder: Path | None, per_s: float, *, protocol: Any = "5", **bounds: Any
    ) -> None:
        settings = OutboxSettings(folder=folder, boot="boot", **{"replay_per_s": 1000.0, **bounds})
        self.outbox = Outbox(settings, SystemClock())
        broker = BrokerSettings(port=port, keepalive_s=2, protocol=protocol)
        self.publisher = Publisher(broker, TOPICS, SystemClock(), QUICK, outbox=self.outbox)
        self.made: list[str] = []
        self.spent_s: list[float] = []
        self._pause_s = 1 / per_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self.publisher.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.publisher.close()

    def stop(self) -> None:
        """No more is made."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def settled(self, timeout_s: float = PATIENCE_S) -> OutboxStatus:
        """No more is made, and what waits is sent; how the outbox stands then."""
        self.stop()
        self.publisher.drain(timeout_s)
        return self.outbox.status()

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s):
            number = len(self.made) + 1
            event = {"id": str(uuid.uuid4()), "number": number, "event_type": "began", "label": "fiesta red"}
            payload = json.dumps(event).encode()
            begun_s = time.perf_counter()
            self.publisher.publish(EVENT, payload)
            self.spent_s.append(time.perf_counter() - begun_s)
            self.made.append(str(event["id"]))
            self.publisher.publish(LIVE, b'{"made_ns": %d}' % time.monotonic_ns(), live=True)


@dataclass
class Account:
    """Events by id: how many arrived, which did not, how many came again, and whether the first arrivals were
    in order.
    """

    arrived: int = 0
    missing: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    again: int = 0
    in_order: bool = True


def account(made: Iterable[str], heard: Iterable[bytes]) -> Account:
    """Hold what was heard against what was made."""
    wanted = {identity: place for place, identity in enumerate(made)}
    first: dict[str, None] = {}
    again = 0
    for payload in heard:
        identity = str(json.loads(payload)["id"])
        again += identity in first
        first[identity] = None
    places = [wanted.get(identity, -1) for identity in first]
    return Account(
        arrived=len(first),
        missing=[identity for identity in wanted if identity not in first],
        strange=[identity for identity in first if identity not in wanted],
        again=again,
        in_order=all(before < after for before, after in pairwise(places)),
    )


def resent_in_order(seen: Iterable[Sight], wanted: bytes = b'"event_type"') -> list[str]:
    """What is wrong with the order in which events were sent: on each connection from the oldest without a
    receipt upwards, each once; earlier ones, whose receipt may have got lost, may go before.
    """
    faults: list[str] = []
    receipts: set[int] = set()
    last: dict[int, int] = {}
    for sight in list(seen):
        if wanted not in sight.payload:
            continue
        number = json.loads(sight.payload)["number"]
        if sight.kind == "receipt":
            receipts.add(number)
        elif (before := last.get(sight.connection)) is not None and number != before + 1:
            faults.append(f"connection {sight.connection}: {number} after {before}")
        elif before is None and number > (expected := _oldest_without(receipts)):
            faults.append(f"connection {sight.connection} begins with {number}, not {expected}")
        if sight.kind == "publish":
            last[sight.connection] = number
    return faults


def _oldest_without(receipts: set[int]) -> int:
    return next(number for number in range(1, len(receipts) + 2) if number not in receipts)


class Persistent:
    """A QoS 1 subscriber with a session that the broker keeps while it is away."""

    def __init__(self, port: int, *topics: str, identity: str = "counter") -> None:
        self.heard: list[tuple[str, bytes, int]] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, identity, clean_session=False, protocol=paho.MQTTv311
        )
        self._client.on_connect = lambda client, *_: client.subscribe([(each, 1) for each in topics])
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(HOST, port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _userdata: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self.heard.append((message.topic, bytes(message.payload), time.monotonic_ns()))
            self._news.notify_all()

    def payloads(self, topic: str) -> list[bytes]:
        """What was heard on one topic, in order."""
        with self._news:
            return [payload for where, payload, _ in self.heard if where == topic]

    def hears(self, topic: str, identities: Iterable[str], timeout_s: float = PATIENCE_S) -> bool:
        """Wait until all these events were heard."""
        wanted = set(identities)

        def all_there() -> bool:
            there = {json.loads(payload)["id"] for where, payload, _ in self.heard if where == topic}
            return wanted <= there

        deadline_s = time.monotonic() + timeout_s
        while not all_there():
            with self._news:
                if not self._news.wait(max(0.0, deadline_s - time.monotonic())):
                    return all_there()
        return True
