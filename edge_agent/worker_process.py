"""Starting a worker's process, and what it says on stderr."""

from __future__ import annotations

import collections
import io
import logging
import math
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import IO

from edge_agent.errors import one_line
from edge_agent.sealed import SealedFile

logger = logging.getLogger(__name__)

_ARCHIVE_MAIN = "import runpy; runpy.run_module('edge_agent.worker', run_name='__main__')"

LAST_WORDS = 5
"""Lines of a worker's stderr that are kept for the report of its death."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker is started.

    ``python`` is the interpreter (None: this one); ``threads`` 0 means all cores; ``memory_limit``
    is in bytes of address space, 0 for none; with ``describe`` the graphs are read as well. With a
    ``library`` (libedgetpu's name or path) the worker runs on its device, opened with
    ``delegate_options``.
    """

    runtime: str = "auto"
    threads: int = 0
    python: str | None = None
    start_timeout_s: float = 30.0
    memory_limit: int = 0
    describe: bool = False
    library: str | None = None
    delegate_options: tuple[tuple[str, str], ...] = ()


def spawn(
    models: Mapping[str, SealedFile], settings: WorkerSettings, theirs: socket.socket
) -> subprocess.Popen[bytes]:
    """A child with the socket, these networks and nothing else of ours. Raises OSError."""
    descriptors = [theirs.fileno(), *(model.fileno() for model in models.values())]
    if settings.python is None:
        # -P: a file in the working directory must not pass for a module.
        program = [sys.executable, "-P", "-m", "edge_agent.worker"]
    else:
        archive = worker_archive()
        descriptors.append(archive.fileno())
        program = [settings.python, f"/proc/self/fd/{archive.fileno()}"]
    options = [
        f"--socket={theirs.fileno()}",
        *(f"--network={name}=/proc/self/fd/{model.fileno()}" for name, model in models.items()),
        f"--runtime={settings.runtime}",
        f"--threads={settings.threads}",
        f"--memory-limit={settings.memory_limit}",
        f"--start-timeout-s={math.ceil(settings.start_timeout_s)}",
        *(["--describe"] if settings.describe else []),
        *([f"--library={settings.library}"] if settings.library else []),
        *(f"--delegate-option={key}={value}" for key, value in settings.delegate_options),
    ]
    return subprocess.Popen(
        program + options,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        # Ctrl-C in a terminal is for the daemon alone.
        process_group=0,
    )


@cache
def worker_archive() -> SealedFile:
    """The worker's own modules as a zip that another Python runs, so that it meets nothing of this
    Python's site-packages.
    """
    package = resources.files("edge_agent")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("__main__.py", _ARCHIVE_MAIN)
        for name in ("__init__.py", "errors.py", "states.py", "tensors.py"):
            archive.writestr(f"edge_agent/{name}", package.joinpath(name).read_bytes())
        for name in ("__init__.py", "__main__.py", "interpreter.py", "protocol.py"):
            archive.writestr(f"edge_agent/worker/{name}", package.joinpath("worker", name).read_bytes())
    return SealedFile(content.getvalue(), "edge-agent-worker.zip")


class StderrTail:
    """Reads a worker's stderr, so that it never blocks on it, and keeps its last lines."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._stream: IO[bytes] = process.stderr
        self._pid = process.pid
        self._lines: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._thread = threading.Thread(target=self._read, name=f"stderr-{process.pid}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._stream:
            line = one_line(raw[:500].decode(errors="replace"))
            if line:
                self._lines.append(line)
                logger.debug("worker %d: %s", self._pid, line)

    def last_words(self) -> str:
        """The last line that says something, once the worker has ended; runtimes chat in INFO lines."""
        return next((line for line in reversed(self._lines) if not line.startswith("INFO:")), "")

    def close(self) -> None:
        """After the worker's end: read what is left. A grandchild may hold the pipe: do not wait."""
        self._thread.join(0.5)
        if not self._thread.is_alive():
            self._stream.close()
