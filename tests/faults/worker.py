"""A worker that fails on command: the real one, with one thing wrong.

``faulty_python`` writes a program that stands in for ``inference.python``: it gets the same command line and
the same sockets as a real interpreter, runs the real worker from the archive that it is handed, and
misbehaves when its turn comes. Turns are counted over all workers of one test, in a file.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_PROGRAM = """#!{python}
import sys
sys.path.insert(0, {root!r})
from tests.faults.worker import main
main({fault!r}, {turns!r}, {counter!r})
"""


def faulty_python(folder: Path, fault: str, turns: Iterable[int] = range(1000)) -> str:
    """A program whose workers do ``fault`` at the given invokes, counted from 0 over all of them.

    Faults: abort, segfault, exit, hang, seize (hangs, and no other Python thread runs), shut (ends the
    conversation and goes on), error, garbage, short (too few bytes), wrong-id;
    at the start: dumb (says nothing), babble (says garbage), leave (exits), grip (says a byte, then hangs
    as a runtime does: no other Python thread runs).
    """
    program = folder / f"python-{fault}"
    root = Path(__file__).resolve().parent.parent.parent
    text = _PROGRAM.format(
        python=sys.executable, root=str(root), fault=fault, turns=list(turns), counter=str(folder / "n")
    )
    program.write_text(text)
    program.chmod(0o755)
    return str(program)


def main(fault: str, turns: list[int], counter: str) -> None:
    """Run the real worker with the fault put in; the child's program."""
    sys.path.insert(0, sys.argv[1])
    begun = _START.get(fault)
    if begun is not None:
        begun()
    put_fault(fault, turns, counter)
    sys.argv = sys.argv[1:]
    runpy.run_module("edge_agent.worker", run_name="__main__")


def put_fault(fault: str, turns: list[int], counter: str) -> None:
    """Let the worker that this process will run do ``fault`` at the given invokes."""
    import edge_agent.worker.interpreter as interpreter
    import edge_agent.worker.protocol as protocol

    invoke = interpreter.Network.invoke
    send = protocol.Channel.send
    due = False

    def faulty_invoke(self: Any) -> int:
        nonlocal due
        due = _count(counter) in turns
        if due and fault in _INVOKE:
            _INVOKE[fault]()
        return invoke(self)

    def faulty_send(
        self: Any,
        kind: int,
        request: int = 0,
        number: int = 0,
        payload: Any = b"",
        timeout_s: float | None = None,
    ) -> None:
        if due and kind == protocol.SCORES and fault in ("garbage", "short", "wrong-id"):
            if fault == "garbage":
                self._socket.sendall(b"\xff" * 64)
                return
            payload = payload[:-1] if fault == "short" else payload
            request += fault == "wrong-id"
        send(self, kind, request, number, payload, timeout_s)

    interpreter.Network.invoke = faulty_invoke  # type: ignore[method-assign]
    protocol.Channel.send = faulty_send  # type: ignore[method-assign]


def _count(counter: str) -> int:
    """The number of this invoke, over all workers."""
    with Path(counter).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        number = file.tell()
        file.write(b".")
    return number


def _say_and_abort() -> None:
    print("F driver/usb/usb_driver.cc:802] transfer failed", file=sys.stderr, flush=True)
    os.abort()


def _hang() -> None:
    while True:
        time.sleep(3600)


def _seize() -> None:
    ctypes.PyDLL(None).sleep(3600)


def _shut() -> None:
    with socket.socket(fileno=os.dup(int(sys.argv[1].partition("=")[2]))) as ours:
        ours.shutdown(socket.SHUT_RDWR)
    _hang()


def _raise() -> None:
    from edge_agent.errors import InferenceError

    raise InferenceError("invoke: out of luck")


def _babble() -> None:
    os.write(int(sys.argv[2].partition("=")[2]), b"hello" * 20)
    _hang()


def _grip() -> None:
    import edge_agent.worker.interpreter as interpreter

    channel = int(sys.argv[2].partition("=")[2])

    def load_runtime(_name: str) -> Any:
        os.write(channel, b"x")
        ctypes.PyDLL(None).sleep(3600)

    interpreter.load_runtime = load_runtime  # type: ignore[assignment]


_INVOKE: dict[str, Callable[[], object]] = {
    "abort": _say_and_abort,
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(3),
    "hang": _hang,
    "seize": _seize,
    "shut": _shut,
    "error": _raise,
}

_START: dict[str, Callable[[], object]] = {
    "dumb": _hang,
    "babble": _babble,
    "leave": lambda: os._exit(7),
    "grip": _grip,
}
