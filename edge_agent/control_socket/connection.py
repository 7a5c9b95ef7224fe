"""One client of the control socket, as the server's thread sees it. Nothing here waits."""

from __future__ import annotations

import array
import contextlib
import os
import selectors
import socket

from edge_agent.control_socket.wire import MAX_REQUEST_BYTES, Answer, Request
from edge_agent.errors import ControlError, EdgeAgentError
from edge_agent.sealed import SealedFile

_CHUNK = 64 << 10
_UNREAD_BYTES = 8 << 10
"""So much of its answers the kernel keeps for a client that does not read them."""

_ONE_FILE = socket.CMSG_LEN(array.array("i", [0]).itemsize)
"""Room for one descriptor; the kernel closes what is more, and says that it did."""


class Connection:
    """Takes one request at a time: the next is read when the last answer was given.

    ``active_s`` is when something last moved, in seconds of the server's clock.
    """

    def __init__(self, client: socket.socket, now_s: float) -> None:
        self.active_s = now_s
        self.is_answering = False
        self.is_ending = False
        self._socket = client
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
        self._received = bytearray()
        self._unsent = bytearray()
        self._file = -1

    def fileno(self) -> int:
        """Of its socket."""
        return self._socket.fileno()

    @property
    def awaited(self) -> int:
        """The selectors' events that it waits for."""
        receives = not (self.is_answering or self.is_ending or self.has_request)
        events = selectors.EVENT_READ if receives else 0
        return events | (selectors.EVENT_WRITE if self._unsent else 0)

    @property
    def has_request(self) -> bool:
        """Whether a whole one has come."""
        return b"\n" in self._received

    @property
    def is_ready(self) -> bool:
        """Whether its next request may be taken: it has had its last answer."""
        return self.has_request and not (self.is_answering or self._unsent)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to be done for it."""
        return self.is_ending and not (self.is_answering or self._unsent)

    def receive(self, now_s: float) -> None:
        """Take what has come. A client that speaks no more may still wait for its answer."""
        try:
            content, ancillary, flags, _ = self._socket.recvmsg(_CHUNK, _ONE_FILE, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        for _, _, descriptors in ancillary:
            self._keep_file(descriptors)
        self._received += content
        if self.has_request:  # half of one is no sign of life
            self.active_s = now_s
        if flags & socket.MSG_CTRUNC:
            self.refuse(ControlError("more than one file came with the request"))
        elif not content:
            self.is_ending = True
        elif len(self._received) > MAX_REQUEST_BYTES:
            self.refuse(ControlError(f"the request has more than {MAX_REQUEST_BYTES} bytes"))

    def take_request(self) -> tuple[Request, SealedFile | None] | None:
        """The request that has come; None where it was none, and was refused."""
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        try:
            request = Request.from_line(line)
            file = self._take_file()
        except EdgeAgentError as error:
            self.refuse(error)
            return None
        self.is_answering = True
        return request, file

    def answer(self, answer: Answer) -> None:
        """Send it as the client takes it; progress that it is too slow for is left out."""
        if answer.is_last:
            self.is_answering = False
        elif self._unsent:
            return
        self._unsent += answer.to_line()

    def refuse(self, error: EdgeAgentError) -> None:
        """Say why, and hear no more."""
        self._received.clear()
        self.answer(Answer.failed(error))
        self.is_ending = True

    def send(self, now_s: float) -> None:
        """Give the client what it takes."""
        try:
            sent = self._socket.send(self._unsent, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        self.active_s = now_s
        del self._unsent[:sent]

    def drop(self) -> None:
        """There is nobody left to answer to."""
        self.is_ending, self.is_answering = True, False
        self._unsent.clear()

    def close(self) -> None:
        """Give everything back."""
        self._keep_file(b"")
        self._socket.close()

    def _keep_file(self, descriptors: bytes) -> None:
        """Of several that come with one request the last counts."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        for descriptor in array.array("i", descriptors[: len(descriptors) // 4 * 4]):
            self._file = descriptor

    def _take_file(self) -> SealedFile | None:
        """Raises ControlError: what is no sealed memory might change, or never end, while it is read."""
        descriptor, self._file = self._file, -1
        if descriptor < 0:
            return None
        try:
            return SealedFile.adopt(descriptor, "control")
        except ValueError as error:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise ControlError(f"the file cannot be taken: {error}", "hand over sealed memory") from error
