"""Programs that are asked one thing and may never answer: no wait for them is without a bound."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence

KILL_WAIT_S = 1.0
"""A killed process is gone at once, unless it sleeps in the kernel, waiting for a device."""

MOST = 1 << 20
"""Bytes that are kept of each stream: one that floods us until it is late must not take all memory."""

_PIPE = 1 << 16
"""Bytes that a pipe holds (pipe(7))."""


def ask(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program; its exit code, and what comes first on stdout and stderr: ``MOST`` bytes at most.

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
        said, complained = _hear(child, timeout_s)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(KILL_WAIT_S)
        raise
    finally:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    return subprocess.CompletedProcess(command, child.returncode, said, complained)


def _hear(child: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bytes]:
    """Its stdout and stderr, once it has ended. Raises subprocess.TimeoutExpired."""
    end_s = time.monotonic() + timeout_s
    heard = (bytearray(), bytearray())
    with selectors.DefaultSelector() as open_ones:
        for pipe, kept in zip((child.stdout, child.stderr), heard, strict=True):
            assert pipe is not None
            open_ones.register(pipe, selectors.EVENT_READ, kept)
        while open_ones.get_map():
            if time.monotonic() >= end_s:
                raise subprocess.TimeoutExpired(child.args, timeout_s)
            for key, _ in open_ones.select(end_s - time.monotonic()):
                piece = os.read(key.fd, _PIPE)
                key.data.extend(piece[: MOST - len(key.data)])
                if not piece:
                    open_ones.unregister(key.fileobj)
    child.wait(max(end_s - time.monotonic(), 0.0))
    return bytes(heard[0]), bytes(heard[1])
