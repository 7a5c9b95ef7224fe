"""worker/protocol.py: messages over the socketpair."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ProtocolError
from edge_agent.tensors import Quantization, TensorSpec
from edge_agent.worker.protocol import (
    MAX_PAYLOAD,
    RUN,
    TOLD,
    Channel,
    GraphDescription,
    HeadOp,
    Message,
    Ready,
    description_from_json,
    object_from_json,
    ready_from_json,
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, socket.socket]) -> None:
    """Head and payload cross unchanged, an empty payload and a large one alike, also two at a time."""
    channel, other = ends
    peer = Channel(other)
    for payload in (b"", bytes(range(256)) * 400):
        channel.send(RUN, 7, 1 << 40, payload, 1.0)
        channel.send(TOLD, payload=b"{}")
        assert Message(RUN, 7, 1 << 40, bytearray(payload)) == peer.receive(1.0)
        assert Message(TOLD, 0, 0, bytearray(b"{}")) == peer.receive(1.0)


def test_eof_is_told_as_eof(ends: tuple[Channel, socket.socket]) -> None:
    """A peer that closes, before a message or in one, is EOFError and not a short message."""
    channel, other = ends
    other.sendall(struct.pack("=IIQQ", RUN, 20, 1, 0) + b"default")
    other.close()
    with pytest.raises(EOFError):
        channel.receive(1.0)


def test_send_to_a_closed_peer_is_eof(ends: tuple[Channel, socket.socket]) -> None:
    """A peer that is gone is EOFError on the sending side too."""
    channel, other = ends
    other.close()
    with pytest.raises(EOFError):
        channel.send(RUN, payload=b"x" * 1000, timeout_s=1.0)


def test_silence_ends_at_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    """A peer that says nothing, or stops in the middle, is a TimeoutError."""
    channel, other = ends
    with pytest.raises(TimeoutError):
        channel.receive(0.01)
    other.sendall(b"\x00")
    with pytest.raises(TimeoutError):
        channel.receive(0.01)


def test_a_peer_that_does_not_read_ends_at_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    """A send that cannot be finished is a TimeoutError."""
    channel, _ = ends
    with pytest.raises(TimeoutError):
        channel.send(RUN, payload=b"x" * MAX_PAYLOAD, timeout_s=0.01)


def test_a_length_over_the_limit_is_refused_unread(ends: tuple[Channel, socket.socket]) -> None:
    """Garbage where a length should be must not become an allocation of gigabytes."""
    channel, other = ends
    other.sendall(b"\xff" * 24)
    with pytest.raises(ProtocolError):
        channel.receive(1.0)


def test_an_end_is_seen_though_nothing_was_read(ends: tuple[Channel, socket.socket]) -> None:
    """A peer that is gone is known to be, also while what it said last waits to be read."""
    channel, other = ends
    assert not channel.ended()
    other.sendall(b"last words")
    assert not channel.ended()
    other.close()
    assert channel.ended()


def test_closing_ends_the_wait_of_another_thread(ends: tuple[Channel, socket.socket]) -> None:
    """Whoever waits is told, and is gone before the descriptor may become another file's."""
    channel, _ = ends
    said: list[type[Exception]] = []

    def wait() -> None:
        try:
            channel.receive(60.0)
        except EOFError as error:
            said.append(type(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    channel.close()
    waiting.join(30.0)
    assert [EOFError] == said
    with pytest.raises(EOFError):
        channel.send(RUN)


@given(st.binary())
def test_any_text_is_an_object_or_a_protocol_error(text: bytes) -> None:
    """No bytes give anything but a dict or a ProtocolError."""
    with contextlib.suppress(ProtocolError):
        assert isinstance(object_from_json(text), dict)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_message_or_a_typed_error(raw: bytes) -> None:
    """Whatever a peer sends before it leaves: a message, EOFError or ProtocolError."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(raw)
        theirs.close()
        with contextlib.suppress(EOFError, ProtocolError):
            assert isinstance(Channel(ours).receive(1.0), Message)


def test_a_description_survives_json() -> None:
    """What the worker says of a graph is what the daemon reads."""
    spec = TensorSpec("input", (1, 4, 4, 3), "uint8", Quantization(0.5, 128))
    graph = GraphDescription("litert 2", (spec,), (spec,), (HeadOp("ADD", [[-104.0]]),), {"ADD": 1})
    assert description_from_json(json.loads(json.dumps(graph.to_json()))) == graph


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    st.fixed_dictionaries(
        {"runtime": _JSON, "inputs": _JSON, "outputs": _JSON, "head": _JSON, "op_counts": _JSON}
    )
    | _JSON
)
def test_any_description_is_one_or_a_protocol_error(value: object) -> None:
    """No JSON value gives anything but a GraphDescription or a ProtocolError."""
    with contextlib.suppress(ProtocolError):
        assert isinstance(description_from_json(value), GraphDescription)


@given(
    st.fixed_dictionaries({"runtime": _JSON, "load_ms": _JSON, "networks": st.dictionaries(st.text(), _JSON)})
    | _JSON
)
def test_any_ready_is_one_or_a_protocol_error(value: object) -> None:
    """No JSON value gives anything but a Ready or a ProtocolError."""
    with contextlib.suppress(ProtocolError):
        assert isinstance(ready_from_json(value), Ready)
