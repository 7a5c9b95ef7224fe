"""Programs that are asked one thing and may never answer: no wait for them is without a bound."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

KILL_WAIT_S = 1.0
"""A killed process is gone at once, unless it sleeps in the kernel, waiting for a device."""


def ask(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program; its exit code, stdout and stderr.

    One that is late is killed with what it started, and left behind where the kernel does not let go of it.
    Ctrl-C in a terminal does not reach it. Raises OSError: it cannot be started. subprocess.TimeoutExpired:
    it was late.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    try:
        said, complained = child.communicate(timeout=timeout_s)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(KILL_WAIT_S)
        raise
    return subprocess.CompletedProcess(command, child.returncode, said, complained)
