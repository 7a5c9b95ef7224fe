"""The broker that the demo brings along."""

from __future__ import annotations

import socket
import sys
import threading

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import broker
from edge_agent.broker import HOST, EmbeddedBroker
from edge_agent.errors import BrokerError, EdgeAgentError

PATIENCE_S = 10.0


class Subscriber:
    """A paho client that collects what it receives; ``received`` is set at the first message."""

    def __init__(self, port: int, topics: str) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.subscribed = threading.Event()
        self.received = threading.Event()
        self.left = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self.client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self._on_message
        self.client.on_disconnect = lambda *_: self.left.set()
        self.client.connect(HOST, port)
        self.client.loop_start()
        assert self.subscribed.wait(PATIENCE_S)

    def _on_message(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload), message.retain))
        self.received.set()

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


def publish(port: int, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """Publish one message with QoS 1 and wait for the broker's receipt."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.connect(HOST, port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def test_a_message_reaches_a_subscriber() -> None:
    """Anyone may connect, subscribe and publish, without a name or a password."""
    with EmbeddedBroker(port=0) as embedded:
        subscriber = Subscriber(embedded.port, "edge-agent/#")
        publish(embedded.port, "edge-agent/demo/camera/scene/label", b"gold")
        assert subscriber.received.wait(PATIENCE_S)
        subscriber.close()
    assert [("edge-agent/demo/camera/scene/label", b"gold", False)] == subscriber.messages


def test_a_late_subscriber_gets_what_was_retained_and_nothing_of_the_brokers_own() -> None:
    """Retained messages are kept while the broker runs, and it publishes no topics about itself."""
    with EmbeddedBroker(port=0) as embedded:
        system = Subscriber(embedded.port, "$SYS/#")
        publish(embedded.port, "edge-agent/demo/availability", b"online", retain=True)
        everything = Subscriber(embedded.port, "#")
        assert everything.received.wait(PATIENCE_S)
        everything.close()
        system.close()
    assert ("edge-agent/demo/availability", b"online", True) == everything.messages[0]
    assert [] == system.messages


def test_the_next_port_is_taken_when_the_wanted_one_is_in_use() -> None:
    """A broker that already runs on the wanted port is left alone."""
    with EmbeddedBroker(port=0) as first, EmbeddedBroker(port=first.port) as second:
        assert first.port < second.port < first.port + broker.PORTS_TRIED


def test_no_free_port_is_an_error_that_names_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every port that may be tried is in use, the error says which ones and what to do."""
    monkeypatch.setattr(broker, "PORTS_TRIED", 1)
    with (
        socket.create_server((HOST, 0)) as taken,
        pytest.raises(BrokerError, match=f"ports {taken.getsockname()[1]} to .* --port"),
    ):
        EmbeddedBroker(port=taken.getsockname()[1]).start()


def test_close_ends_the_thread_and_drops_every_kind_of_client() -> None:
    """Neither a subscriber that stays nor a connection that never said a word keeps the broker alive."""
    embedded = EmbeddedBroker(port=0)
    embedded.start()
    subscriber = Subscriber(embedded.port, "#")
    with socket.create_connection((HOST, embedded.port)) as silent:
        assert embedded.close(timeout_s=PATIENCE_S)
        silent.settimeout(PATIENCE_S)
        assert b"" == _all_that_comes(silent)
    assert subscriber.left.wait(PATIENCE_S)
    subscriber.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, embedded.port))


def test_garbage_from_one_client_does_not_disturb_the_others() -> None:
    """What is no MQTT ends that connection alone."""
    with EmbeddedBroker(port=0) as embedded:
        subscriber = Subscriber(embedded.port, "#")
        with socket.create_connection((HOST, embedded.port)) as rude:
            rude.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
            rude.shutdown(socket.SHUT_WR)
            rude.settimeout(PATIENCE_S)
            _all_that_comes(rude)
        publish(embedded.port, "after", b"still here")
        assert subscriber.received.wait(PATIENCE_S)
        subscriber.close()


def test_close_may_be_called_twice_and_before_start() -> None:
    """Closing is always safe."""
    embedded = EmbeddedBroker(port=0)
    assert embedded.close()
    embedded.start()
    assert embedded.close(PATIENCE_S)
    assert embedded.close(PATIENCE_S)


def test_a_missing_amqtt_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error names the very command that installs it."""
    monkeypatch.setitem(sys.modules, "amqtt.broker", None)
    with pytest.raises(EdgeAgentError, match="pip install amqtt"):
        EmbeddedBroker(port=0).start()


def _all_that_comes(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(4096):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def test_what_is_retained_goes_to_who_asked_for_it() -> None:
    """Not to everyone who connects once somebody asked for it, as amqtt by itself would have it."""
    with EmbeddedBroker(port=0) as broker:
        publish(broker.port, "health", b"well", retain=True)
        asking, other = Subscriber(broker.port, "health"), Subscriber(broker.port, "label")
        assert asking.received.wait(PATIENCE_S)
        publish(broker.port, "label", b"red")
        assert other.received.wait(PATIENCE_S)
        asking.close()
        other.close()
        assert [("health", b"well", True)] == asking.messages
        assert [("label", b"red", False)] == other.messages
