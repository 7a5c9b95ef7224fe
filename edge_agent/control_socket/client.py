"""The command line's end of the control socket."""

from __future__ import annotations

import grp
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_agent.control_socket.wire import MAX_ANSWER_BYTES, Answer, Request
from edge_agent.errors import AgentBusyError, AgentNotRunningError, ControlError, ControlNotAllowedError
from edge_agent.sealed import SealedFile

ANSWER_TIMEOUT_S = 180.0
"""Between two answers: a Pi 3 needs a minute to vet 64 golden images, and says nothing meanwhile."""

_CHUNK = 64 << 10


class ControlClient:
    """Asks the agent that listens at ``path``; each question has a connection of its own."""

    def __init__(self, path: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def ask(
        self,
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        file: SealedFile | None = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """The content of the answer; ``on_progress`` is called with that of each one before it.

        Raises AgentNotRunningError, ControlNotAllowedError, AgentBusyError, and what the agent answers:
        UsageError, else ControlError.
        """
        line = Request(verb, arguments or {}).to_line()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self._timeout_s)
            self._connect(connection)
            try:
                _send(connection, line, file)
                return self._last_answer(connection, on_progress)
            except TimeoutError:
                what = f"the agent gave no answer within {self._timeout_s:g} s"
                raise AgentBusyError(what, "see its log") from None
            except OSError as error:
                raise _gone(error.strerror or str(error)) from error

    def _connect(self, connection: socket.socket) -> None:
        try:
            connection.connect(str(self._path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise AgentNotRunningError(self._path) from None
        except PermissionError:
            raise ControlNotAllowedError(self._path, _group_of(self._path)) from None
        except (BlockingIOError, TimeoutError):
            raise AgentBusyError(f"the agent does not take calls at {self._path}", "try again") from None
        except OSError as error:
            what = f"cannot ask the agent at {self._path}: {error.strerror or error}"
            raise ControlError(what, "agent.socket in the configuration says where it listens") from error

    def _last_answer(self, connection: socket.socket, on_progress: Callable[[Any], None] | None) -> Any:
        received = bytearray()
        while True:
            line, newline, rest = received.partition(b"\n")
            if newline:
                received = rest
                answer = Answer.from_line(bytes(line))
                if answer.is_last:
                    return answer.content
                if on_progress is not None:
                    on_progress(answer.content)
                continue
            if len(received) > MAX_ANSWER_BYTES:
                raise ControlError(f"the agent's answer has more than {MAX_ANSWER_BYTES} bytes")
            chunk = connection.recv(_CHUNK)
            if not chunk:
                raise _gone("it closed the connection")
            received += chunk


def _send(connection: socket.socket, line: bytes, file: SealedFile | None) -> None:
    try:
        sent = 0 if file is None else socket.send_fds(connection, [line], [file.fileno()])
        connection.sendall(line[sent:])
    except (BrokenPipeError, ConnectionResetError):
        return  # it has been answered already: there are too many of us


def _gone(why: str) -> ControlError:
    return ControlError(f"the agent ended before it answered ({why})", "see its log")


def _group_of(path: Path) -> str | None:
    """The group that may ask: the one of the socket, or of the folder that we may not look into."""
    for each in (path, *path.parents):
        try:
            number = each.stat().st_gid
        except OSError:
            continue
        try:
            return grp.getgrgid(number).gr_name
        except KeyError:
            return str(number)
    return None
