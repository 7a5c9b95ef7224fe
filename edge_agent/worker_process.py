"""A worker's process: its start, what it says on stderr, its end."""

from __future__ import annotations

import collections
import io
import logging
import math
import os
import select
import socket
import subprocess
import sys
import threading
import weakref
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from edge_agent.errors import one_line
from edge_agent.sealed import SealedFile

logger = logging.getLogger(__name__)

_ARCHIVE_MAIN = "import runpy; runpy.run_module('edge_agent.worker', run_name='__main__')"

LAST_WORDS = 5
"""Lines of a worker's stderr that are kept for the report of its death."""

LINE = 500
"""Bytes of such a line that are kept."""

_PIPE = 1 << 16
"""Bytes that a pipe holds (pipe(7))."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker is started.

    ``python`` is the interpreter (None: this one); ``threads`` 0 means all cores; ``memory_limit``
    is in bytes of address space, 0 for none; with ``describe`` the graphs are read as well. With a
    ``library`` (libedgetpu's name or path) the worker runs on its device, opened with
    ``delegate_options``. It keeps the descriptors that it ``inherits`` open for as long as it lives.
    """

    runtime: str = "auto"
    threads: int = 0
    python: str | None = None
    start_timeout_s: float = 30.0
    memory_limit: int = 0
    describe: bool = False
    library: str | None = None
    delegate_options: tuple[tuple[str, str], ...] = ()
    inherits: tuple[int, ...] = ()


class WorkerProcess:
    """A child that runs a worker. ``exit_watch`` is readable once it has ended."""

    def __init__(
        self, models: Mapping[str, SealedFile], settings: WorkerSettings, theirs: socket.socket, memory: int
    ) -> None:
        """Start it with its end of the socket, the memory to share and these networks. Raises OSError."""
        # Popen tells a thread that asks while another one does that the child runs still.
        self._asking = threading.Lock()
        self._popen = _spawn(models, settings, theirs, memory)
        try:
            self.exit_watch = ExitWatch(self._popen.pid)
        except OSError:
            self._popen.kill()
            self._popen.communicate()
            raise
        self._stderr = _StderrTail(self._popen, self.exit_watch)

    @property
    def pid(self) -> int:
        """The child's."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """As in :class:`subprocess.Popen`; None while it has not ended."""
        with self._asking:
            return self._popen.poll()

    def ended(self) -> bool:
        """Whether it has."""
        return self.returncode is not None

    def kill(self) -> None:
        """SIGKILL, where it has not ended; a process in an uninterruptible wait ends when that does."""
        with self._asking:
            self._popen.kill()

    def wait(self, timeout_s: float) -> bool:
        """Whether it ends within that time."""
        self._stderr.join(timeout_s)
        return self.ended()

    def last_words(self) -> str:
        """The last line of stderr that says something; runtimes chat in INFO lines."""
        if self.ended():
            self._stderr.join()
        return self._stderr.last_words()


class ExitWatch:
    """Readable once the process has ended; valid for as long as somebody holds it."""

    def __init__(self, pid: int) -> None:
        """For a child that was not waited for. Raises OSError."""
        self._descriptor = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._descriptor)

    def fileno(self) -> int:
        """For select()."""
        return self._descriptor


def _spawn(
    models: Mapping[str, SealedFile], settings: WorkerSettings, theirs: socket.socket, memory: int
) -> subprocess.Popen[bytes]:
    """A child with the socket, the memory, these networks, what it inherits and nothing else of ours.

    Raises OSError.
    """
    descriptors = [
        theirs.fileno(),
        memory,
        *settings.inherits,
        *(model.fileno() for model in models.values()),
    ]
    if settings.python is None:
        # -P: a file in the working directory must not pass for a module.
        program = [sys.executable, "-P", "-m", "edge_agent.worker"]
    else:
        archive = worker_archive()
        descriptors.append(archive.fileno())
        program = [settings.python, f"/proc/self/fd/{archive.fileno()}"]
    options = [
        f"--socket={theirs.fileno()}",
        f"--memory={memory}",
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
        bufsize=0,
        pass_fds=descriptors,
        # A worker runs models of strangers: the broker's password in the environment is not for it.
        env={key: value for key, value in os.environ.items() if not key.startswith("EDGE_AGENT_MQTT__")},
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
        for name in ("__init__.py", "__main__.py", "interpreter.py", "leash.py", "places.py", "protocol.py"):
            archive.writestr(f"edge_agent/worker/{name}", package.joinpath("worker", name).read_bytes())
    return SealedFile(content.getvalue(), "edge-agent-worker.zip")


class _StderrTail(threading.Thread):
    """Reads a worker's stderr, so that it never blocks on it, and keeps its last lines.

    Ends with the process, though a grandchild may hold the pipe for longer.
    """

    def __init__(self, process: subprocess.Popen[bytes], exit_watch: ExitWatch) -> None:
        super().__init__(name=f"stderr-{process.pid}", daemon=True)
        assert process.stderr is not None
        self._stream = process.stderr
        self._exit_watch = exit_watch
        self._pid = process.pid
        self._begun = b""
        self._lines: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        os.set_blocking(self._stream.fileno(), False)
        self.start()

    def run(self) -> None:
        """Until the process has ended."""
        poller = select.poll()
        poller.register(self._stream, select.POLLIN)
        poller.register(self._exit_watch, select.POLLIN)
        with self._stream:
            while self._exit_watch.fileno() not in (ready := dict(poller.poll())):
                if ready and not self._read():
                    poller.unregister(self._stream)
            self._read()
        self._hear([self._begun])

    def _read(self) -> bool:
        """Hear what there is, at most what a pipe holds; False at its end."""
        piece: bytes | None = self._stream.read(_PIPE)
        if piece:
            *lines, self._begun = (self._begun + piece).split(b"\n")
            self._begun = self._begun[:LINE]
            self._hear(lines)
        return piece != b""

    def _hear(self, raw_lines: list[bytes]) -> None:
        for raw in raw_lines:
            line = one_line(raw[:LINE].decode(errors="replace"))
            if line:
                self._lines.append(line)
                logger.debug("worker %d: %s", self._pid, line)

    def last_words(self) -> str:
        return next((line for line in reversed(list(self._lines)) if not line.startswith("INFO:")), "")
