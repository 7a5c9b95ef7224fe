"""Publishing to real brokers: absent, killed, frozen, old, strict, and shared with a namesake."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.broker import EmbeddedBroker
from edge_agent.clock import SystemClock
from edge_agent.errors import BrokerError, ConfigError
from edge_agent.mqtt import BrokerSettings, Listener, Publisher, Received, Subscription
from edge_agent.mqtt.packets import Limits
from edge_agent.mqtt.session import Session
from tests.brokers import HOST, PATIENCE_S, Broker, Heard, OldBroker, free_port, need_mosquitto, publish
from tests.publishers import QUICK, TOPICS, comes_to, publishing, scripted

AVAILABILITY = TOPICS.availability
PREDICTION = TOPICS.prediction("door")
LABEL = TOPICS.label("door")
EVENT = TOPICS.event("door")

pytestmark = need_mosquitto


def test_online_comes_after_connecting_and_offline_before_leaving() -> None:
    """Announced after it is true, withdrawn before it is false; both retained."""
    with Broker() as broker, Heard(broker.port) as heard:
        with publishing(broker.port) as publisher:
            assert heard.hears(AVAILABILITY, b"online")
            assert ("5", True, None) == (
                publisher.status().protocol,
                publisher.status().connected,
                publisher.status().fault,
            )
        assert heard.hears(AVAILABILITY, b"offline")
        with Heard(broker.port) as late:
            assert late.hears(AVAILABILITY, b"offline")
            assert [(AVAILABILITY, b"offline", True)] == late.messages


def test_start_and_publish_need_no_broker() -> None:
    """Inference never waits for the network; what must not be lost is there when the broker comes."""
    with Broker() as broker:
        broker.stop()
        with publishing(broker.port) as publisher:
            publisher.publish(PREDICTION, b"too early", live=True)
            publisher.publish(EVENT, b"began")
            publisher.publish(LABEL, b"red", retain=True)
            assert not publisher.drain(0)
            fault = comes_to(publisher, lambda status: status.fault is not None).fault
            assert f"cannot reach the MQTT broker at {HOST}:{broker.port}: Connection refused" in str(fault)
            assert "is it running?" in str(fault)
            broker.start()
            assert publisher.wait_connected(PATIENCE_S)
            assert publisher.drain(PATIENCE_S)
            status = publisher.status()
            assert (3, 1, 0, None) == (status.sent, status.dropped, status.queued, status.fault)
            with Heard(broker.port) as heard:
                assert heard.hears(LABEL, b"red")


def test_a_broker_killed_and_started_again_has_everything_that_is_retained() -> None:
    """A broker without persistence forgets; the publisher comes back by itself and says it all again."""
    with Broker() as broker, publishing(broker.port) as publisher:
        publisher.publish(LABEL, b"blue", retain=True)
        publisher.publish(LABEL, b"red", retain=True)
        publisher.publish(TOPICS.health, b"{}", retain=True)
        publisher.publish(TOPICS.status("gone"), b"{}", retain=True)
        publisher.publish(TOPICS.status("gone"), b"", retain=True)
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        broker.kill()
        comes_to(publisher, lambda status: not status.connected)
        publisher.publish(PREDICTION, b"nobody listens", live=True)
        publisher.publish(TOPICS.health, b'{"faults":[]}', retain=True)
        broker.start()
        status = comes_to(publisher, lambda status: status.reconnects == 1 and status.queued == 0)
        assert (1, None) == (status.dropped, status.fault)
        with Heard(broker.port) as heard:
            assert heard.waits_for(lambda messages: len(messages) >= 3)
            assert {
                (AVAILABILITY, b"online", True),
                (LABEL, b"red", True),
                (TOPICS.health, b'{"faults":[]}', True),
            } == set(heard.messages)


def test_a_fault_of_our_own_does_not_hide_the_will() -> None:
    """A session that failed inside ends without goodbye: the broker says `offline` until the next one."""
    heard: list[bytes] = []

    def stumble(received: Received) -> None:
        heard.append(received.payload)
        if len(heard) == 1:
            raise RuntimeError("a defect")

    with Broker() as broker, Heard(broker.port, AVAILABILITY) as listener:
        with publishing(broker.port, hear=stumble) as publisher:
            assert listener.hears(AVAILABILITY, b"online")
            assert publisher.drain(PATIENCE_S)
            publish(broker.port, TOPICS.request("ping"), b"{}")
            comes_to(publisher, lambda status: status.reconnects == 1)
            assert publisher.drain(PATIENCE_S)
        assert listener.waits_for(lambda messages: len(messages) == 4)
        assert [b"online", b"offline"] * 2 == listener.payloads(AVAILABILITY)


def test_online_is_said_after_the_states() -> None:
    """Who waits for `online` finds the states of today, not those that the broker kept from yesterday."""
    with Broker() as broker, Heard(broker.port) as heard:
        publisher = Publisher(BrokerSettings(port=broker.port), TOPICS, SystemClock(), QUICK)
        publisher.publish(LABEL, b"red", retain=True)
        publisher.publish(TOPICS.health, b"{}", retain=True)
        publisher.start()
        assert heard.hears(AVAILABILITY, b"online")
        assert [LABEL, TOPICS.health, AVAILABILITY] == [topic for topic, _, _ in heard.messages]
        publisher.close(PATIENCE_S)


def test_a_killed_agent_is_told_offline_by_the_broker() -> None:
    """The will speaks for a process that cannot."""
    program = (
        "import sys, threading\n"
        "from edge_agent.clock import SystemClock\n"
        "from edge_agent.mqtt import BrokerSettings, Publisher\n"
        "from edge_agent.topics import Topics\n"
        "settings, topics = BrokerSettings(port=int(sys.argv[1])), Topics('edge-agent', 'dock')\n"
        "Publisher(settings, topics, SystemClock()).start()\n"
        "threading.Event().wait()\n"
    )
    with Broker() as broker, Heard(broker.port) as heard:
        child = subprocess.Popen([sys.executable, "-c", program, str(broker.port)])
        try:
            assert heard.hears(AVAILABILITY, b"online")
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(PATIENCE_S)
        assert heard.hears(AVAILABILITY, b"offline")


def test_a_frozen_broker_costs_live_messages_only_and_no_more_memory_than_agreed() -> None:
    """Connected but stuck: the queue keeps its bound, the newest survive, nothing is lost uncounted."""
    with Broker() as broker, Heard(broker.port, PREDICTION) as heard:
        with publishing(broker.port, queue_limit=100) as publisher:
            assert publisher.wait_connected(PATIENCE_S)
            assert publisher.drain(PATIENCE_S)
            broker.freeze()
            for number in range(5000):
                publisher.publish(PREDICTION, b"%05d" % number + b"." * 2000, live=True)
                assert publisher.status().queued <= 100 + 20
            publisher.publish(EVENT, b"kept")
            broker.thaw()
            assert publisher.drain(PATIENCE_S)
            status = publisher.status()
            assert 5000 + 2 == status.sent + status.dropped
            assert 0 == status.reconnects
        assert heard.waits_for(lambda messages: len(messages) == status.sent - 2)
        numbers = [int(payload[:5]) for payload in heard.payloads(PREDICTION)]
        assert all(earlier < later for earlier, later in pairwise(numbers))
        assert 4999 == numbers[-1]


def test_what_waits_its_turn_loses_nothing() -> None:
    """Files: whoever waits for room before each message finds them all at the broker, in order."""
    with Broker() as broker, Heard(broker.port, f"{TOPICS.root}/camera/+/prediction") as heard:
        broker.freeze()
        with publishing(broker.port, queue_limit=50) as publisher:

            def lane(camera: str) -> None:
                for number in range(200):
                    while not publisher.wait_for_room(PATIENCE_S):
                        pass
                    publisher.publish(TOPICS.prediction(camera), b"%d" % number)

            lanes = [threading.Thread(target=lane, args=(f"camera{each}",)) for each in range(3)]
            for thread in lanes:
                thread.start()
            broker.thaw()
            for thread in lanes:
                thread.join()
            assert publisher.drain(PATIENCE_S)
            assert 0 == publisher.status().dropped
        assert heard.waits_for(lambda messages: len(messages) == 600)
        for camera in range(3):
            expected = [b"%d" % number for number in range(200)]
            assert expected == heard.payloads(TOPICS.prediction(f"camera{camera}"))


def test_messages_that_must_not_be_lost_survive_a_killed_broker() -> None:
    """In flight or waiting when it dies: the next one acknowledges it all."""
    with Broker() as broker, publishing(broker.port, queue_limit=1000) as publisher:
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        broker.freeze()
        for number in range(300):
            publisher.publish(EVENT, b"%d" % number)
        broker.kill()
        comes_to(publisher, lambda status: not status.connected)
        broker.start()
        assert publisher.drain(PATIENCE_S)
        status = publisher.status()
        assert (300 + 2, 0, 1) == (status.sent, status.dropped, status.reconnects)


def test_close_says_what_waits_before_offline() -> None:
    """The last event and the last states arrive, then `offline`; what comes later is counted as dropped."""
    with Broker() as broker, Heard(broker.port, f"{TOPICS.root}/#") as heard:
        with publishing(broker.port) as publisher:
            assert heard.hears(AVAILABILITY, b"online")
            publisher.publish(EVENT, b"ended")
            publisher.publish(TOPICS.camera_availability("door"), b"offline", retain=True)
        publisher.publish(EVENT, b"too late")
        assert heard.hears(AVAILABILITY, b"offline")
        assert [AVAILABILITY, AVAILABILITY] == [heard.messages[0][0], heard.messages[-1][0]]
        assert {EVENT, TOPICS.camera_availability("door")} == {topic for topic, _, _ in heard.messages[1:-1]}
        assert 1 == publisher.status().dropped


def test_close_gives_a_stuck_broker_up() -> None:
    """A stop is never held up by the broker for longer than it was allowed; what remained is counted."""
    with Broker() as broker:
        with publishing(broker.port) as publisher:
            assert publisher.wait_connected(PATIENCE_S)
            assert publisher.drain(PATIENCE_S)
            broker.freeze()
            publisher.publish(EVENT, b"never heard")
            publisher.close(0.2)
            comes_to(publisher, lambda status: not status.connected and status.queued == 0)
            assert publisher.status().dropped >= 1
        broker.thaw()


def test_close_is_safe_before_start_and_twice() -> None:
    """Closing needs no order."""
    publisher = Publisher(BrokerSettings(), TOPICS, SystemClock())
    publisher.close()
    publisher.close()
    publisher.publish(EVENT, b"x")
    assert 1 == publisher.status().dropped


def test_a_topic_that_no_broker_takes_never_reaches_it() -> None:
    """The broker would end the session for it, again and again."""
    publisher = Publisher(BrokerSettings(), TOPICS, SystemClock())
    with pytest.raises(ConfigError):
        publisher.publish("edge-agent/+/label", b"x")
    publisher.close()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_quality_of_service_drains(qos: int) -> None:
    """Drained means acknowledged, or for QoS 0 written."""
    with Broker() as broker, Heard(broker.port, EVENT) as heard:
        with publishing(broker.port, qos=qos) as publisher:
            for number in range(200):
                publisher.publish(EVENT, b"%d" % number)
            assert publisher.wait_connected(PATIENCE_S)
            assert publisher.drain(PATIENCE_S)
            assert 201 == publisher.status().sent
        assert heard.hears(EVENT, b"199")


@pytest.mark.parametrize("silent", [False, True], ids=["answers CONNACK 1", "closes without a word"])
def test_an_older_broker_is_spoken_to_in_its_own_version(silent: bool) -> None:
    """MQTT 5 first, then 3.1.1; and 3.1.1 at once from then on."""
    with (
        Broker() as broker,
        OldBroker(broker.port, silent=silent) as old,
        publishing(old.port) as publisher,
    ):
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        assert "3.1.1" == publisher.status().protocol
        old.hang_up()
        comes_to(publisher, lambda status: status.reconnects == 1 and status.connected)
        assert "3.1.1" == publisher.status().protocol
        assert [5, 4, 4] == old.levels


def test_the_embedded_broker_is_spoken_to_in_its_own_version() -> None:
    """That broker, amqtt, misreads MQTT 5 with a will and waits for more; silence is an answer too."""
    with EmbeddedBroker(port=0) as broker, Heard(broker.port) as heard:
        with publishing(broker.port, replace(QUICK, doubt_s=0.2)) as publisher:
            assert heard.hears(AVAILABILITY, b"online")
            assert "3.1.1" == publisher.status().protocol
        assert heard.hears(AVAILABILITY, b"offline")


@pytest.mark.parametrize(("protocol", "told"), [("5", b"\0\xff17"), ("3.1.1", None)])
def test_what_an_asker_wants_back_goes_with_the_answer(protocol: str, told: bytes | None) -> None:
    """Correlation data, byte for byte; MQTT 3.1.1 has no room for it, and the answer goes all the same."""
    topic = TOPICS.response("ping")
    with (
        Broker() as broker,
        Subscription(BrokerSettings(port=broker.port, protocol="5"), [topic], SystemClock()) as heard,
        publishing(broker.port, protocol=protocol) as publisher,
    ):
        heard.open()
        assert publisher.wait_connected(PATIENCE_S)
        publisher.publish(topic, b"{}", live=True, correlation=b"\0\xff17")
        (received,) = receive(heard, 1)
        assert (b"{}", None, told) == (received.payload, received.response_topic, received.correlation)


def test_an_older_broker_is_a_fault_where_five_is_demanded() -> None:
    """5 means 5; the fault says what to change."""
    with Broker() as broker, OldBroker(broker.port) as old, publishing(old.port, protocol="5") as publisher:
        fault = comes_to(publisher, lambda status: status.fault is not None).fault
        assert "Unsupported protocol version" in str(fault)
        assert 'set [mqtt] protocol to "auto"' in str(fault)


def test_a_namesake_is_told_as_a_fault_and_no_war_begins() -> None:
    """Brokers that say nothing of a takeover too: one of both soon says what is wrong and stays away."""

    def suspects(publisher: Publisher) -> bool:
        return "own [agent] name" in (publisher.status().fault or "")

    with (
        Broker() as broker,
        publishing(broker.port) as first,
        publishing(broker.port) as second,
    ):
        comes_to(first, lambda _: suspects(first) or suspects(second))
        silent, other = (first, second) if suspects(first) else (second, first)
        comes_to(other, lambda status: status.connected)
        assert not silent.status().connected
        assert silent.status().reconnects + other.status().reconnects <= 6


def test_a_takeover_that_the_broker_tells_of_is_answered_with_patience() -> None:
    """DISCONNECT 142 of MQTT 5: no second attempt before the other one had its time."""
    with scripted(b"\x20\x03\x00\x00\x00\xe0\x02\x8e\x00") as (port, accepted), publishing(port) as publisher:
        fault = comes_to(publisher, lambda status: status.fault is not None).fault
        assert "another client took over our session" in str(fault)
        assert "give each agent its own [agent] name" in str(fault)
        assert 1 == len(accepted)


def test_garbage_instead_of_an_answer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A port of something else entirely: one warning, no traceback, tried again."""
    with scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, accepted), publishing(port) as publisher:
        fault = comes_to(publisher, lambda _: len(accepted) > 3).fault
        assert "is it an MQTT broker" in str(fault)
    assert 1 == len([record for record in caplog.records if record.levelno >= logging.WARNING])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([b"", b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x00"]))
def test_no_bytes_from_a_broker_are_more_than_an_error(garbage: bytes, accepted: bytes) -> None:
    """Whatever a broker says, before or after it accepted us, ends in a BrokerError at most."""
    pace = replace(QUICK, connack_s=0.1, doubt_s=0.1)
    with scripted(accepted + garbage) as (port, _):
        subscription = Subscription(BrokerSettings(port=port), ["#"], SystemClock(), pace)
        with pytest.raises(BrokerError), subscription:
            subscription.open()


def test_a_wrong_password_is_told_without_showing_it(caplog: pytest.LogCaptureFixture) -> None:
    """One warning with the remedy; the password is in no log, status or repr."""
    caplog.set_level(logging.DEBUG)
    secretive = BrokerSettings(username="dock", password="hunter2")
    with (
        Broker(users={"dock": "correct"}) as broker,
        publishing(broker.port, username="dock", password="hunter2") as publisher,
    ):
        status = comes_to(publisher, lambda status: status.fault is not None)
        assert "Not authorized (as 'dock'); check [mqtt] username and password_file" in str(status.fault)
        assert not publisher.wait_connected(0)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 == len(warnings)
    assert "hunter2" not in caplog.text + repr(secretive) + repr(status)


def test_the_right_password_opens() -> None:
    """Username and password reach the broker."""
    with (
        Broker(users={"dock": "correct"}) as broker,
        publishing(broker.port, username="dock", password="correct") as publisher,
    ):
        assert publisher.wait_connected(PATIENCE_S)


def test_a_host_that_does_not_exist_is_told_with_its_name() -> None:
    """DNS is another trouble than a broker that is down."""
    with publishing(1883, host="broker.invalid") as publisher:
        fault = comes_to(publisher, lambda status: status.fault is not None).fault
        assert "cannot find the MQTT broker 'broker.invalid'" in str(fault)


def test_what_the_broker_does_not_allow_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A missing right to write one topic is a fault and no end; a state waits for the right."""
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {AVAILABILITY}\ntopic write {EVENT}\ntopic read #\n")
    acl.chmod(0o600)
    with Broker(listener=[f"acl_file {acl}"]) as broker, publishing(broker.port) as publisher:
        publisher.publish(LABEL, b"red", retain=True)
        publisher.publish(EVENT, b"began")
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        status = publisher.status()
        assert (2, 0, 0) == (status.sent, status.dropped, status.reconnects)
        assert f"does not take {LABEL}: Not authorized" in str(status.fault)


def test_what_is_too_large_for_the_broker_is_dropped_not_repeated_for_ever() -> None:
    """MQTT 5 says how much the broker takes; sent all the same, it would end the session each time."""
    with Broker(options=["max_packet_size 2000"]) as broker, publishing(broker.port) as publisher:
        assert publisher.wait_connected(PATIENCE_S)
        publisher.publish(TOPICS.image("door"), b"x" * 3000)
        publisher.publish(EVENT, b"began")
        assert publisher.drain(PATIENCE_S)
        status = publisher.status()
        assert (2, 1, 0) == (status.sent, status.dropped, status.reconnects)
        assert "larger than the broker takes" in str(status.fault)


def test_the_brokers_limits_are_ours() -> None:
    """A broker of MQTT 5 says what it takes in CONNACK, and may end a session that asks for more."""
    receive_maximum, maximum_qos, no_retain, size = (
        b"\x21\x00\x02",
        b"\x24\x01",
        b"\x25\x00",
        b"\x27\0\0\x07\xd0",
    )
    said = receive_maximum + maximum_qos + no_retain + size
    connack = bytes([0x20, 3 + len(said), 0, 0, len(said)]) + said
    with scripted(connack) as (port, _):
        session = Session(BrokerSettings(port=port), "5", "edge-agent-dock")
        assert session.open(SystemClock(), PATIENCE_S, lambda: False) is None
        session.close()
    assert Limits(window=2, qos=1, retain=False, packet_bytes=2000) == session.limits


def test_what_is_no_broker_is_told_and_given_up_when_closed() -> None:
    """A port that accepts and never answers must not hold anything up."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with publishing(port, replace(QUICK, connack_s=0.1, doubt_s=0.1)) as publisher:
            fault = comes_to(publisher, lambda status: status.fault is not None).fault
            assert "did not answer in 0.1 s" in str(fault)


def test_what_is_published_under_its_filters_is_heard_after_each_connect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each filter is subscribed to anew; one that the broker refuses is named, and costs no other."""
    heard: list[tuple[str, bytes]] = []
    news = threading.Condition()

    def hear(received: Received) -> None:
        with news:
            heard.append((received.topic, received.payload))
            news.notify_all()

    listeners = [Listener(each, hear) for each in ("edge-agent/dock/request/#", "home/status")]
    with Broker() as broker:
        settings = BrokerSettings(port=broker.port)
        publisher = Publisher(settings, TOPICS, SystemClock(), QUICK, listeners)
        publisher.start()
        for number in (1, 2):
            with Heard(broker.port, AVAILABILITY) as listener:
                assert listener.hears(AVAILABILITY, b"online")
                assert broker.logged("home/status (QoS 0)")
            for topic in ("edge-agent/dock/request/ping", "home/status", "elsewhere"):
                publish(broker.port, topic, b"%d" % number)
            with news:
                assert news.wait_for(partial(_has, heard, 2 * number), PATIENCE_S)
            if number == 1:
                broker.kill()
                broker.start()
        publisher.close(PATIENCE_S)
    told = [("edge-agent/dock/request/ping", b"1"), ("home/status", b"1")]
    assert [*told, *((topic, b"2") for topic, _ in told)] == heard
    assert "subscribe" not in caplog.text


def test_what_is_retained_is_sent_again_where_that_is_asked() -> None:
    """To a subscriber that was there before, too."""
    with Broker() as broker, Heard(broker.port) as heard, publishing(broker.port) as publisher:
        publisher.publish(LABEL, b"red", retain=True)
        assert heard.hears(LABEL, b"red")
        publisher.resend()
        assert heard.waits_for(lambda messages: [each[1] for each in messages].count(b"red") == 2)
        assert heard.waits_for(lambda messages: messages[-1][:2] == (AVAILABILITY, b"online"))


def test_a_subscription_hears_and_comes_back_when_opened_again() -> None:
    """A loss is an error to its user, who may open it again."""
    with (
        Broker() as broker,
        Subscription(BrokerSettings(port=broker.port), ["edge-agent/#"], SystemClock()) as subscription,
    ):
        subscription.open()
        with publishing(broker.port):
            assert [AVAILABILITY] == [each.topic for each in receive(subscription, 1)]
        broker.kill()
        with pytest.raises(BrokerError, match="is it running"):
            receive(subscription, 100)
        broker.start()
        subscription.open()
        with publishing(broker.port):
            assert [b"online"] == [each.payload for each in receive(subscription, 1)]


def test_a_subscription_to_an_absent_broker_is_an_error() -> None:
    """Whoever opens it is told at once."""
    with pytest.raises(BrokerError, match="is it running"):
        Subscription(BrokerSettings(port=free_port()), ["#"], SystemClock()).open()


def test_a_subscription_that_is_not_granted_is_an_error() -> None:
    """Listening in vain would look like silence."""
    suback = b"\x90\x04\x00\x01\x00\x87"
    with (
        scripted(b"\x20\x03\x00\x00\x00" + suback) as (port, _),
        Subscription(BrokerSettings(port=port), ["edge-agent/#"], SystemClock()) as subscription,
        pytest.raises(BrokerError, match="does not let us listen to edge-agent/#"),
    ):
        subscription.open()


def test_what_may_be_heard_is_heard_though_another_filter_is_refused() -> None:
    """Each has its own answer; the refused ones are named."""
    subacks = b"\x90\x04\x00\x01\x00\x87" + b"\x90\x04\x00\x02\x00\x01" + b"\x90\x04\x00\x03\x00\x87"
    with (
        scripted(b"\x20\x03\x00\x00\x00" + subacks, stays=True) as (port, _),
        Subscription(BrokerSettings(port=port), ["a/#", "b/#", "c/#"], SystemClock()) as subscription,
    ):
        subscription.open()
        assert "does not let us listen to a/# and c/#; " in str(subscription.refusal)
        assert [] == list(subscription.receive(0.0))


def _has(heard: list[tuple[str, bytes]], count: int) -> bool:
    return len(heard) == count


def receive(subscription: Subscription, count: int) -> list[Any]:
    """The next so many messages."""
    messages: list[Any] = []
    while len(messages) < count:
        messages.extend(subscription.receive(PATIENCE_S))
    return messages
