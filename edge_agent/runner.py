"""The daemon's end of one worker: a child process, used once.

A Runner is made by starting the child and ends with it. Its state goes STARTING, READY, STOPPING,
EXITED and never back; whoever wants another worker makes another Runner.
"""

from __future__ import annotations

import collections
import io
import logging
import math
import select
import socket
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import IO, Any

import numpy as np

from edge_agent.clock import Clock
from edge_agent.errors import (
    InferenceError,
    ModelRefusedError,
    ProtocolError,
    WorkerDiedError,
    WorkerError,
    WorkerStartError,
    WorkerStuckError,
    one_line,
)
from edge_agent.sealed import SealedFile
from edge_agent.states import State, transition
from edge_agent.tensors import Array, TensorSpec
from edge_agent.worker.protocol import Channel, GraphDescription, description_from_json, spec_from_json

logger = logging.getLogger(__name__)

EXIT_WAIT_S = 1.2
"""How long a worker may take to leave once its socket is closed: 0.7 s for an invoke in flight, then its
own end. The daemon's own end, in two seconds, has room for no more.
"""

_ARCHIVE_MAIN = "import runpy; runpy.run_module('edge_agent.worker', run_name='__main__')"

LAST_WORDS = 5
"""Lines of a worker's stderr that are kept for the report of its death."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker is started.

    ``python`` is the interpreter (None: this one); ``threads`` 0 means all cores; ``memory_limit``
    is in bytes of address space, 0 for none; with ``describe`` the graph is read as well.
    """

    runtime: str = "auto"
    threads: int = 0
    python: str | None = None
    start_timeout_s: float = 30.0
    memory_limit: int = 0
    describe: bool = False


@dataclass(frozen=True)
class Ready:
    """What a worker said when it was ready. Times in ms; ``warm_ms`` is its first inference."""

    runtime: str
    input: TensorSpec
    output: TensorSpec
    load_ms: float
    warm_ms: float
    graph: GraphDescription | None


@dataclass(frozen=True)
class Answer:
    """The raw output of one request: codes of the output spec, and the time inside invoke()."""

    request: int
    output: Array
    inference_ms: float


class Runner:
    """One worker. One thread at a time may submit and receive."""

    def __init__(self, model: SealedFile, settings: WorkerSettings, clock: Clock) -> None:
        """Start the child and return at once. Raises WorkerStartError.

        The thread that calls must live until the worker is READY: one that loads a model dies with it.
        """
        self.settings = settings
        self.model_name = model.name
        self.state = State.STARTING
        self._clock = clock
        self._ready: Ready | None = None
        self._requests = 0
        self._begun_ns = clock.monotonic_ns()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _spawn(model, settings, theirs)
            except OSError as error:
                ours.close()
                raise WorkerStartError(f"cannot start a worker: {error}", "check inference.python") from error
        self._channel = Channel(ours)
        self._ending = threading.Lock()
        self._stderr = _Drain(self._process)

    @property
    def pid(self) -> int:
        """The child's."""
        return self._process.pid

    @property
    def ready(self) -> Ready:
        """What the worker said; only once its state is or was READY."""
        assert self._ready is not None
        return self._ready

    def fileno(self) -> int:
        """Readable when the worker has spoken, or has ended."""
        return self._channel.fileno()

    def poll_ready(self) -> bool:
        """Whether the worker is READY; never blocks for longer than its message takes.

        Raises WorkerStuckError past the start deadline, WorkerDiedError, ModelRefusedError,
        WorkerStartError; the worker is EXITED then.
        """
        if self.state is State.STARTING:
            left_s = self.settings.start_timeout_s - (self._clock.monotonic_ns() - self._begun_ns) / 1e9
            if select.select([self._channel], [], [], 0)[0]:
                self._hear_ready(max(left_s, 1.0))
            elif left_s <= 0:
                raise self._ended(WorkerStuckError(self.pid, self.settings.start_timeout_s))
        return self.state is State.READY

    def wait_ready(self) -> Ready:
        """Block until the worker is READY. Raises as :meth:`poll_ready`."""
        self._hear_ready(self.settings.start_timeout_s)
        return self.ready

    def _hear_ready(self, timeout_s: float) -> None:
        header, _payload = self._receive(timeout_s)
        kind = header.get("kind")
        if kind == "refused":
            raise self._ended(ModelRefusedError(f"{self.model_name}: {header.get('error')}"))
        if kind == "unable":
            raise self._ended(WorkerStartError(str(header.get("what")), header.get("remedy")))
        if kind != "ready":
            raise self._ended(ProtocolError(f"worker {self.pid} began with {kind!r}"))
        try:
            self._ready = _ready_from(header)
        except ProtocolError as error:
            raise self._ended(error) from None
        self.state = transition(self.state, State.READY)

    def submit(self, tensor: Array, timeout_s: float) -> int:
        """Send one input tensor of the input spec; the request's number.

        The tensor's memory is free again on return. At most two requests should be unanswered.
        Raises WorkerDiedError, WorkerStuckError; the worker is EXITED then.
        """
        self._requests += 1
        header = {"kind": "run", "id": self._requests}
        try:
            self._channel.send(header, tensor.data, timeout_s)
        except (TimeoutError, EOFError) as error:
            raise self._failed(error, timeout_s) from None
        return self._requests

    def receive(self, request: int, timeout_s: float) -> Answer:
        """The answer to ``request``, the oldest unanswered one.

        Raises InferenceError (the worker lives on), WorkerDiedError, WorkerStuckError or
        ProtocolError (it is EXITED).
        """
        header, payload = self._receive(timeout_s)
        kind = header.get("kind")
        if header.get("id") != request or kind not in ("scores", "failed"):
            raise self._ended(ProtocolError(f"worker {self.pid} answered {kind!r} {header.get('id')!r}"))
        if kind == "failed":
            raise InferenceError(f"worker {self.pid}: {header.get('error')}")
        spec = self.ready.output
        try:
            output = _tensor_from(payload, spec)
            return Answer(request, output, float(header["invoke_ms"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            what = f"worker {self.pid} sent {len(payload)} bytes for an output of {spec.shape} {spec.dtype}"
            raise self._ended(ProtocolError(what)) from None

    def run(self, tensor: Array, timeout_s: float) -> Answer:
        """Submit and receive; only while nothing is unanswered. Raises as both."""
        return self.receive(self.submit(tensor, timeout_s), timeout_s)

    def retire(self) -> None:
        """End the worker and wait for its exit; for a little more than a second, then it is killed.

        Another thread may be waiting for an answer: it gets WorkerDiedError.
        """
        self.dismiss()
        with self._ending:
            self._reap(EXIT_WAIT_S)

    def dismiss(self) -> None:
        """Tell the worker to leave, without waiting for it; ``retire`` must follow."""
        with self._ending:
            if self.state in (State.STARTING, State.READY):
                self.state = transition(self.state, State.STOPPING)
                self._channel.shut()

    def _receive(self, timeout_s: float) -> tuple[dict[str, Any], bytearray]:
        try:
            return self._channel.receive(timeout_s)
        except (TimeoutError, EOFError) as error:
            raise self._failed(error, timeout_s) from None
        except ProtocolError as error:
            raise self._ended(error) from None

    def _failed(self, error: Exception, timeout_s: float) -> WorkerError:
        """The typed error for a silent or ended worker; it is EXITED afterwards."""
        if isinstance(error, TimeoutError):
            return self._ended(WorkerStuckError(self.pid, timeout_s))
        with self._ending:
            self._channel.shut()
            # EOF comes before the exit status: a dying process closes its files first.
            self._reap(EXIT_WAIT_S)
        return WorkerDiedError(self.pid, self._process.returncode, self._stderr.last_words())

    def _ended(self, error: WorkerError) -> WorkerError:
        """Kill the worker; ``error`` is handed back to be raised."""
        with self._ending:
            self._process.kill()
            self._reap(EXIT_WAIT_S)
        return error

    def _reap(self, timeout_s: float) -> None:
        """Wait for the exit; whoever comes second finds it done."""
        if self.state is State.EXITED:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            logger.warning("worker %d did not leave within %.1f s and is killed", self.pid, timeout_s)
            self._process.kill()
            self._process.wait()
        self._channel.close()
        self._stderr.close()
        self.state = transition(self.state, State.EXITED)


def _spawn(model: SealedFile, settings: WorkerSettings, theirs: socket.socket) -> subprocess.Popen[bytes]:
    descriptors = [theirs.fileno(), model.fileno()]
    if settings.python is None:
        # -P: a file in the working directory must not pass for a module.
        program = [sys.executable, "-P", "-m", "edge_agent.worker"]
    else:
        archive = _worker_archive()
        descriptors.append(archive.fileno())
        program = [settings.python, f"/proc/self/fd/{archive.fileno()}"]
    options = [
        f"--socket={theirs.fileno()}",
        f"--model=/proc/self/fd/{model.fileno()}",
        f"--runtime={settings.runtime}",
        f"--threads={settings.threads}",
        f"--memory-limit={settings.memory_limit}",
        f"--start-timeout-s={math.ceil(settings.start_timeout_s)}",
        *(["--describe"] if settings.describe else []),
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
def _worker_archive() -> SealedFile:
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


def _ready_from(header: dict[str, Any]) -> Ready:
    try:
        return Ready(
            runtime=str(header["runtime"]),
            input=spec_from_json(header["input"]),
            output=spec_from_json(header["output"]),
            load_ms=float(header["load_ms"]),
            warm_ms=float(header["warm_ms"]),
            graph=description_from_json(header["graph"]) if "graph" in header else None,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"malformed ready message: {error!r}") from error


def _tensor_from(payload: bytearray, spec: TensorSpec) -> Array:
    return np.frombuffer(payload, dtype=spec.dtype).reshape(spec.shape)


class _Drain:
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
