"""What keeps a child from staying while a library lets no Python code run: Python 3.9, no import of ours."""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1
"""prctl(2)'s number of it, in the kernel's headers."""


def put_on(seconds: int) -> None:
    """End this process after that long, and with the thread that started it, whatever it is doing then.

    The kernel does both: a library that hangs lets no Python code run.
    """
    signal.alarm(seconds)
    _die_with_parent(signal.SIGKILL)


def take_off() -> None:
    """From now on it ends by itself."""
    signal.alarm(0)
    _die_with_parent(0)


def _die_with_parent(number: int) -> None:
    """Have the kernel send us this signal when the thread that started us ends; 0: no more."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
