"""edge_agent.control_socket: asked over a real socket, whatever the clients do."""

from __future__ import annotations

import array
import contextlib
import json
import os
import queue
import selectors
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.control_socket import Answer, ControlClient, ControlRequest, ControlServer
from edge_agent.control_socket.connection import Connection
from edge_agent.control_socket.server import MAX_CLIENTS
from edge_agent.control_socket.wire import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES
from edge_agent.errors import (
    AgentBusyError,
    AgentNotRunningError,
    ControlError,
    ControlNotAllowedError,
    EdgeAgentError,
    UsageError,
)
from edge_agent.sealed import SealedFile

PATIENCE_S = 30.0


class Agent:
    """A server, and a main loop of the test's own: ``answer`` is called with each request."""

    def __init__(self, path: Path, answer: Callable[[ControlRequest], None]) -> None:
        self.requests: queue.SimpleQueue[ControlRequest] = queue.SimpleQueue()
        self._woken = threading.Semaphore(0)
        self.server = ControlServer(path, self.requests, self._woken.release, SystemClock())
        self._answer = answer
        self._over = False
        self._loop = threading.Thread(target=self._turn)
        self._loop.start()

    def _turn(self) -> None:
        while not self._over:
            self._woken.acquire()
            with contextlib.suppress(queue.Empty):
                self._answer(self.requests.get_nowait())

    def close(self) -> None:
        """Both threads have ended."""
        self.server.close()
        self._over = True
        self._woken.release()
        self._loop.join()
        assert self.server.fault is None
        assert "control-socket" not in [thread.name for thread in threading.enumerate()]


def answered(request: ControlRequest) -> None:
    """An agent that tells the verb and arguments back, and what is in the file."""
    if request.verb == "fail":
        request.reply(Answer.failed(EdgeAgentError("it failed", "try something else")))
    elif request.verb == "usage":
        request.reply(Answer.failed(UsageError("no such slot")))
    elif request.verb == "silence":
        return
    elif request.verb == "large":
        request.reply(Answer.ok("x" * request.arguments["size"]))
    elif request.verb == "steps":
        threading.Thread(target=_steps, args=(request,)).start()
    elif request.file is not None:
        request.reply(Answer.ok(os.pread(request.file.fileno(), 100, 0).decode()))
        request.file.close()
    else:
        request.reply(Answer.ok({"verb": request.verb, **request.arguments}))


def _steps(request: ControlRequest) -> None:
    for step in range(3):
        request.reply(Answer.progress({"step": step}))
    request.reply(Answer.ok("done"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the agent listens."""
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def agent(path: Path) -> Iterator[Agent]:
    """One that answers."""
    agent = Agent(path, answered)
    yield agent
    agent.close()


@pytest.fixture
def client(agent: Agent, path: Path) -> ControlClient:  # noqa: ARG001  it must run
    """The command line's end."""
    return ControlClient(path, PATIENCE_S)


def raw(path: Path, *sent: bytes) -> bytes:
    """What comes for these bytes until the agent closes the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        for each in sent:
            connection.sendall(each)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_question_has_its_answer(client: ControlClient) -> None:
    """One JSON object a line, each way, in any script."""
    assert {"verb": "status"} == client.ask("status")
    assert {"verb": "a", "slot": "\u03b2 \n"} == client.ask("a", {"slot": "\u03b2 \n"})


def test_progress_comes_before_the_answer(client: ControlClient) -> None:
    """Any number of it, in order; whoever does not want it gets the answer alone."""
    steps: list[Any] = []
    assert "done" == client.ask("steps", on_progress=steps.append)
    assert [{"step": 0}, {"step": 1}, {"step": 2}] == steps
    assert "done" == client.ask("steps")


def test_a_refusal_keeps_its_remedy_and_kind(client: ControlClient) -> None:
    """What the agent says is wrong is said by the command line with the exit code that it would have had."""
    with pytest.raises(ControlError, match="it failed; try something else") as failed:
        client.ask("fail")
    assert 1 == failed.value.exit_code
    with pytest.raises(UsageError, match="no such slot"):
        client.ask("usage")


def test_a_sealed_file_is_handed_over(client: ControlClient) -> None:
    """The agent reads what the command line could open, and needs no right of its own."""
    assert "a bundle" == client.ask("install", {}, SealedFile(b"a bundle", "export.zip"))


def descriptors() -> list[str]:
    """What this process has open."""
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


def test_any_other_file_is_refused(path: Path, tmp_path: Path) -> None:
    """What is not sealed might change or never end while the agent reads it; descriptors do not leak."""
    before = descriptors()
    agent = Agent(path, answered)
    ordinary = (tmp_path / "ordinary").open("wb+")
    reading, writing = os.pipe()
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    for descriptor in (ordinary.fileno(), reading, unsealed):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(path))
            socket.send_fds(connection, [b'{"verb":"install"}\n'], [descriptor])
            assert b"the file cannot be taken" in connection.recv(4096)
    for descriptor in (reading, writing, unsealed):
        os.close(descriptor)
    ordinary.close()
    assert {"verb": "status"} == ControlClient(path).ask("status")
    agent.close()
    assert before == descriptors()


def test_of_several_files_none_is_taken(path: Path) -> None:
    """One file a request: more are given back at once."""
    file = SealedFile(b"a bundle", "export.zip")
    before = descriptors()
    agent = Agent(path, answered)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        many = array.array("i", [file.fileno()] * 20)
        connection.sendmsg([b'{"verb":"install"}\n'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, many)])
        assert b"more than one file" in connection.recv(4096)
        assert b"" == connection.recv(4096)
    assert {"verb": "status"} == ControlClient(path).ask("status")
    agent.close()
    assert before == descriptors()


def test_one_connection_may_ask_again_and_again(path: Path, agent: Agent) -> None:  # noqa: ARG001
    """Also before the last answer was given: the requests are taken in turn."""
    lines = raw(path, b'{"verb":"a"}\n{"verb":"b"}\n', b'{"verb":', b'"c"}\n').splitlines()
    assert ["a", "b", "c"] == [json.loads(line)["data"]["verb"] for line in lines]


@pytest.mark.parametrize(
    "line", [b"\n", b"{\n", b"[]\n", b'{"verb": 1}\n', b'{"verb":"a","arguments":[]}\n', b"[" * 5000 + b"\n"]
)
def test_what_is_no_request_is_refused(path: Path, client: ControlClient, line: bytes) -> None:
    """In words, and the connection ends: what follows might be part of it."""
    answer = json.loads(raw(path, line + b'{"verb":"a"}\n'))
    assert ["error", "failed"] == [answer["status"], answer["code"]]
    assert {"verb": "status"} == client.ask("status")


def test_a_request_without_end_is_refused(path: Path, client: ControlClient) -> None:
    """Its size is bounded, and so is the memory that it takes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
        connection.connect(str(path))
        while True:
            connection.sendall(b"x" * 65536)
    with pytest.raises(ControlError, match="more than"):
        client.ask("a", {"text": "x" * MAX_REQUEST_BYTES})
    assert {"verb": "status"} == client.ask("status")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200))
def test_noise_harms_nobody(path: Path, client: ControlClient, noise: bytes) -> None:
    """Whatever a client sends, the next one is answered."""
    raw(path, noise)
    assert {"verb": "status"} == client.ask("status")


def test_a_large_answer_comes_whole(client: ControlClient) -> None:
    """Far more than a socket holds; one that is too large becomes an error."""
    assert 3 << 20 == len(client.ask("large", {"size": 3 << 20}))
    with pytest.raises(ControlError, match="the answer has"):
        client.ask("large", {"size": MAX_ANSWER_BYTES})


def test_a_client_that_takes_nothing_holds_nobody_up(path: Path, client: ControlClient) -> None:
    """Neither the agent nor the other clients wait for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy:
        lazy.connect(str(path))
        lazy.sendall(b'{"verb":"large","arguments":{"size":3000000}}\n')
        assert {"verb": "status"} == client.ask("status")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Connection]]:
    """A client, and how the server sees it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    connection = Connection(ours, 0.0)
    with theirs:
        yield theirs, connection
    connection.close()


def test_who_never_reads_is_answered_no_more(ends: tuple[socket.socket, Connection]) -> None:
    """It has asked a thousand times: once the kernel holds a few answers for it, the next one has to wait."""
    theirs, connection = ends
    theirs.sendall(b'{"verb":"a"}\n' * 1000)
    answers = 0
    while True:
        connection.receive(1.0)
        if not connection.is_ready:
            break
        connection.take_request()
        connection.answer(Answer.ok("x" * 500))
        connection.send(1.0)
        answers += 1
    assert 1 <= answers < 50
    assert connection.awaited & selectors.EVENT_WRITE
    assert theirs.recv(1 << 20)
    while connection.awaited & selectors.EVENT_WRITE:
        connection.send(2.0)
    assert connection.is_ready


def test_half_a_request_is_no_sign_of_life(ends: tuple[socket.socket, Connection]) -> None:
    """A client that sends it byte by byte would never be shown out."""
    theirs, connection = ends
    for now_s, byte in enumerate(b'{"verb":"a"}', start=1):
        theirs.send(bytes([byte]))
        connection.receive(float(now_s))
        assert 0.0 == connection.active_s
    theirs.send(b"\n")
    connection.receive(13.0)
    assert 13.0 == connection.active_s


def test_more_clients_than_there_is_room_for(path: Path, client: ControlClient) -> None:
    """The next one is told so, and has its turn when another leaves."""
    with contextlib.ExitStack() as crowd:
        for _ in range(MAX_CLIENTS):
            connection = crowd.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.connect(str(path))
            connection.sendall(b'{"verb":"a"}\n')
            assert connection.recv(100)
        with pytest.raises(AgentBusyError, match="8 clients"):
            client.ask("status")
        with pytest.raises(AgentBusyError, match="8 clients"):
            client.ask("install", {}, SealedFile(b"a bundle", "export.zip"))
        connection.close()
        assert {"verb": "status"} == asked_until_served(client)


def asked_until_served(client: ControlClient) -> Any:
    """The answer, once there is room: that a client has left is noticed a moment later."""
    while True:
        with contextlib.suppress(AgentBusyError):
            return client.ask("status")


def test_an_answer_for_a_client_that_left_is_dropped(path: Path, client: ControlClient, agent: Agent) -> None:
    """And so is one that comes after the server was closed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(b'{"verb":"steps"}\n')
    assert {"verb": "status"} == client.ask("status")
    late: queue.SimpleQueue[ControlRequest] = queue.SimpleQueue()
    agent._answer = late.put
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(b'{"verb":"silence"}\n')
        request = late.get(timeout=PATIENCE_S)
    agent.server.close()
    request.reply(Answer.ok("late"))


def test_a_silent_agent_is_not_waited_for_for_ever(agent: Agent, path: Path) -> None:  # noqa: ARG001
    """The command line has a bound of its own; one that ends before it answered says so."""
    with pytest.raises(AgentBusyError, match="no answer within"):
        ControlClient(path, 0.05).ask("silence")


def test_an_agent_that_ends_says_nothing_more(path: Path) -> None:
    """The command line tells that there will be no answer."""
    closing = Agent(path, lambda _: threading.Thread(target=closing.server.close).start())
    with pytest.raises(ControlError, match="ended before it answered"):
        ControlClient(path, PATIENCE_S).ask("status")
    closing.close()


def test_nobody_listens(path: Path) -> None:
    """No socket, a folder that is none, or one that an agent left behind when it was killed."""
    for missing in (path, path.parent / "file" / "control.sock"):
        with pytest.raises(AgentNotRunningError, match="systemctl start edge-agent"):
            ControlClient(missing).ask("status")
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    with pytest.raises(AgentNotRunningError):
        ControlClient(path).ask("status")


def test_a_socket_that_was_left_behind_is_replaced(path: Path) -> None:
    """After kill -9 the next agent listens; its socket is for its user and group, and goes with it."""
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    agent = Agent(path, answered)
    assert 0o660 == stat.S_IMODE(path.stat().st_mode)
    assert {"verb": "status"} == ControlClient(path).ask("status")
    agent.close()
    assert not path.exists()


def test_a_living_agent_keeps_its_socket(agent: Agent, path: Path, client: ControlClient) -> None:  # noqa: ARG001
    """A second one is refused and told who is first; the first one does not notice."""
    with pytest.raises(ControlError, match=rf"another agent listens at {path} \(pid {os.getpid()}\)"):
        ControlServer(path, queue.SimpleQueue(), lambda: None, SystemClock())
    assert {"verb": "status"} == client.ask("status")


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    """A file of somebody else's is not removed; a name that is too long is one line."""
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ControlError, match="is no socket"):
        ControlServer(path, queue.SimpleQueue(), lambda: None, SystemClock())
    assert "precious" == path.read_text()
    long = path.with_name("x" * 120)
    with pytest.raises(ControlError, match=r"cannot listen at .*agent\.socket"):
        ControlServer(long, queue.SimpleQueue(), lambda: None, SystemClock())
    with pytest.raises(ControlError, match="cannot ask the agent"):
        ControlClient(long).ask("status")


AS_NOBODY = """
import os, sys
from pathlib import Path
from edge_agent.control_socket import ControlClient
from edge_agent.errors import ControlNotAllowedError
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    ControlClient(Path(sys.argv[1])).ask("status")
except ControlNotAllowedError as error:
    print(error)
"""


def test_who_may_not_ask_is_told_the_group(agent: Agent, path: Path) -> None:  # noqa: ARG001
    """The remedy is to join it."""
    if os.geteuid() != 0:
        pytest.skip("not root: cannot become another user")
    for parent in path.parents:
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    child = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert str(ControlNotAllowedError(path, "root")) + "\n" == child.stdout, child.stderr
