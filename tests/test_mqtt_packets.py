"""What MQTT 5 adds, against a real mosquitto; and bounds that a hostile broker meets."""

from __future__ import annotations

from collections import deque

import pytest

from edge_agent.clock import SystemClock
from edge_agent.mqtt import BrokerSettings, Publisher
from edge_agent.mqtt.backlog import Outgoing
from edge_agent.mqtt.client import RECEIVE_LIMIT_BYTES
from edge_agent.mqtt.packets import Aliases, Limits
from edge_agent.mqtt.session import Session, Settled, Will
from tests.brokers import PATIENCE_S, Broker, Heard, need_mosquitto, publish
from tests.publishers import TOPICS, comes_to, publishing, scripted

PREDICTION = TOPICS.prediction("door")
CONNACK = b"\x20\x03\x00\x00\x00"


def test_a_topic_is_spelt_once_and_then_a_number() -> None:
    """As many as the broker grants; the rest are spelt each time."""
    aliases = Aliases(1)
    expected = [("a", 1), ("", 1), ("b", None), ("b", None), ("", 1)]
    assert expected == [aliases.spell(topic) for topic in ("a", "a", "b", "b", "a")]


def test_no_number_where_none_is_granted() -> None:
    """The default of a broker that says nothing."""
    assert Limits().topic_alias == 0
    assert ("a", None) == Aliases(0).spell("a")


@need_mosquitto
def test_live_messages_arrive_under_their_whole_topic() -> None:
    """Aliases are between us and the broker; more topics than it grants (ten) pass, too."""
    with Broker() as broker, Heard(broker.port) as heard, publishing(broker.port) as publisher:
        assert publisher.wait_connected(PATIENCE_S)
        topics = [TOPICS.prediction(f"camera{number}") for number in range(15)]
        for topic in topics * 3:
            publisher.publish(topic, topic.encode(), live=True)
        assert publisher.drain(PATIENCE_S)
        assert heard.waits_for(lambda messages: len(messages) == 3 * 15 + 1)
        assert {topic: [topic.encode()] * 3 for topic in topics} == {
            topic: heard.payloads(topic) for topic in topics
        }


class RecordingSession:
    """Takes what a publisher feeds it, and remembers which topics come often."""

    limits = Limits()
    writable = True
    is_kept = False
    outlives = False

    def __init__(self) -> None:
        self.settled: deque[Settled] = deque()
        self.often: dict[str, bool] = {}

    def send(self, topic: str, _payload: bytes, *, often: bool, **_: object) -> int:
        """Done at once."""
        self.often[topic] = often
        self.settled.append(Settled(len(self.often), None))
        return len(self.often)


def test_a_topic_that_comes_once_takes_no_number() -> None:
    """A response, wherever it is wanted: the broker's few numbers are for what the cameras say."""
    publisher = Publisher(BrokerSettings(), TOPICS, SystemClock())
    publisher._backlog.connected(Outgoing(TOPICS.availability, b"online", retain=True, live=False))
    for topic in (TOPICS.response("ping"), "node-red/7", TOPICS.image("door"), PREDICTION):
        publisher.publish(topic, b"{}", live=True)
    publisher.publish(TOPICS.event("door"), b"{}")
    session = RecordingSession()
    publisher._feed(session)  # type: ignore[arg-type]
    publisher.close()
    assert {TOPICS.image("door"), PREDICTION} == {topic for topic, often in session.often.items() if often}
    assert 6 == len(session.often)


@need_mosquitto
def test_live_messages_expire_and_others_do_not() -> None:
    """A subscriber that was away for long gets no predictions of the past."""
    with (
        Broker() as broker,
        publishing(broker.port, live_expiry_s=60) as publisher,
        Subscriber5(broker.port) as subscriber,
    ):
        assert publisher.wait_connected(PATIENCE_S)
        publisher.publish(PREDICTION, b"live", live=True)
        publisher.publish(TOPICS.event("door"), b"kept")
        assert publisher.drain(PATIENCE_S)
        assert {PREDICTION: True, TOPICS.event("door"): False} == subscriber.expiring(2)


class Subscriber5:
    """Collects with MQTT 5 which messages will expire."""

    def __init__(self, port: int) -> None:
        self._session = Session(BrokerSettings(port=port), "5", "subscriber")
        self._expiring: dict[str, bool] = {}

    def __enter__(self) -> Subscriber5:
        assert self._session.open(SystemClock(), PATIENCE_S, lambda: False) is None
        self._session._client.on_message = self._on_message
        self._session.subscribe(f"{TOPICS.root}/camera/#")
        while not self._session.subscribed:
            assert self._session.turn() is None
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _on_message(self, _client: object, _userdata: object, message: object) -> None:
        properties = getattr(message, "properties", None)
        self._expiring[getattr(message, "topic", "")] = hasattr(properties, "MessageExpiryInterval")

    def expiring(self, count: int) -> dict[str, bool]:
        """By topic, when so many came."""
        while len(self._expiring) < count:
            assert self._session.turn() is None
        return self._expiring


def vanish(port: int, will_delay_s: int) -> None:
    """A client with a will that is gone without a word."""
    settings = BrokerSettings(port=port, will_delay_s=will_delay_s)
    session = Session(settings, "5", "edge-agent-dock", Will(TOPICS.availability, b"offline"))
    assert session.open(SystemClock(), PATIENCE_S, lambda: False) is None
    connection = session._client.socket()
    assert connection is not None
    connection.close()


@need_mosquitto
def test_a_will_speaks_at_once_unless_it_is_to_wait() -> None:
    """Delay 0 is the default; a delayed one is not said of an agent that is back by then."""
    with Broker() as broker, Heard(broker.port) as heard:
        vanish(broker.port, 3600)
        with publishing(broker.port, will_delay_s=3600):
            assert heard.hears(TOPICS.availability, b"online")
        assert heard.hears(TOPICS.availability, b"offline")  # of the polite end
        assert [b"online", b"offline"] == heard.payloads(TOPICS.availability)
        vanish(broker.port, 0)
        assert heard.waits_for(lambda messages: len(messages) == 3)
        assert b"offline" == heard.payloads(TOPICS.availability)[-1]


def test_a_packet_that_is_too_large_is_not_read() -> None:
    """256 MiB announced by a broker cost no memory: the session ends, and says why."""
    announced = b"\x30\xff\xff\xff\x7f"
    with (
        scripted(CONNACK + announced + b"x" * 100_000, stays=True) as (port, _),
        publishing(port, protocol="5", hear=lambda _: None) as publisher,
    ):
        comes_to(publisher, lambda status: "more than we take" in (status.fault or ""))
        publisher.close(0.0)


def test_what_was_not_asked_for_is_not_kept() -> None:
    """QoS 2 would be held until the broker releases it: never, for a hostile one."""
    publish_qos_2 = b"\x34\x06\x00\x01a\x00\x01\x00"
    with (
        scripted(CONNACK + publish_qos_2, stays=True) as (port, _),
        publishing(port, protocol="5", hear=lambda _: None) as publisher,
    ):
        comes_to(publisher, lambda status: "sent QoS 2" in (status.fault or ""))
        publisher.close(0.0)


@need_mosquitto
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_request_that_is_too_large_does_not_silence_us(protocol: str) -> None:
    """MQTT 5: the broker holds it back. 3.1.1 has no word for that: the session ends, a new one begins."""
    heard: list[bytes] = []
    with (
        Broker() as broker,
        publishing(broker.port, protocol=protocol, hear=lambda each: heard.append(each.payload)) as publisher,
    ):
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        assert broker.logged("Received SUBSCRIBE")
        publish(broker.port, TOPICS.request("ping"), b"x" * RECEIVE_LIMIT_BYTES)
        sessions = 1 if protocol == "5" else 2
        comes_to(publisher, lambda _: broker.times("Sending SUBACK to edge-agent-dock") == sessions)
        publish(broker.port, TOPICS.request("ping"), b"{}")
        comes_to(publisher, lambda _: bool(heard))
        assert [b"{}"] == heard
