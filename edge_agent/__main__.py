"""``edge-agent`` and ``python -m edge_agent``: hears SIGTERM first of all, then is the program."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

STOPPED = 128 + signal.SIGTERM
"""As a shell says of a process that SIGTERM ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """See :func:`edge_agent.program.run_program`."""
    if arguments is None:
        hear_sigterm(os.getpid())
    from edge_agent.program import run_program

    return run_program(arguments)


def hear_sigterm(pid: int) -> None:
    """SIGTERM ends process 1 as it does any other: the kernel leaves that to a handler. One that came while
    this program took another's place (``start_again``) waits until here.
    """
    if pid == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(STOPPED))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


if __name__ == "__main__":
    sys.exit(main())
