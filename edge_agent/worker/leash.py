"""What keeps a short-lived child from staying: Python 3.9, no import of ours."""

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
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
