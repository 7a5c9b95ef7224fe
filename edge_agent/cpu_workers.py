"""The workers on the CPU: one per model of a slot, from its start until it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edge_agent.classifier import Classifier
from edge_agent.clock import Clock
from edge_agent.planning import WorkerView
from edge_agent.runner import Runner
from edge_agent.sealed import SealedFile
from edge_agent.states import State
from edge_agent.worker_process import ExitWatch, WorkerSettings


@dataclass
class CpuWorker:
    """``buried``: its death was told, by whoever noticed it first."""

    slot: str
    digest: str
    runner: Runner
    buried: bool = False


class CpuWorkers:
    """Those that have not ended, each under a key that is used once."""

    def __init__(self, settings: WorkerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._workers: dict[int, CpuWorker] = {}
        self._keys = 0

    def __iter__(self) -> Iterator[CpuWorker]:
        return iter(list(self._workers.values()))

    def __getitem__(self, key: int) -> CpuWorker:
        return self._workers[key]

    def start(self, slot: str, digest: str, model: SealedFile) -> None:
        """One more. Raises WorkerStartError."""
        runner = Runner({digest: model}, self._settings, self._clock)
        self._keys += 1
        self._workers[self._keys] = CpuWorker(slot, digest, runner)

    def ready(self, slot: str, digest: str) -> CpuWorker | None:
        """The slot's READY worker with this model."""
        wanted = (slot, digest, State.READY)
        return next((each for each in self if (each.slot, each.digest, each.runner.state) == wanted), None)

    def bury(self, runner: Runner) -> CpuWorker | None:
        """The worker of this runner, if it is one and its death is news."""
        for worker in self:
            if worker.runner is runner and not worker.buried:
                worker.buried = True
                return worker
        return None

    def views(self, now: Mapping[str, Classifier], standby: Mapping[str, Classifier]) -> list[WorkerView]:
        """What the plan is to know, given what serves and stands by; those that have ended are let go."""
        serving = {id(classifier.runner) for classifier in now.values()}
        standing_by = {id(classifier.runner) for classifier in standby.values()}
        views = []
        for key, worker in list(self._workers.items()):
            serves = id(worker.runner) in serving
            # A lane ends a worker first and tells of it a moment later: until then it counts as READY.
            untold = serves or id(worker.runner) in standing_by
            state = State.READY if untold else worker.runner.state
            if state is State.EXITED:
                del self._workers[key]
            else:
                views.append(WorkerView(key, worker.slot, worker.digest, state, serves))
        return views

    def dismiss(self) -> None:
        """Tell them to leave; ``close`` must follow."""
        for worker in self:
            worker.runner.dismiss()

    def close(self) -> None:
        """End them."""
        for worker in self:
            worker.runner.retire()
        self._workers.clear()


def awaited(runners: Iterable[Runner]) -> list[Runner | ExitWatch]:
    """First words of those that start, and the ends of the others: what there is to hear. For select()."""
    states = [(runner, runner.state) for runner in runners]
    return [
        runner if state is State.STARTING else runner.exit_watch
        for runner, state in states
        if state is not State.EXITED
    ]
