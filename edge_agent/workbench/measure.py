"""How the figures are taken: children that run a round when told, whole agents, and time itself."""

from __future__ import annotations

import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import EdgeAgentError


@dataclass(frozen=True)
class Spread:
    """Median and the range of some rounds, in one unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class RoundsInChild:
    """A program that runs a round for each line on its stdin and prints a number; ``name`` is for errors."""

    def __init__(self, name: str, command: Sequence[str], descriptors: Sequence[int] = ()) -> None:
        self._name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            pass_fds=descriptors,
        )

    def round(self) -> float:
        """Run one round. Raises EdgeAgentError when the program ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("go\n")
        line = self._process.stdout.readline()
        if not line:
            _, said = self._process.communicate()
            lines = said.strip().splitlines()
            raise EdgeAgentError(f"{self._name} ended: {lines[-1] if lines else 'it said nothing'}")
        return float(line)

    def close(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def a_broker() -> Iterator[int]:
    """A real mosquitto of our own on a free port of 127.0.0.1. Raises EdgeAgentError where there is none."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise EdgeAgentError("mosquitto is not installed", "sudo apt install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # Without a configuration file mosquitto listens on the loopback only.
    silence = subprocess.DEVNULL
    with subprocess.Popen([program, "-p", str(port)], stdout=silence, stderr=silence) as process:
        try:
            _wait_listening(port, process)
            yield port
        finally:
            process.terminate()


def _wait_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise EdgeAgentError(f"mosquitto does not listen on port {port}", "run it again")


def each_ms(work: Callable[[], object], times: int) -> float:
    """Median time of one call, in ms."""
    taken = []
    for _ in range(times):
        start = time.perf_counter_ns()
        work()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1e6


def pss_mb(pid: int) -> float:
    """Proportional resident memory of a process, in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise EdgeAgentError(f"/proc/{pid}/smaps_rollup names no Pss", "a Linux kernel of 4.14 or newer does")


def children_of(pid: int) -> list[int]:
    """The processes that it has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def this_python() -> list[str]:
    """How to start this Python without the working directory on its path."""
    return [sys.executable, "-P"]
