"""What crosses the socket between the daemon and a worker: a JSON header and raw bytes, no pickle.

A message is ``>II`` (bytes of header, bytes of payload), the header as JSON in UTF-8, the payload.
Runs on Python 3.9.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import socket
import struct
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from edge_agent.errors import ProtocolError
from edge_agent.tensors import Quantization, TensorSpec

MAX_HEADER = 1 << 20
"""Bytes. A description of a graph with a thousand operators takes some 100 KB."""

MAX_PAYLOAD = 1 << 26
"""Bytes: a float32 input of 2000 x 2000 x 3 fits, a garbled length does not."""

_LENGTHS = struct.Struct(">II")

Payload = Union[bytes, bytearray, memoryview]


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


class Channel:
    """One end of the socketpair: one thread at a time sends, and one at a time receives.

    After a TimeoutError, an EOFError or a ProtocolError it is of no further use.
    """

    def __init__(self, sock: socket.socket) -> None:
        # Never blocking: each direction waits for itself, with its own deadline.
        sock.setblocking(False)
        self._socket = sock
        self._receive_by: Optional[float] = None

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def shut(self) -> None:
        """End the conversation: both sides read EOF, also a thread of ours that is waiting."""
        with contextlib.suppress(OSError):  # the other side has ended it already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back; the other side reads EOF."""
        self._socket.close()

    def send(
        self, header: Mapping[str, Any], payload: Payload = b"", timeout_s: Optional[float] = None
    ) -> None:
        """Send one message whole.

        Raises TimeoutError after ``timeout_s``, EOFError where the other side is gone, ProtocolError
        for a message over the limits.
        """
        head = json.dumps(header, separators=(",", ":")).encode()
        body = memoryview(payload).cast("B")
        _check_lengths(len(head), len(body))
        deadline = _deadline(timeout_s)
        parts = [memoryview(_LENGTHS.pack(len(head), len(body)) + head), body]
        while parts:
            try:
                parts = _rest_after(parts, self._socket.sendmsg(parts))
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except OSError as error:  # gone on the other side, or closed on ours by another thread
                raise EOFError("the other side is gone") from error

    def receive(self, timeout_s: Optional[float] = None) -> Tuple[Dict[str, Any], bytearray]:
        """One message: header and payload. Raises as :meth:`send`."""
        header, size = self.receive_header(timeout_s)
        payload = bytearray(size)
        self.receive_into(memoryview(payload))
        return header, payload

    def receive_header(self, timeout_s: Optional[float] = None) -> Tuple[Dict[str, Any], int]:
        """The header of the next message and the bytes of payload that follow it; the deadline
        goes on for :meth:`receive_into`. Raises as :meth:`send`.
        """
        self._receive_by = _deadline(timeout_s)
        lengths = bytearray(_LENGTHS.size)
        self.receive_into(memoryview(lengths))
        head_size, body_size = _LENGTHS.unpack(lengths)
        _check_lengths(head_size, body_size)
        head = bytearray(head_size)
        self.receive_into(memoryview(head))
        return parse_header(bytes(head)), body_size

    def receive_into(self, view: memoryview) -> None:
        """Fill ``view`` whole with what comes next. Raises as :meth:`send`."""
        view = view.cast("B")
        while len(view):
            try:
                count = self._socket.recv_into(view)
            except BlockingIOError:
                self._wait(select.POLLIN, self._receive_by)
                continue
            except OSError as error:
                raise EOFError("the other side is gone") from error
            if count == 0:
                raise EOFError("the other side is gone")
            view = view[count:]

    def _wait(self, event: int, deadline: Optional[float]) -> None:
        """Until the socket is ready for ``event`` or has ended; TimeoutError past the deadline."""
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise TimeoutError("deadline")
        poller = select.poll()
        try:
            poller.register(self._socket, event)
        except ValueError as error:  # closed by another thread
            raise EOFError("the channel is closed") from error
        if not poller.poll(None if left_s is None else math.ceil(left_s * 1e3)):
            raise TimeoutError("deadline")


def _deadline(timeout_s: Optional[float]) -> Optional[float]:
    return None if timeout_s is None else time.monotonic() + timeout_s


def parse_header(head: bytes) -> Dict[str, Any]:
    """The JSON object in ``head``. Raises ProtocolError."""
    try:
        header = json.loads(head.decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a header that is no JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a header that is no JSON object")
    return header


def _check_lengths(head: int, body: int) -> None:
    if head > MAX_HEADER or body > MAX_PAYLOAD:
        raise ProtocolError(f"a message of {head} + {body} bytes is over the limit")


def _rest_after(parts: List[memoryview], sent: int) -> List[memoryview]:
    """What of ``parts`` is still to be sent."""
    rest = []
    for part in parts:
        if sent >= len(part):
            sent -= len(part)
        else:
            rest.append(part[sent:])
            sent = 0
    return rest
