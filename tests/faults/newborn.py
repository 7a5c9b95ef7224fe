"""Ways into the workers of a running agent: hear of each one's birth, and put a fault into it.

Python imports ``sitecustomize`` before anything else; a folder with such a module in PYTHONPATH reaches every
worker that an agent starts, though the agent itself is the program as it is installed.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.processes import Watched

_ROOT = str(Path(__file__).resolve().parent.parent.parent)

_SITE = """
import sys
if "edge_agent.worker" in sys.orig_argv:
    sys.path.append({root!r})
    from tests.faults.newborn import born
    born(*{orders!r})
"""


class Nursery:
    """Where the workers of one agent are born.

    ``fault`` is one of :func:`tests.faults.worker.faulty_python`'s, done at these invokes (``turns``) of the
    workers that serve, counted from 0 over all of them, each one's warm-up included; with ``vetting`` of
    those that vet.
    """

    def __init__(
        self, folder: Path, fault: str | None = None, turns: Iterable[int] = (), *, vetting: bool = False
    ) -> None:
        folder.mkdir()
        orders = (str(folder / "births"), fault, list(turns), str(folder / "turns"), vetting)
        (folder / "sitecustomize.py").write_text(_SITE.format(root=_ROOT, orders=orders))
        self._folder = folder
        os.mkfifo(folder / "births")
        (folder / "births").chmod(0o666)  # the agent may be another user's
        # Open for both, so that it never blocks and never ends.
        self._births = os.open(folder / "births", os.O_RDWR | os.O_NONBLOCK)
        self._pending = b""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the agent's environment must hold."""
        return {"PYTHONPATH": str(self._folder)}

    def next_worker(self, timeout_s: float) -> Watched:
        """Wait for the birth of a worker; the one that only vets a model counts too."""
        while not (workers := self._hear(timeout_s)):
            continue
        return workers[0]

    def inhabitants(self) -> list[Watched]:
        """Every process that this environment was given to: the agent, its workers, and what they start."""
        processes = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"PYTHONPATH={self._folder}\0".encode() in environment.read_bytes():
                    processes.append(Watched(int(environment.parent.name)))
        return processes

    def _hear(self, timeout_s: float) -> list[Watched]:
        while b"\n" not in self._pending:
            assert select.select([self._births], [], [], timeout_s)[0], "no worker was born in time"
            self._pending += os.read(self._births, 4096)
        line, _, self._pending = self._pending.partition(b"\n")
        with contextlib.suppress(ProcessLookupError):
            return [Watched(int(line))]
        return []

    def close(self) -> None:
        """Hear of no more births."""
        os.close(self._births)


def born(births: str, fault: str | None, turns: list[int], counter: str, vetting: bool) -> None:
    """In the newborn worker: put in the fault that was ordered, and say that it is there."""
    if fault is not None and vetting == ("--describe" in sys.orig_argv):
        from tests.faults.worker import put_fault

        put_fault(fault, turns, counter)
    with Path(births).open("ab", buffering=0) as told:
        told.write(b"%d\n" % os.getpid())
    sys.path.remove(_ROOT)
