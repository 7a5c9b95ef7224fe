"""runner.py: how workers end, and that nothing of them is left; with real children."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import WorkerDiedError, WorkerStuckError
from edge_agent.life import EXIT_WAIT_S
from edge_agent.runner import Runner
from edge_agent.sealed import SealedFile
from edge_agent.states import State
from edge_agent.worker_process import WorkerSettings
from tests.faults.slim import slim_python
from tests.faults.worker import faulty_python
from tests.places import CORAL, need_data
from tests.processes import exists
from tests.test_runner import StartWorker, start, zeros

__all__ = ["start"]

pytestmark = need_data

PATIENCE_S = 30.0


def wait_for_end(runner: Runner) -> None:
    """Until the process has ended."""
    assert select.select([runner.exit_watch], [], [], PATIENCE_S)[0]


def test_the_death_of_an_idle_worker_is_seen(start: StartWorker) -> None:
    """Nobody waits for an answer, and still it is known at once, by its descriptor, and why."""
    runner = start()
    runner.wait_ready()
    assert runner.death() is None
    assert not runner.reap()
    assert ([], [], []) == select.select([runner.exit_watch], [], [], 0)
    os.kill(runner.pid, signal.SIGKILL)
    wait_for_end(runner)
    death = runner.death()
    assert isinstance(death, WorkerDiedError)
    assert (-signal.SIGKILL, str(death)) == (death.returncode, str(runner.death()))
    assert runner.reap()
    assert State.EXITED is runner.state
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        runner.run("vww", zeros(runner), 5.0)


def test_a_worker_that_ends_the_conversation_is_dead(start: StartWorker, tmp_path: Path) -> None:
    """Alive or not: it will not answer, so that it is killed; how it would have ended nobody knows."""
    runner = start(python=faulty_python(tmp_path, "shut", (1,)))
    runner.wait_ready()
    runner.submit(runner.place("vww"), 5.0)
    assert select.select([runner], [], [], PATIENCE_S)[0]
    death = runner.death()
    assert isinstance(death, WorkerDiedError)
    assert death.returncode is None
    wait_for_end(runner)
    assert runner.reap()


def test_a_dismissed_worker_is_reaped_when_it_has_left(start: StartWorker) -> None:
    """Whoever waits for its answer is told at once and need not wait for its end."""
    runner = start()
    runner.wait_ready()
    place = runner.place("vww")
    runner.dismiss()
    with pytest.raises(WorkerDiedError, match="told to leave"):
        runner.receive(runner.submit(place, 5.0), 5.0)
    wait_for_end(runner)
    assert runner.reap()
    assert State.EXITED is runner.state


class _MovableClock(SystemClock):
    """The machine's, but for what was added."""

    ahead_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns


def test_a_dismissed_worker_that_stays_is_killed(tmp_path: Path) -> None:
    """One whose runtime has seized it is given its time to leave, and not a moment more."""
    clock = _MovableClock()
    model = SealedFile((CORAL / "vww_96_int8.tflite").read_bytes(), "vww.tflite")
    python = faulty_python(tmp_path, "seize", (1,))
    runner = Runner({"vww": model}, WorkerSettings(threads=1, python=python), clock)
    runner.wait_ready()
    runner.submit(runner.place("vww"), 5.0)
    runner.dismiss()
    assert not runner.reap()
    clock.ahead_ns = round(EXIT_WAIT_S * 1e9)
    assert not runner.reap()
    wait_for_end(runner)
    assert runner.reap()
    assert not exists(runner.pid)
    model.close()


class _Held:
    """A process that cannot be reaped for a while, as in an uninterruptible wait for a USB transfer.

    One of its threads is traced by this one: until the tracer has seen that thread's end, the kernel holds
    back the end of the process.
    """

    _SEIZE, _WALL = 0x4206, 0x40000000

    def __init__(self, pid: int) -> None:
        self._thread = max(int(each.name) for each in Path(f"/proc/{pid}/task").iterdir())
        assert self._thread != pid
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(self._SEIZE, self._thread, None, None) != 0:
            pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")

    def release(self) -> None:
        os.waitpid(self._thread, self._WALL)


def test_the_error_of_a_worker_that_cannot_be_killed_is_raised(
    start: StartWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The frame goes on to another worker while the kernel still holds this one; retiring it is bounded."""
    runner = start(python=faulty_python(tmp_path, "hang", (1,)))
    runner.wait_ready()
    held = _Held(runner.pid)
    with pytest.raises(WorkerStuckError):
        runner.run("vww", zeros(runner), 0.1)
    assert (State.STOPPING, False) == (runner.state, runner.reap())
    with caplog.at_level(logging.WARNING):
        runner.retire()
    assert "the kernel holds it" in caplog.text
    assert not runner.reap()
    held.release()
    wait_for_end(runner)
    assert runner.reap()
    assert State.EXITED is runner.state


def test_a_worker_writes_no_core(start: StartWorker) -> None:
    """Neither to a file nor through a program that collects cores, as far as the hard limit allows."""
    runner = start()
    runner.wait_ready()
    limits = Path(f"/proc/{runner.pid}/limits").read_text().splitlines()
    soft, hard = next(line for line in limits if line.startswith("Max core file size")).split()[4:6]
    assert soft == hard
    assert soft in ("0", "1")


@pytest.fixture
def unopened() -> Iterator[SealedFile]:
    """A model that nobody opens."""
    model = SealedFile(b"", "vww.tflite")
    yield model
    model.close()


def _belongings() -> tuple[int, int, int]:
    """Descriptors, mappings of shared memory, threads."""
    descriptors = list(Path("/proc/self/fd").iterdir())
    mappings = Path("/proc/self/maps").read_text().count("edge-agent-places")
    return len(descriptors), mappings, threading.active_count()


def test_a_thousand_workers_leave_nothing(unopened: SealedFile, tmp_path: Path) -> None:
    """However they end: no descriptor, no mapping, no thread and no process is left of them."""
    settings = WorkerSettings(python=slim_python(tmp_path))

    def live(ending: str) -> int:
        runner = Runner({"vww": unopened}, settings, SystemClock())
        runner.wait_ready()
        tensor = np.ones((1, 96, 96, 3), np.int8)
        assert (1, 2) == runner.run("vww", tensor, PATIENCE_S).output.shape
        runner.abandon(runner.submit(runner.place("vww"), PATIENCE_S))
        if ending == "killed":
            os.kill(runner.pid, signal.SIGKILL)
            wait_for_end(runner)
            assert runner.death() is not None
            with pytest.raises(WorkerDiedError):
                runner.run("vww", tensor, PATIENCE_S)
        elif ending == "dismissed":
            runner.dismiss()
            wait_for_end(runner)
            assert runner.reap()
        runner.retire()
        assert State.EXITED is runner.state
        return runner.pid

    live("retired")
    gc.collect()  # what earlier tests have left; nothing is collected by force from here on
    before = _belongings()
    pids = [live(("retired", "killed", "dismissed")[number % 3]) for number in range(1000)]
    assert before == _belongings()
    assert [] == [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and _is_ours(pid)]


def _is_ours(pid: int) -> bool:
    return f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
