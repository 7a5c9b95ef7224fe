"""The daemon's end of one worker: a child process, used once.

A Runner is made by starting the child and ends with it. Its state goes STARTING, READY, STOPPING,
EXITED and never back; whoever wants another worker makes another Runner.
"""

from __future__ import annotations

import itertools
import logging
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
)
from edge_agent.sealed import SealedFile
from edge_agent.states import State, transition
from edge_agent.tensors import Array, TensorSpec
from edge_agent.worker.protocol import Channel, GraphDescription, description_from_json, spec_from_json
from edge_agent.worker_process import StderrTail, WorkerSettings, spawn

logger = logging.getLogger(__name__)

EXIT_WAIT_S = 1.2
"""How long a worker may take to leave once its socket is closed: 0.7 s for an invoke in flight, then its
own end. The daemon's own end, in two seconds, has room for no more.
"""


@dataclass(frozen=True)
class LoadedNetwork:
    """What a worker says of one of its networks; ``warm_ms`` is its first inference."""

    input: TensorSpec
    output: TensorSpec
    warm_ms: float
    graph: GraphDescription | None


@dataclass(frozen=True)
class Ready:
    """What a worker said when it was ready: its networks by name. ``load_ms`` is the whole start."""

    runtime: str
    networks: Mapping[str, LoadedNetwork]
    load_ms: float


@dataclass(frozen=True)
class Answer:
    """The raw output of one request: codes of the output spec, and the time inside invoke()."""

    request: int
    output: Array
    inference_ms: float


class Runner:
    """One worker. Any thread may submit and receive, each its own requests."""

    def __init__(self, models: Mapping[str, SealedFile], settings: WorkerSettings, clock: Clock) -> None:
        """Start the child with these networks and return at once. Raises WorkerStartError.

        The thread that calls must live until the worker is READY: one that loads a model dies with it.
        """
        self.settings = settings
        self.state = State.STARTING
        self._names = ", ".join(model.name for model in models.values())
        self._clock = clock
        self._ready: Ready | None = None
        self._requests: dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._begun_ns = clock.monotonic_ns()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = spawn(models, settings, theirs)
            except OSError as error:
                ours.close()
                raise WorkerStartError(f"cannot start a worker: {error}", "check inference.python") from error
        self._channel = Channel(ours)
        self._sending = threading.Lock()
        self._answers = _Answers()
        self._ending = threading.Lock()
        self._stderr = StderrTail(self._process)

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
            raise self._ended(ModelRefusedError(f"{self._names}: {header.get('error')}"))
        if kind == "unable":
            raise self._ended(WorkerStartError(str(header.get("what")), header.get("remedy")))
        if kind != "ready":
            raise self._ended(ProtocolError(f"worker {self.pid} began with {kind!r}"))
        try:
            self._ready = _ready_from(header)
        except ProtocolError as error:
            raise self._ended(error) from None
        self.state = transition(self.state, State.READY)

    def submit(self, network: str, tensor: Array, timeout_s: float) -> int:
        """Send one tensor of the network's input spec; the request's number.

        The tensor's memory is free again on return. A thread should have at most two requests unanswered.
        Raises WorkerDiedError, WorkerStuckError; the worker is EXITED then.
        """
        with self._sending:
            request = next(self._numbers)
            self._requests[request] = network
            header = {"kind": "run", "id": request, "network": network}
            try:
                self._channel.send(header, tensor.data, timeout_s)
            except (TimeoutError, EOFError) as error:
                raise self._answers.broken_by(self._failed(error, timeout_s)) from None
        return request

    def receive(self, request: int, timeout_s: float) -> Answer:
        """The answer to ``request``; answers come in the order of the requests.

        Raises InferenceError (the worker lives on), WorkerDiedError, WorkerStuckError or
        ProtocolError (it is EXITED).
        """
        header, payload = self._answers.take(request, lambda: self._hear_answer(timeout_s))
        network = self._requests.pop(request)
        if header["kind"] == "failed":
            raise InferenceError(f"worker {self.pid}: {header.get('error')}")
        spec = self.ready.networks[network].output
        try:
            return Answer(request, _tensor_from(payload, spec), float(header["invoke_ms"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            what = f"worker {self.pid} sent {len(payload)} bytes for an output of {spec.shape} {spec.dtype}"
            raise self._answers.broken_by(self._ended(ProtocolError(what))) from None

    def _hear_answer(self, timeout_s: float) -> tuple[int, _Message]:
        header, payload = self._receive(timeout_s)
        kind, request = header.get("kind"), header.get("id")
        if kind not in ("scores", "failed") or request not in self._requests:
            raise self._ended(ProtocolError(f"worker {self.pid} answered {kind!r} {request!r}"))
        return int(request), (header, payload)

    def run(self, network: str, tensor: Array, timeout_s: float) -> Answer:
        """Submit and receive. Raises as both."""
        return self.receive(self.submit(network, tensor, timeout_s), timeout_s)

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


def _ready_from(header: dict[str, Any]) -> Ready:
    try:
        return Ready(
            runtime=str(header["runtime"]),
            networks={name: _network_from(said) for name, said in header["networks"].items()},
            load_ms=float(header["load_ms"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ProtocolError(f"malformed ready message: {error!r}") from error


def _network_from(said: dict[str, Any]) -> LoadedNetwork:
    return LoadedNetwork(
        input=spec_from_json(said["input"]),
        output=spec_from_json(said["output"]),
        warm_ms=float(said["warm_ms"]),
        graph=description_from_json(said["graph"]) if "graph" in said else None,
    )


def _tensor_from(payload: bytearray, spec: TensorSpec) -> Array:
    return np.frombuffer(payload, dtype=spec.dtype).reshape(spec.shape)


_Message = tuple[dict[str, Any], bytearray]


class _Answers:
    """Answers as they come in, for the threads that wait for them.

    Whoever waits while nobody reads, reads, and leaves what is not his for the others. The first
    error is everybody's.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrived: dict[int, _Message] = {}
        self._reading = False
        self._error: WorkerError | None = None

    def take(self, request: int, read: Callable[[], tuple[int, _Message]]) -> _Message:
        """The answer to ``request``; ``read`` waits for the next one of any request.

        Raises what ``read`` raised, whoever called it.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: request in self._arrived or self._error or not self._reading)
                if request in self._arrived:
                    return self._arrived.pop(request)
                if self._error is not None:
                    raise self._error
                self._reading = True
            self._read(read)

    def broken_by(self, error: WorkerError) -> WorkerError:
        """Nothing more will arrive; the first error told."""
        with self._changed:
            self._error = self._error or error
            self._reading = False
            self._changed.notify_all()
            return self._error

    def _read(self, read: Callable[[], tuple[int, _Message]]) -> None:
        try:
            request, message = read()
        except WorkerError as error:
            raise self.broken_by(error) from None
        with self._changed:
            self._arrived[request] = message
            self._reading = False
            self._changed.notify_all()
