"""What a running agent holds, looked at again and again in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

from edge_agent.control_socket import ControlClient
from edge_agent.errors import EdgeAgentError
from edge_agent.workbench.measure import children_of, pss_mb
from tests.soaking.sequences import Count

PERIOD_S = 2.0


class Holding(NamedTuple):
    """Of one moment; ``worker_mb`` is the mean of the workers, ``children`` all processes that it started."""

    minutes: float
    daemon_mb: float
    worker_mb: float
    worker_descriptors: float
    descriptors: int
    threads: int
    children: int

    def __str__(self) -> str:
        return (
            f"daemon {self.daemon_mb:.1f} MB, {self.descriptors} descriptors, {self.threads} threads; "
            f"{self.children} children, a worker {self.worker_mb:.1f} MB"
        )


class Watch:
    """Samples the process ``pid`` and asks its control socket; used in ``with``."""

    def __init__(self, pid: int, socket: Path) -> None:
        self._pid = pid
        self._client = ControlClient(socket, timeout_s=10.0)
        self._begun_s = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.holdings: list[Holding] = []
        self.counts: list[Count] = []
        self.silences = 0
        """So often it did not answer."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def ask(self) -> dict[str, Any]:
        """The agent's ``status``; notes what it has counted as dropped."""
        asked_s = time.time()
        status: dict[str, Any] = self._client.ask("status")
        self.counts.append(Count(asked_s, time.time(), status["health"]["outbox"]["dropped"]))
        return status

    def _run(self) -> None:
        while not self._ending.wait(PERIOD_S):
            try:
                self.ask()
            except EdgeAgentError:
                self.silences += 1
            if (holding := self._look()) is not None:
                self.holdings.append(holding)

    def _look(self) -> Holding | None:
        """None where a worker came or went meanwhile."""
        proc = Path("/proc", str(self._pid))
        with contextlib.suppress(OSError, EdgeAgentError, ZeroDivisionError):
            children = children_of(self._pid)
            workers = [each for each in children if b"edge_agent.worker" in _command(each)]
            return Holding(
                (time.monotonic() - self._begun_s) / 60,
                pss_mb(self._pid),
                sum(map(pss_mb, workers)) / len(workers),
                sum(map(_descriptors, workers)) / len(workers),
                _descriptors(self._pid),
                len(list((proc / "task").iterdir())),
                len(children),
            )
        return None


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
