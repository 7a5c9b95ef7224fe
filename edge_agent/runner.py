"""The daemon's end of one worker: a child process, used once.

A Runner is made by starting the child and ends with it. Its state goes STARTING, READY, STOPPING,
EXITED and never back; whoever wants another worker makes another Runner.
"""

from __future__ import annotations

import itertools
import logging
import math
import select
import socket
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_agent.answers import Answers, Message
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
from edge_agent.places import Place, SharedMemory
from edge_agent.sealed import SealedFile
from edge_agent.states import State, transition
from edge_agent.tensors import Array, TensorSpec
from edge_agent.worker.protocol import Channel, LoadedNetwork, Ready, ready_from_json
from edge_agent.worker_process import ExitWatch, WorkerProcess, WorkerSettings

__all__ = ["EXIT_WAIT_S", "Answer", "LoadedNetwork", "Place", "Ready", "Runner"]

logger = logging.getLogger(__name__)

EXIT_WAIT_S = 1.2
"""How long a worker may take to leave once it was told to: 0.7 s for an invoke in flight, then its own
end. The daemon's own end, in two seconds, has room for no more.
"""

END_WAIT_S = 0.05
"""How long the news of a death may wait for the process to be gone and its exit status known. It takes a
millisecond, but for ever where a USB transfer cannot be interrupted, and frames wait for the news.
"""

KILL_WAIT_S = 0.5
"""How long the end of a worker that was killed is waited for, where only its end is."""


@dataclass(frozen=True)
class Answer:
    """The raw output of one request: codes of the output spec, and the time inside invoke()."""

    request: int
    output: Array
    inference_ms: float


class Runner:
    """One worker. Any thread may submit and receive, each its own requests.

    A worker that fails is killed and its error raised at once: it is EXITED then, or STOPPING where the
    kernel is not done with it; :meth:`reap` tells when it is.
    """

    def __init__(self, models: Mapping[str, SealedFile], settings: WorkerSettings, clock: Clock) -> None:
        """Start the child with these networks and return at once. Raises WorkerStartError.

        The thread that calls must live until the worker is READY: one that loads a model dies with it.
        """
        self.settings = settings
        self.state = State.STARTING
        self._names = {network: model.name for network, model in models.items()}
        self._clock = clock
        self._ready: Ready | None = None
        self._numbers = itertools.count(1)
        self._ready_by_s = self._now_s() + settings.start_timeout_s
        self._leave_by_s = math.inf
        self._killed = False
        self._answers = Answers()
        self._spare: defaultdict[str, list[Place]] = defaultdict(list)
        self._ending = threading.Lock()
        try:
            self._memory, self._channel, self._process = _start(models, settings)
        except OSError as error:
            raise WorkerStartError(f"cannot start a worker: {error}", "check inference.python") from error

    @property
    def pid(self) -> int:
        """The child's."""
        return self._process.pid

    @property
    def ready(self) -> Ready:
        """What the worker said; only once its state is or was READY."""
        assert self._ready is not None
        return self._ready

    @property
    def exit_watch(self) -> ExitWatch:
        """Readable once the process has ended: time for :meth:`death`, or :meth:`reap`."""
        return self._process.exit_watch

    def fileno(self) -> int:
        """Readable when the worker has spoken, or has ended."""
        return self._channel.fileno()

    # Its start

    def poll_ready(self) -> bool:
        """Whether the worker is READY; never blocks for longer than its message takes.

        Raises WorkerStuckError past the start deadline, WorkerDiedError, ModelRefusedError,
        WorkerStartError.
        """
        if self.state is State.STARTING:
            left_s = self._ready_by_s - self._now_s()
            if select.select([self._channel], [], [], 0)[0]:
                self._hear_ready(max(left_s, 1.0))
            elif left_s <= 0:
                raise self._killed_for(WorkerStuckError(self.pid, self.settings.start_timeout_s))
        return self.state is State.READY

    def wait_ready(self) -> Ready:
        """Block until the worker is READY. Raises as :meth:`poll_ready`."""
        self._hear_ready(self.settings.start_timeout_s)
        return self.ready

    def _hear_ready(self, timeout_s: float) -> None:
        header, _payload = self._receive(timeout_s)
        kind = header.get("kind")
        if kind == "refused":
            raise self._killed_for(self._refusal(header))
        if kind == "unable":
            raise self._killed_for(WorkerStartError(str(header.get("what")), header.get("remedy")))
        if kind != "ready":
            raise self._killed_for(ProtocolError(f"worker {self.pid} began with {kind!r}"))
        try:
            self._ready = ready_from_json(header)
        except ProtocolError as error:
            raise self._killed_for(error) from None
        with self._ending:
            if self.state is State.STARTING:
                self.state = transition(self.state, State.READY)

    def _refusal(self, header: Mapping[str, Any]) -> ModelRefusedError:
        network = header.get("network")
        name = self._names.get(str(network))
        what = f"{name or ', '.join(self._names.values())}: {header.get('error')}"
        return ModelRefusedError(what, network=network if name else None)

    # Its work

    def place(self, network: str) -> Place:
        """Memory for one input tensor of a READY worker's network, the caller's for the runner's life.

        Raises WorkerDiedError where it is READY no more, WorkerError where there is no memory.
        """
        spec = self.ready.networks[network].input
        if self.state is not State.READY:
            raise self._answers.error or WorkerDiedError(self.pid, self._process.returncode)
        try:
            return self._memory.place(network, spec)
        except OSError as error:
            raise WorkerError(f"no memory for an input of {spec.nbytes} bytes: {error}") from error

    def submit(self, place: Place, timeout_s: float) -> int:
        """Let the worker run on the tensor in ``place``, one of this runner's; the request's number.

        The place must be left alone until the answer was received. A thread should have at most two
        requests unanswered. Raises WorkerDiedError, WorkerStuckError.
        """
        request = next(self._numbers)
        self._answers.expect(request, place.network)
        header = {"kind": "run", "id": request, "network": place.network, "offset": place.offset}
        try:
            self._channel.send(header, timeout_s=timeout_s)
        except (TimeoutError, EOFError) as error:
            raise self._failed(error, timeout_s) from None
        return request

    def receive(self, request: int, timeout_s: float) -> Answer:
        """The answer to ``request``; answers come in the order of the requests.

        Raises InferenceError (the worker lives on), WorkerDiedError, WorkerStuckError or ProtocolError.
        """
        try:
            network, message = self._answers.take(request, timeout_s, self._hear_answer)
        except TimeoutError as error:
            raise self._failed(error, timeout_s) from None
        if message.header["kind"] == "failed":
            raise InferenceError(f"worker {self.pid}: {message.header.get('error')}")
        try:
            return _answer_from(request, message, self.ready.networks[network].output)
        except ProtocolError as error:
            raise self._killed_for(error) from None

    def run(self, network: str, tensor: Array, timeout_s: float) -> Answer:
        """Copy the tensor into a place, submit and receive.

        Raises as the three; InferenceError too for a tensor that is not of the network's input spec.
        """
        spec = self.ready.networks[network].input
        if tensor.shape != spec.shape or tensor.dtype != spec.dtype:
            got = f"{tensor.shape} {tensor.dtype}"
            raise InferenceError(f"a tensor of {got} for an input of {spec.shape} {spec.dtype}")
        try:
            place = self._spare[network].pop()
        except IndexError:
            place = self.place(network)
        np.copyto(place.tensor, tensor)
        try:
            return self.receive(self.submit(place, timeout_s), timeout_s)
        finally:
            self._spare[network].append(place)

    def abandon(self, request: int) -> None:
        """Nobody will receive this one: its answer is thrown away when it comes, whoever reads it.

        Its place may be written again.
        """
        self._answers.abandon(request)

    def _hear_answer(self, timeout_s: float) -> tuple[int, Message]:
        message = self._receive(timeout_s)
        kind = message.header.get("kind")
        request: Any = message.header.get("id")
        if kind not in ("scores", "failed") or not self._answers.awaits(request):
            raise self._killed_for(ProtocolError(f"worker {self.pid} answered {kind!r} {request!r}"))
        return request, message

    def _receive(self, timeout_s: float) -> Message:
        try:
            return Message(*self._channel.receive(timeout_s))
        except (TimeoutError, EOFError) as error:
            raise self._failed(error, timeout_s) from None
        except ProtocolError as error:
            raise self._killed_for(error) from None

    # Its end

    def death(self) -> WorkerError | None:
        """Why a worker that was READY is lost, also where nobody waits for an answer; None while it lives.

        Never blocks, but for the moment in which a dying process becomes a dead one.
        """
        with self._ending:
            lost = self.state is State.READY and (self._process.ended() or self._channel.ended())
        return self._died() if lost else self._answers.error

    def dismiss(self) -> None:
        """Tell the worker to leave, without waiting for it; ``reap`` or ``retire`` must follow.

        Another thread may be waiting for an answer: it gets WorkerDiedError.
        """
        with self._ending:
            if self.state in (State.STARTING, State.READY):
                self._leave_by_s = self._now_s() + EXIT_WAIT_S
                self._stop()

    def reap(self) -> bool:
        """Whether it is EXITED; never blocks. One that was told to leave and did not in time is killed."""
        with self._ending:
            if self.state is State.STOPPING:
                if self._process.ended():
                    self._channel.close()
                    self._memory.close()
                    self.state = transition(self.state, State.EXITED)
                elif not self._killed and self._now_s() >= self._leave_by_s:
                    logger.warning(
                        "worker %d did not leave within %.1f s and is killed", self.pid, EXIT_WAIT_S
                    )
                    self._kill()
            return self.state is State.EXITED

    def retire(self) -> None:
        """End the worker and wait for its exit; for a little more than a second, then it is killed.

        One that cannot even be killed is left to the kernel: it is STOPPING still.
        """
        self.dismiss()
        if not self._killed:
            self._process.wait(max(self._leave_by_s - self._now_s(), 0.0))
            self.reap()
        self._process.wait(KILL_WAIT_S)
        if not self.reap():
            logger.warning("worker %d is killed and does not end: the kernel holds it", self.pid)

    def _failed(self, error: Exception, timeout_s: float) -> WorkerError:
        """The error of a worker that was silent for so long, or has ended the conversation."""
        if isinstance(error, TimeoutError):
            return self._killed_for(WorkerStuckError(self.pid, timeout_s))
        return self._died()

    def _died(self) -> WorkerError:
        """The error of a worker that has ended the conversation, for it is dying."""
        if self._leave_by_s < math.inf:
            # It leaves when it can, and whoever waits for an answer need not wait for that.
            return self._answers.broken_by(WorkerDiedError(self.pid, None, "it was told to leave"))
        self._process.wait(END_WAIT_S)
        error = WorkerDiedError(self.pid, self._process.returncode, self._process.last_words())
        return self._killed_for(error)

    def _killed_for(self, error: WorkerError) -> WorkerError:
        """The first error told, this one or an earlier one; the worker is ended."""
        first = self._answers.broken_by(error)
        with self._ending:
            if self.state in (State.STARTING, State.READY):
                self._stop()
            self._kill()
        self._process.wait(END_WAIT_S)
        self.reap()
        return first

    def _stop(self) -> None:
        self.state = transition(self.state, State.STOPPING)
        self._channel.shut()

    def _kill(self) -> None:
        self._killed = True
        self._process.kill()

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def _start(
    models: Mapping[str, SealedFile], settings: WorkerSettings
) -> tuple[SharedMemory, Channel, WorkerProcess]:
    memory = SharedMemory()
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = WorkerProcess(models, settings, theirs, memory.fileno())
        except OSError:
            ours.close()
            raise
    return memory, Channel(ours), process


def _answer_from(request: int, message: Message, spec: TensorSpec) -> Answer:
    """Raises ProtocolError where the bytes are not the output's."""
    try:
        output = np.frombuffer(message.payload, spec.dtype).reshape(spec.shape)
        return Answer(request, output, float(message.header["invoke_ms"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"{len(message.payload)} bytes for an output of {spec.shape} {spec.dtype}"
        raise ProtocolError(f"a worker sent {what}") from error
