"""The daemon's end of one worker: a child process, used once.

A Runner is made by starting the child and ends with it. Its state goes STARTING, READY, STOPPING,
EXITED and never back; whoever wants another worker makes another Runner.
"""

from __future__ import annotations

import itertools
import select
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from edge_agent.answers import Answers
from edge_agent.clock import Clock
from edge_agent.errors import (
    InferenceError,
    ModelRefusedError,
    ProtocolError,
    RuntimeMissingError,
    WorkerDiedError,
    WorkerError,
    WorkerStartError,
    WorkerStuckError,
)
from edge_agent.life import END_WAIT_S, Life
from edge_agent.places import Place
from edge_agent.sealed import SealedFile
from edge_agent.states import State
from edge_agent.tensors import Array
from edge_agent.worker.protocol import (
    FAILED,
    RUN,
    SCORES,
    TOLD,
    LoadedNetwork,
    Message,
    Ready,
    object_from_json,
    ready_from_json,
)
from edge_agent.worker_process import ExitWatch, WorkerSettings

__all__ = ["Answer", "LoadedNetwork", "Place", "Ready", "Runner"]


class Answer(NamedTuple):
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
        self._names = {network: model.name for network, model in models.items()}
        self._clock = clock
        self._begun_ns = clock.monotonic_ns()
        self._ready: Ready | None = None
        self._numbers = itertools.count(1)
        self._answers = Answers()
        self._spare: defaultdict[str, list[Place]] = defaultdict(list)
        try:
            self._life = Life(models, settings, clock)
        except OSError as error:
            raise WorkerStartError(f"cannot start a worker: {error}", "check inference.python") from error

    @property
    def state(self) -> State:
        """Where the worker stands."""
        return self._life.state

    @property
    def pid(self) -> int:
        """The child's."""
        return self._life.process.pid

    @property
    def ready(self) -> Ready:
        """What the worker said; only once its state is or was READY."""
        assert self._ready is not None
        return self._ready

    @property
    def exit_watch(self) -> ExitWatch:
        """Readable once the process has ended: time for :meth:`death`, or :meth:`reap`."""
        return self._life.process.exit_watch

    def fileno(self) -> int:
        """Readable when the worker has spoken, or has ended."""
        return self._life.channel.fileno()

    # Its start

    def poll_ready(self) -> bool:
        """Whether the worker is READY; never blocks for longer than its message takes.

        Raises WorkerStuckError past the start deadline, WorkerDiedError, ModelRefusedError,
        WorkerStartError.
        """
        if self.state is State.STARTING:
            left_s = self.settings.start_timeout_s - (self._clock.monotonic_ns() - self._begun_ns) / 1e9
            if select.select([self], [], [], 0)[0]:
                self._hear_ready(max(left_s, 1.0))
            elif left_s <= 0:
                raise self._killed_for(WorkerStuckError(self.pid, self.settings.start_timeout_s))
        return self.state is State.READY

    def wait_ready(self) -> Ready:
        """Block until the worker is READY. Raises as :meth:`poll_ready`."""
        self._hear_ready(self.settings.start_timeout_s)
        return self.ready

    def _hear_ready(self, timeout_s: float) -> None:
        message = self._hear(timeout_s)
        try:
            if message.kind != TOLD:
                raise ProtocolError(f"worker {self.pid} began with {message.kind}")
            told = object_from_json(message.payload)
            if told.get("kind") != "ready":
                raise self._refusal(told)
            self._ready = ready_from_json(told)
        except WorkerError as error:
            raise self._killed_for(error) from None
        self._life.become_ready()

    def _refusal(self, told: Mapping[str, Any]) -> WorkerError:
        """What a worker that will not be READY says, as the error it is."""
        what, remedy = str(told.get("what")), told.get("remedy")
        match told.get("kind"):
            case "refused":
                network = told.get("network")
                name = self._names.get(str(network))
                whose = name or ", ".join(self._names.values())
                return ModelRefusedError(f"{whose}: {what}", network=network if name else None)
            case "unable":
                return WorkerStartError(what, remedy)
            case "no runtime":
                return RuntimeMissingError(what, remedy)
            case kind:
                return ProtocolError(f"worker {self.pid} began with {kind!r}")

    # Its work

    def place(self, network: str) -> Place:
        """Memory for one input tensor of a READY worker's network, the caller's for the runner's life.

        Raises WorkerDiedError where it is READY no more, WorkerError where there is no memory.
        """
        spec = self.ready.networks[network].input
        if self.state is not State.READY:
            raise self._answers.error or WorkerDiedError(self.pid, self._life.process.returncode)
        try:
            return self._life.memory.place(network, spec)
        except OSError as error:
            raise WorkerError(f"no memory for an input of {spec.nbytes} bytes: {error}") from error

    def submit(self, place: Place, timeout_s: float) -> int:
        """Let the worker run on the tensor in ``place``, one of this runner's; the request's number.

        The place must be left alone until the answer was received. A thread should have at most two
        requests unanswered. Raises WorkerDiedError, WorkerStuckError.
        """
        request = next(self._numbers)
        self._answers.expect(request, place.network)
        try:
            self._life.channel.send(RUN, request, place.offset, place.network.encode(), timeout_s)
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
        if message.kind == FAILED:
            raise InferenceError(f"worker {self.pid}: {message.payload.decode(errors='replace')}")
        spec = self.ready.networks[network].output
        try:
            output = np.frombuffer(message.payload, spec.dtype).reshape(spec.shape)
        except ValueError:
            sent = f"{len(message.payload)} bytes for an output of {spec.shape} {spec.dtype}"
            raise self._killed_for(ProtocolError(f"worker {self.pid} sent {sent}")) from None
        return Answer(request, output, message.number / 1e6)

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

    def _hear_answer(self, timeout_s: float) -> Message:
        message = self._hear(timeout_s)
        if message.kind not in (SCORES, FAILED) or not self._answers.awaits(message.request):
            what = f"worker {self.pid} answered {message.kind}, {message.request}"
            raise self._killed_for(ProtocolError(what))
        return message

    def _hear(self, timeout_s: float) -> Message:
        try:
            return self._life.channel.receive(timeout_s)
        except (TimeoutError, EOFError) as error:
            raise self._failed(error, timeout_s) from None
        except ProtocolError as error:
            raise self._killed_for(error) from None

    # Its end

    def death(self) -> WorkerError | None:
        """Why a worker that was READY is lost, also where nobody waits for an answer; None while it lives.

        Never blocks, but for the moment in which a dying process becomes a dead one.
        """
        return self._died() if self._life.is_over() else self._answers.error

    def dismiss(self) -> None:
        """Tell the worker to leave, without waiting for it; ``reap`` or ``retire`` must follow.

        Another thread may be waiting for an answer: it gets WorkerDiedError.
        """
        self._life.dismiss()

    def reap(self) -> bool:
        """Whether it is EXITED; never blocks. One that was told to leave and did not in time is killed."""
        return self._life.reap()

    def retire(self) -> None:
        """End the worker and wait for its exit; for a little more than a second, then it is killed.

        One that cannot even be killed is left to the kernel: it is STOPPING still.
        """
        self._life.retire()

    def _failed(self, error: Exception, timeout_s: float) -> WorkerError:
        """The error of a worker that was silent for so long, or has ended the conversation."""
        if isinstance(error, TimeoutError):
            return self._killed_for(WorkerStuckError(self.pid, timeout_s))
        return self._died()

    def _died(self) -> WorkerError:
        """The error of a worker that has ended the conversation, for it is dying."""
        if self._life.was_dismissed:
            # It leaves when it can, and whoever waits for an answer need not wait for that.
            return self._answers.broken_by(WorkerDiedError(self.pid, None, "it was told to leave"))
        process = self._life.process
        process.wait(END_WAIT_S)
        return self._killed_for(WorkerDiedError(self.pid, process.returncode, process.last_words()))

    def _killed_for(self, error: WorkerError) -> WorkerError:
        """The first error told, this one or an earlier one; the worker is ended."""
        first = self._answers.broken_by(error)
        self._life.kill()
        return first
