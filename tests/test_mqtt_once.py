"""QoS 2 over several connections, in sessions that the broker keeps, against a real mosquitto."""

from __future__ import annotations

import pytest

from edge_agent.clock import SystemClock
from edge_agent.mqtt import BrokerSettings, Pace, Received
from edge_agent.mqtt.backlog import Outgoing
from edge_agent.mqtt.client import Unfinished
from edge_agent.mqtt.once import Once
from edge_agent.mqtt.receipts import Receipts
from edge_agent.mqtt.session import Session, Settled, Will
from edge_agent.mqtt.settings import ProtocolVersion
from tests.brokers import PATIENCE_S, Broker, Heard, need_mosquitto, publish
from tests.proxies import Proxy
from tests.publishers import TOPICS, comes_to, publishing, scripted

EVENT = TOPICS.event("door")
SECOND_NS = 1_000_000_000
VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


def connection(port: int, version: ProtocolVersion, unfinished: Unfinished | None = None) -> Session:
    """A connection of an agent, not open yet, after what another one left."""
    will = Will(TOPICS.availability, b"offline")
    return Session(BrokerSettings(port=port), version, "edge-agent-dock", will, unfinished)


def resumable(port: int, version: ProtocolVersion, unfinished: Unfinished | None = None) -> Session:
    """The same, accepted by the broker."""
    session = connection(port, version, unfinished)
    assert session.open(SystemClock(), PATIENCE_S, lambda: False) is None
    return session


def left_behind(session: Session, *, is_there: bool) -> Unfinished:
    """Send an event with QoS 2 and break off, once the broker said that it has it or before; what is left."""
    session.send(EVENT, b"began", qos=2, retain=False)
    while is_there and not session._client.unfinished.messages[0][1]:
        assert session.turn() is None
    session.close(politely=False)
    assert session.unfinished is not None
    return session.unfinished


@need_mosquitto
@VERSIONS
@pytest.mark.parametrize("is_there", [False, True])
def test_what_one_connection_began_the_next_one_ends(version: ProtocolVersion, is_there: bool) -> None:
    """Broken off before the broker's word that it has the message, or after it: it arrives once."""
    with Broker() as broker, Heard(broker.port, EVENT) as heard:
        left = left_behind(resumable(broker.port, version), is_there=is_there)
        assert [is_there] == [each for _, each in left.messages]
        again = resumable(broker.port, version, left)
        assert again.resumed
        while not again.settled:
            assert again.turn() is None
        assert [Settled(number, None) for number in left.numbers] == list(again.settled)
        again.close()
        assert again.unfinished == Unfinished((), left.last_number)
        publish(broker.port, EVENT, b"last")
        assert heard.hears(EVENT, b"last")
        assert [b"began", b"last"] == heard.payloads(EVENT)


@need_mosquitto
def test_what_goes_on_after_a_loss_has_its_whole_topic() -> None:
    """A topic's number ends with the connection: what is sent again under one would end the next one, too."""
    prediction = TOPICS.prediction("door")
    with Broker() as broker, Heard(broker.port, prediction) as heard:
        first = resumable(broker.port, "5")
        first.send(prediction, b"1", qos=2, retain=False, live=True, often=True)
        while not first.settled:
            assert first.turn() is None
        first.send(prediction, b"2", qos=2, retain=False, live=True, often=True)
        first.close(politely=False)
        again = resumable(broker.port, "5", first.unfinished)
        while not again.settled:
            assert again.turn() is None
        again.close()
        assert heard.hears(prediction, b"2")
        assert [b"1", b"2"] == heard.payloads(prediction)


@need_mosquitto
@VERSIONS
def test_a_broker_that_forgot_the_session_is_sent_nothing_of_it(version: ProtocolVersion) -> None:
    """Who knows the messages sends them anew; a release of what nobody has would lose them."""
    with Broker() as broker:
        left = left_behind(resumable(broker.port, version), is_there=True)
        broker.kill()
        broker.start()
        again = resumable(broker.port, version, left)
        assert not again.resumed
        again.close()
        assert () == (again.unfinished or left).messages


@need_mosquitto
@VERSIONS
def test_a_clean_end_leaves_no_session_at_the_broker(version: ProtocolVersion) -> None:
    """What was asked while nobody was there is asked of nobody; nothing piles up for who is gone."""
    with Broker() as broker:
        with publishing(broker.port, protocol=version) as publisher:
            assert publisher.wait_connected(PATIENCE_S)
        again = resumable(broker.port, version, Unfinished())
        assert not again.resumed
        again.close()


@need_mosquitto
def test_a_session_of_another_process_is_not_gone_on_with() -> None:
    """Of 3.1.1, where none ends by itself: a number that was begun in it would swallow a message of ours."""
    with Broker() as broker:
        left_behind(resumable(broker.port, "3.1.1"), is_there=True)
        stranger = connection(broker.port, "3.1.1")
        assert stranger.open(SystemClock(), PATIENCE_S, lambda: False) is not None
        assert stranger.left_over
        stranger.close()


@need_mosquitto
def test_what_a_dead_process_left_is_forgotten_at_the_start() -> None:
    """The broker keeps a new session then, in which everything arrives, and says nothing of the old one."""
    with Broker() as broker, Heard(broker.port, f"{TOPICS.root}/#") as heard:
        left_behind(resumable(broker.port, "3.1.1"), is_there=True)
        assert heard.hears(TOPICS.availability, b"offline")  # the will of the dead
        with publishing(broker.port, protocol="3.1.1") as publisher:
            publisher.publish(EVENT, b"ended")
            assert heard.hears(EVENT, b"ended")
            again = comes_to(publisher, lambda status: status.queued == 0)
            assert 0 == again.reconnects
        assert [b"offline", b"online"] == heard.payloads(TOPICS.availability)[:2]


@need_mosquitto
@VERSIONS
def test_what_was_asked_while_we_were_away_is_not_obeyed(version: ProtocolVersion) -> None:
    """The session that is kept is for what we say."""
    asked: list[Received] = []
    with Broker() as broker, Proxy(broker.port) as proxy:
        with publishing(proxy.port, protocol=version, hear=asked.append) as publisher:
            assert broker.logged(f"{TOPICS.request('#')} (QoS 0)")
            publish(broker.port, TOPICS.request("ping"), b"now")
            comes_to(publisher, lambda _: len(asked) == 1)
            proxy.closed = True
            proxy.cut()
            comes_to(publisher, lambda status: not status.connected)
            publish(broker.port, TOPICS.request("ping"), b"while away")
            proxy.closed = False
            comes_to(publisher, lambda status: status.connected and status.queued == 0)
            publish(broker.port, TOPICS.request("ping"), b"now again")
            comes_to(publisher, lambda _: len(asked) == 2)
        assert [b"now", b"now again"] == [each.payload for each in asked]


@need_mosquitto
def test_a_broker_without_qos_2_gets_what_it_takes() -> None:
    """With 3.1.1 it cannot say so, and ends the connection: after two of these it gets QoS 1."""
    with Broker(listener=["max_qos 1"]) as broker, Heard(broker.port, EVENT) as heard:
        with publishing(broker.port, protocol="3.1.1") as publisher:
            publisher.publish(EVENT, b"began")
            assert heard.hears(EVENT, b"began")
            status = comes_to(publisher, lambda status: status.queued == 0)
        assert 2 == status.reconnects


@need_mosquitto
def test_a_broker_that_takes_one_at_a_time_loses_none() -> None:
    """With 3.1.1 it cannot say so; what goes beyond that it acknowledges, and throws away."""
    with Broker(options=["max_inflight_messages 1"]) as broker, Heard(broker.port, EVENT) as heard:
        with publishing(broker.port, protocol="3.1.1") as publisher:
            for number in range(100):
                publisher.publish(EVENT, b"%d" % number)
            assert publisher.drain(PATIENCE_S)
        assert heard.waits_for(lambda messages: len(messages) == 100)
        assert [b"%d" % number for number in range(100)] == heard.payloads(EVENT)


def test_one_answer_is_proof() -> None:
    """Connections that end from then on are the network's affair."""
    once = Once()
    once.sent()
    once.answered()
    for _ in range(5):
        once.sent()
        assert not once.ended()
    assert once.is_to_be_had


def test_it_is_tried_on_two_connections() -> None:
    """One may be chance; those on which nothing was sent say nothing. It is told once."""
    once = Once()
    ends = []
    for sends in (False, True, False, True, False):
        if sends:
            once.sent()
        ends.append(once.ended())
    assert [False, False, False, True, False] == ends
    assert not once.is_to_be_had


@pytest.mark.parametrize(
    ("version", "connack"), [("5", b"\x20\x03\x00\x00\x00"), ("3.1.1", b"\x20\x02\x00\x00")]
)
def test_a_broker_that_acknowledges_nothing_is_given_up(version: ProtocolVersion, connack: bytes) -> None:
    """It may answer pings for ever while nothing of ours gets on: that is told, and tried anew."""
    pace = Pace(first_s=0.02, cap_s=0.1, receipt_s=0.1)
    with (
        scripted(connack, stays=True) as (port, accepted),
        publishing(port, pace, protocol=version) as publisher,
    ):
        status = comes_to(publisher, lambda status: len(accepted) > 1 and status.fault is not None)
        assert "did not acknowledge a message in 0.1 s" in str(status.fault)
        publisher.close(0.1)


def test_only_the_oldest_message_counts() -> None:
    """Whatever settles one starts the time anew; so does a new session."""
    receipts, first, second = Receipts(10.0), outgoing(), outgoing()
    assert [False, False, False] == [receipts.are_missing(first, at * SECOND_NS) for at in (0, 5, 10)]
    assert not receipts.are_missing(second, 11 * SECOND_NS)
    assert not receipts.are_missing(None, 30 * SECOND_NS)
    assert not receipts.are_missing(first, 40 * SECOND_NS)
    assert receipts.are_missing(first, 51 * SECOND_NS)
    receipts.forget()
    assert not receipts.are_missing(first, 52 * SECOND_NS)


def outgoing() -> Outgoing:
    """Some message."""
    return Outgoing(EVENT, b"", retain=False, live=False)
