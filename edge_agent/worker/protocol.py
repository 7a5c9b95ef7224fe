"""What crosses the socket between the daemon and a worker: numbers, JSON and raw bytes, no pickle.

A message is a head, ``=IIQQ`` (kind, bytes of payload, request, number), and its payload. First the worker
says what became of its start: TOLD, a JSON object. From then on the daemon sends

    RUN     number: where the input tensor stands in the shared memory   payload: the network's name

and each request is answered, in order, by one of

    SCORES  number: ns inside invoke()                                   payload: the output's codes
    FAILED                                                               payload: why, as text

Runs on Python 3.9.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import socket
import struct
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from edge_agent.errors import ProtocolError
from edge_agent.tensors import Quantization, TensorSpec

TOLD, RUN, SCORES, FAILED = 1, 2, 3, 4
"""The kinds of messages."""

MAX_PAYLOAD = 1 << 26
"""Bytes: a float32 output of a million classes fits, a garbled length does not."""

_HEAD = struct.Struct("=IIQQ")

_PIECE = 1 << 14
"""Bytes read at a time: an answer of a classifier fits."""

Payload = Union[bytes, bytearray, memoryview]


class Message(NamedTuple):
    """One message; see above for what the numbers are."""

    kind: int
    request: int
    number: int
    payload: bytearray


@dataclass(frozen=True)
class HeadOp:
    """One operator on the way from the input into the graph, with the values of its small
    constants (at most 16 elements each).
    """

    op: str
    constants: List[List[float]] = field(default_factory=list)


@dataclass(frozen=True)
class GraphDescription:
    """What the runtime says of a model: the specs of inputs and outputs, the first operators that
    the input meets (at most 8, up to the first that is not elementwise), operators by count.
    """

    runtime: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
    head: Tuple[HeadOp, ...]
    op_counts: Mapping[str, int]

    def to_json(self) -> Dict[str, Any]:
        """Plain values; :func:`description_from_json` reads them."""
        return asdict(self)


def description_from_json(value: Any) -> GraphDescription:
    """The inverse of :meth:`GraphDescription.to_json`. Raises ProtocolError."""
    try:
        return GraphDescription(
            runtime=str(value["runtime"]),
            inputs=tuple(spec_from_json(spec) for spec in value["inputs"]),
            outputs=tuple(spec_from_json(spec) for spec in value["outputs"]),
            head=tuple(
                HeadOp(str(op["op"]), [[float(x) for x in row] for row in op["constants"]])
                for op in value["head"]
            ),
            op_counts={str(op): int(count) for op, count in value["op_counts"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProtocolError(f"malformed graph description: {error!r}") from error


def spec_from_json(value: Any) -> TensorSpec:
    """A TensorSpec from plain values. Raises ProtocolError."""
    try:
        quantization: Optional[Quantization] = None
        if value["quantization"] is not None:
            scale, zero_point = value["quantization"]["scale"], value["quantization"]["zero_point"]
            quantization = Quantization(float(scale), int(zero_point))
        return TensorSpec(
            name=str(value["name"]),
            shape=tuple(int(size) for size in value["shape"]),
            dtype=str(value["dtype"]),
            quantization=quantization,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProtocolError(f"malformed tensor spec: {error!r}") from error


@dataclass(frozen=True)
class LoadedNetwork:
    """What a worker says of one of its networks; ``warm_ms`` is its first inference."""

    input: TensorSpec
    output: TensorSpec
    warm_ms: float
    graph: Optional[GraphDescription]


@dataclass(frozen=True)
class Ready:
    """What a worker said when it was ready: its networks by name. ``load_ms`` is the whole start."""

    runtime: str
    networks: Mapping[str, LoadedNetwork]
    load_ms: float


def ready_from_json(header: Any) -> Ready:
    """What a ``ready`` message says. Raises ProtocolError."""
    try:
        return Ready(
            runtime=str(header["runtime"]),
            networks={
                name: LoadedNetwork(
                    input=spec_from_json(said["input"]),
                    output=spec_from_json(said["output"]),
                    warm_ms=float(said["warm_ms"]),
                    graph=description_from_json(said["graph"]) if "graph" in said else None,
                )
                for name, said in header["networks"].items()
            },
            load_ms=float(header["load_ms"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ProtocolError(f"malformed ready message: {error!r}") from error


class Channel:
    """One end of the socketpair. One thread at a time sends, and one at a time receives: others wait.

    After a TimeoutError, an EOFError or a ProtocolError it is of no further use.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._received = bytearray()
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)
        self._sending, self._receiving = threading.Lock(), threading.Lock()

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def ended(self) -> bool:
        """Whether the other side has ended the conversation; what it said before may still be unread."""
        poller = select.poll()
        poller.register(self._socket, select.POLLRDHUP)
        return bool(poller.poll(0))

    def shut(self) -> None:
        """End the conversation: both sides read EOF, also a thread of ours that is waiting."""
        with contextlib.suppress(OSError):  # the other side has ended it already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back; the other side reads EOF."""
        self.shut()
        # No thread may be left waiting on a number that is another file's in a moment.
        with self._sending, self._receiving:
            self._socket.close()

    def send(
        self,
        kind: int,
        request: int = 0,
        number: int = 0,
        payload: Payload = b"",
        timeout_s: Optional[float] = None,
    ) -> None:
        """Send one message whole.

        Raises TimeoutError after ``timeout_s``, EOFError where the other side is gone.
        """
        deadline = _deadline(timeout_s)
        rest = memoryview(_HEAD.pack(kind, len(payload), request, number) + payload)
        with self._sending:
            while rest:
                try:
                    rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    _wait(self._writable, deadline)
                except OSError as error:  # gone on the other side, or closed on ours by another thread
                    raise EOFError("the other side is gone") from error

    def receive(self, timeout_s: Optional[float] = None) -> Message:
        """The next message. Raises as :meth:`send`, and ProtocolError for what can be none."""
        deadline = _deadline(timeout_s)
        with self._receiving:
            self._fill(_HEAD.size, deadline)
            kind, size, request, number = _HEAD.unpack_from(self._received)
            if size > MAX_PAYLOAD:
                raise ProtocolError(f"a message of {size} bytes is over the limit")
            end = _HEAD.size + size
            self._fill(end, deadline)
            payload = self._received[_HEAD.size : end]
            del self._received[:end]
            return Message(kind, request, number, payload)

    def _fill(self, size: int, deadline: Optional[float]) -> None:
        """Have at least so many bytes of what comes next."""
        while len(self._received) < size:
            if deadline is not None and self._socket.fileno() >= 0:
                _wait(self._readable, deadline)
            try:
                piece = self._socket.recv(max(_PIECE, size - len(self._received)))
            except OSError as error:
                raise EOFError("the other side is gone") from error
            if not piece:
                raise EOFError("the other side is gone")
            self._received += piece


def _wait(poller: select.poll, deadline: Optional[float]) -> None:
    """Until the socket is ready, or has ended; TimeoutError past the deadline."""
    left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
    if not poller.poll(None if left_s is None else math.ceil(left_s * 1e3)):
        raise TimeoutError("deadline")


def _deadline(timeout_s: Optional[float]) -> Optional[float]:
    return None if timeout_s is None else time.monotonic() + timeout_s


def object_from_json(text: Union[bytes, bytearray]) -> Dict[str, Any]:
    """The JSON object in ``text``. Raises ProtocolError."""
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a message that is no JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError("a message that is no JSON object")
    return value
