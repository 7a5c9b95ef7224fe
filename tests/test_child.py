"""edge_agent.child: programs that are asked one thing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from edge_agent.child import MOST, ask


def test_what_it_said_and_how_it_ended() -> None:
    """Exit code, stdout and stderr; it reads nothing."""
    child = ask(["sh", "-c", "cat; echo said; echo complained >&2; exit 3"], 30.0)
    assert (3, b"said\n", b"complained\n") == (child.returncode, child.stdout, child.stderr)


def test_one_that_is_late_is_killed(tmp_path: Path) -> None:
    """It and what it started, though that holds its stdout."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    both = os.open(fifo, os.O_RDWR)
    writing = os.open(fifo, os.O_WRONLY)
    with pytest.raises(subprocess.TimeoutExpired):
        ask(["sh", "-c", f"echo $$ > {tmp_path}/pid; cat {fifo}; true"], 0.5)
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    os.close(both)
    poller = select.poll()
    poller.register(writing, 0)
    assert [(writing, select.POLLERR)] == poller.poll(10_000)  # nobody reads any more
    os.close(writing)


def test_one_that_floods_us_takes_no_memory() -> None:
    """Only the beginning of each stream is kept, and it is never kept waiting for the rest to be read."""
    flood = f"head -c {10 * MOST} /dev/zero"
    child = ask(["sh", "-c", f"{flood}; {flood} >&2; exit 3"], 30.0)
    assert (3, MOST, MOST) == (child.returncode, len(child.stdout), len(child.stderr))


def test_one_that_hears_nobody_out_is_late_as_well() -> None:
    """It has closed its streams and stays."""
    with pytest.raises(subprocess.TimeoutExpired):
        ask(["sh", "-c", "exec >&- 2>&-; sleep 60"], 0.2)


def test_ctrl_c_does_not_reach_it() -> None:
    """A port must not stay without power because somebody left the terminal."""
    child = ask(["sh", "-c", "ps -o pgid= -p $$"], 30.0)
    assert os.getpgid(0) != int(child.stdout)


def test_one_that_is_killed_tells_the_signal() -> None:
    """As a negative number, as everywhere."""
    assert -signal.SIGABRT == ask(["sh", "-c", "kill -ABRT $$"], 30.0).returncode
