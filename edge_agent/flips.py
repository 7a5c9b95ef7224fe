"""From one worker to another: what serves a slot is exchanged, promoted, fallen back from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from edge_agent.candidates import Blame, Candidates, Refused
from edge_agent.classifier import Classifier
from edge_agent.clock import Clock
from edge_agent.cpu_workers import CpuWorker, CpuWorkers
from edge_agent.errors import WorkerError
from edge_agent.proof import HINT_NO_TWIN
from edge_agent.runner import Runner
from edge_agent.serving import Serving
from edge_agent.slot import Slot
from edge_agent.standing import Device, Standing
from edge_agent.stick import Stick
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)


class Flips:
    """Of all ``slots``. It takes the lock itself, but for ``fall_back`` and ``note_degraded``.

    ``bury`` is told, under the lock, of a worker that was found dead.
    """

    def __init__(
        self,
        slots: Mapping[str, Slot],
        serving: Serving,
        workers: CpuWorkers,
        candidates: Candidates,
        standing: Standing,
        stick: Stick | None,
        clock: Clock,
        timeout_s: float,
        bury: Callable[[Runner, WorkerError], None],
    ) -> None:
        self._slots = slots
        self._serving = serving
        self._changed = serving.changed
        self._workers = workers
        self._candidates = candidates
        self._standing = standing
        self._stick = stick
        self._clock = clock
        self._timeout_s = timeout_s
        self._bury = bury

    def admit(self, worker: CpuWorker) -> None:
        """Its worker on the CPU is READY: it may serve, or stand by."""
        slot = self._slots.get(worker.slot)
        if slot is None or slot.digest != worker.digest:
            return  # a candidate's: it is admitted when that is promoted
        classifier = self._build(slot, slot.vetted, worker.runner)
        with self._changed:
            slot.ready()
            self._serving.standby[slot.name] = classifier

    def promote(self, slot: Slot) -> None:
        """The candidate serves, and is the slot's model from now on."""
        assert slot.candidate is not None
        vetted = slot.candidate
        worker = self._workers.ready(slot.name, vetted.bundle.digest)
        runner = worker.runner if worker else self._stick.runner if self._stick else None
        if runner is None:
            return  # lost since the plan was made
        try:
            classifier = self._build(slot, vetted, runner, "cpu" if worker else "edgetpu")
        except WorkerError as error:
            with self._changed:
                if worker is not None:
                    runner.dismiss()
                    self._candidates.refuse(slot, Refused(error.what, Blame.MACHINE))
                else:
                    self._bury(runner, error)
            return
        with self._changed:
            if worker is None and (self._stick is None or self._stick.runner is not runner):
                return
            self._candidates.promote(slot)
            if worker is not None:
                slot.ready()
                self._serving.standby[slot.name] = classifier
            self._serve(slot.name, classifier)
        self._tell_flip(slot.name, classifier)
        self.hint(slot.name, vetted)

    def flip(self, worker: CpuWorker) -> None:
        """Let this READY worker on the CPU serve its slot."""
        with self._changed:
            classifier = self._serving.standby.get(worker.slot)
            if classifier is None or classifier.runner is not worker.runner:
                # A lane has found it dead since the plan was made, or there was no memory for its frames.
                worker.runner.dismiss()
                return
            self._serve(worker.slot, classifier)
        self._tell_flip(worker.slot, classifier)

    def flip_to_edgetpu(self, slot: Slot) -> None:
        """Let the proven worker of the Edge TPU serve the slot."""
        assert self._stick is not None
        runner = self._stick.runner
        if runner is None:
            return  # lost since the plan was made
        try:
            classifier = self._build(slot, slot.vetted, runner, "edgetpu")
        except WorkerError as error:
            # Another slot's lane may have found it dead a moment ago.
            with self._changed:
                self._bury(runner, error)
            return
        with self._changed:
            if self._stick.runner is not runner:
                return
            self._serve(slot.name, classifier)
        self._tell_flip(slot.name, classifier)

    def retire(self, worker: CpuWorker) -> None:
        """The worker is to leave; what it stood by for has no standby."""
        with self._changed:
            standby = self._serving.standby.get(worker.slot)
            if standby is not None and standby.runner is worker.runner:
                del self._serving.standby[worker.slot]
                slot = self._slots.get(worker.slot)
                if slot is not None and slot.digest == worker.digest:
                    slot.retired()
        worker.runner.dismiss()

    def fall_back(self) -> None:
        """From the Edge TPU to the CPU, at once."""
        for name in self._serving.on_stick():
            del self._serving.now[name]
            standby = self._serving.standby.get(name)
            if standby is not None:
                self._serve(name, standby)
            else:
                self._slots[name].forgive()
        self.note_degraded(self._clock.monotonic_ns())

    def note_degraded(self, now_ns: int) -> None:
        """Keep the time spent degraded, and have the classifiers on the CPU say it of their predictions."""
        self._standing.note(self._serving.on_stick(), now_ns)
        for name, classifier in self._serving.now.items():
            self._serving.now[name] = self._standing.marked(name, classifier)

    def hint(self, slot: str, vetted: VettedBundle) -> None:
        """Say where a model cannot run, and what could be done."""
        if self._stick is not None and vetted.compiled is None:
            logger.info("slot %s: %s", slot, HINT_NO_TWIN)

    def _build(self, slot: Slot, vetted: VettedBundle, runner: Runner, device: Device = "cpu") -> Classifier:
        """Raises WorkerError: it is READY no more, or there is no memory for its frames."""
        return Classifier.build(
            slot.name, vetted, runner, slot.rule, self._timeout_s, self._clock, device=device
        )

    def _serve(self, name: str, classifier: Classifier) -> None:
        self._slots[name].since_ns = self._clock.wall_ns()
        self._serving.serve(name, self._standing.marked(name, classifier))

    def _tell_flip(self, name: str, classifier: Classifier) -> None:
        on_stick = self._stick is not None and classifier.device == "edgetpu"
        logger.info(
            "slot %s: %s %s serves on the %s (%s, worker %d)",
            name,
            classifier.identity.name,
            classifier.identity.digest,
            f"Edge TPU {self._stick.name}" if on_stick and self._stick else "CPU",
            classifier.runner.ready.runtime,
            classifier.runner.pid,
        )
