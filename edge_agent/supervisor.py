"""Which worker serves which slot.

:func:`edge_agent.planning.plan` names one step; the Supervisor takes it, on the daemon's main thread;
what concerns the Edge TPU :mod:`edge_agent.stick` does. Lanes only read what serves and report losses.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_agent.classifier import Classifier, RankingRule
from edge_agent.clock import Clock
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import SlotDownError, WorkerError, WorkerStartError
from edge_agent.planning import (
    Action,
    Aspired,
    Candidate,
    Flip,
    FlipToEdgeTpu,
    GiveUp,
    Promote,
    Refuse,
    Retire,
    RetireEdgeTpu,
    Start,
    StartEdgeTpu,
    WorkerView,
    plan,
)
from edge_agent.proof import HINT_NO_TWIN
from edge_agent.runner import Runner
from edge_agent.slot import Slot, SlotStatus
from edge_agent.states import EdgeTpuState, State
from edge_agent.stick import Stick
from edge_agent.stick_faults import MAX_STICK_FAILURES
from edge_agent.stick_status import StickStatus
from edge_agent.vetting import VettedBundle
from edge_agent.worker_process import ExitWatch, WorkerSettings

logger = logging.getLogger(__name__)

Device = Literal["cpu", "edgetpu"]


@dataclass(frozen=True)
class DeviceStatus:
    """Where the models run, where they should, and why not there; ``stick`` is None where the configuration
    wants no Edge TPU. ``trouble`` is the reason without its age.
    """

    device: Device | None
    aspired: Device
    degraded: bool
    degraded_s: float
    reason: str | None
    trouble: str | None
    stick: StickStatus | None


@dataclass(frozen=True)
class News:
    """What became of a slot's candidate: it serves from now on, or it was refused for ``reason``.

    ``lasting``: the same bytes would be refused again; else this machine was at fault, or lacks something.
    """

    slot: str
    digest: str
    reason: str | None = None
    lasting: bool = True


@dataclass
class _CpuWorker:
    """``buried``: its death was told, by whoever noticed it first."""

    slot: str
    digest: str
    runner: Runner
    buried: bool = False


class Supervisor:
    """Carries out the plan. ``step`` and ``aspire`` belong to one thread; the rest may be called from any.

    ``wake`` is called when there is something new to plan; ``edgetpu`` is None where everything runs on the
    CPU; with ``standby`` a slot keeps its worker on the CPU while the Edge TPU serves it.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        timeout_s: float,
        clock: Clock,
        wake: Callable[[], None],
        *,
        edgetpu: EdgeTpuSettings | None = None,
        standby: bool = True,
    ) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._clock = clock
        self._wake = wake
        self._wanted = edgetpu.wanted if edgetpu else "cpu"
        self._stick = Stick(edgetpu, clock, wake) if edgetpu else None
        self._keeps_standby = standby
        self._changed = threading.Condition()
        self._slots: dict[str, Slot] = {}
        self._serving: dict[str, Classifier] = {}
        self._on_cpu: dict[str, Classifier] = {}
        self._workers: dict[int, _CpuWorker] = {}
        self._keys = 0
        self._degraded_ns = 0
        self._degraded_since_ns: int | None = None
        self._dismissed = False
        self._news: list[News] = []

    def aspire(self, slot: str, vetted: VettedBundle, rule: RankingRule) -> None:
        """Let ``vetted`` serve ``slot``; what was held against the slot before is forgotten, but counted."""
        with self._changed:
            before = self._slots.get(slot)
            self._slots[slot] = Slot(slot, vetted, rule) if before is None else before.aspire(vetted, rule)
            self._give_a_chance(vetted)
        self._hint(slot, vetted)

    def _hint(self, slot: str, vetted: VettedBundle) -> None:
        if self._stick is not None and vetted.compiled is None:
            logger.info("slot %s: %s", slot, HINT_NO_TWIN)

    def offer(self, slot: str, vetted: VettedBundle) -> None:
        """Let ``vetted`` take over from what the slot serves, once it has shown that it can: :meth:`news`."""
        with self._changed:
            self._slots[slot].candidate = vetted
            self._give_a_chance(vetted)

    def withdraw(self, slot: str) -> bool:
        """Let what the slot serves go on alone; False where its candidate's fate is decided already, and is
        among the :meth:`news`.
        """
        with self._changed:
            had, self._slots[slot].candidate = self._slots[slot].candidate, None
        return had is not None

    def _give_a_chance(self, vetted: VettedBundle) -> None:
        """What its workers on the Edge TPU cost before says nothing of the next ones."""
        if self._stick is not None:
            self._stick.faults.forgive(vetted.bundle.digest)

    def news(self) -> list[News]:
        """What became of candidates since the last call."""
        news, self._news = self._news, []
        return news

    def set_rule(self, slot: str, rule: RankingRule) -> None:
        """Rank by another rule from the next frame on."""
        with self._changed:
            self._slots[slot].rule = rule
            for classifiers in (self._serving, self._on_cpu):
                if slot in classifiers:
                    classifiers[slot] = classifiers[slot].with_rule(rule)

    def forgive(self) -> None:
        """Slots that are not down, but whose workers on the CPU were given up, get one again."""
        with self._changed:
            for name, slot in self._slots.items():
                if not self._is_down(name):
                    slot.forgive()

    def serving(self, slot: str, timeout_s: float) -> Classifier | None:
        """What serves the slot, waiting for it if need be; None when nothing did in time.

        Raises SlotDownError where nothing will.
        """
        with self._changed:
            self._changed.wait_for(lambda: slot in self._serving or self._is_down(slot), timeout_s)
            if self._is_down(slot):
                raise SlotDownError(f"slot {slot} is down: {self._slots[slot].reason}")
            return self._serving.get(slot)

    def standby(self, slot: str) -> Classifier | None:
        """The slot's classifier on the CPU, serving or not."""
        with self._changed:
            return self._on_cpu.get(slot)

    def lost(self, classifier: Classifier, error: WorkerError) -> None:
        """A lane found its worker dead, stuck or not to be believed: from now on another one serves."""
        with self._changed:
            self._bury(classifier.runner, error)
        self._wake()

    def step(self, *, hold: bool = False) -> bool:
        """Hear the workers, then take one planned action; whether there may be another.

        With ``hold`` the Edge TPU's worker is not started yet, for more slots will need it.
        """
        self._hear()
        now_ns = self._clock.monotonic_ns()
        now = now_ns / 1e9
        with self._changed:
            self._judge_candidates()
            desired = {name: self._aspired(slot, now) for name, slot in self._slots.items()}
            stick = self._stick.view(self._on_stick(), hold=hold) if self._stick else None
            action = plan(desired, self._views(), now, stick, standby=self._keeps_standby)
            self._note_degraded(now_ns)
        if action is not None:
            self._carry_out(action)
        return action is not None

    def awaited(self) -> list[Runner | ExitWatch]:
        """Workers' first words, and the ends of the others: what there is to hear. For select()."""
        runners = [worker.runner for worker in self._workers.values()]
        if self._stick:
            runners += self._stick.runners()
        states = [(runner, runner.state) for runner in runners]
        return [
            runner if state is State.STARTING else runner.exit_watch
            for runner, state in states
            if state is not State.EXITED
        ]

    def status(self) -> list[SlotStatus]:
        """Every slot as it stands."""
        with self._changed:
            return [
                slot.status(self._serving.get(name), is_down=self._is_down(name))
                for name, slot in self._slots.items()
            ]

    def device(self) -> DeviceStatus:
        """Where the models run, and why there."""
        with self._changed:
            now_ns = self._clock.monotonic_ns()
            degraded = self._is_degraded()
            on_stick = bool(self._on_stick())
            device: Device | None = "edgetpu" if on_stick and not degraded else "cpu"
            running_ns = now_ns - self._degraded_since_ns if self._degraded_since_ns is not None else 0
            stick = self._stick.status() if self._stick else None
            trouble = self._trouble(stick, degraded=degraded)
            aged = stick is not None and trouble == stick.trouble
            return DeviceStatus(
                device=device if self._serving else None,
                aspired="edgetpu" if self._aspires_edgetpu() else "cpu",
                degraded=degraded,
                degraded_s=(self._degraded_ns + running_ns) / 1e9,
                reason=stick.reason(now_ns) if stick is not None and aged else trouble,
                trouble=trouble,
                stick=stick,
            )

    def dismiss(self) -> None:
        """Nothing serves any more, and every worker is told to leave; ``close`` waits for them."""
        with self._changed:
            self._dismissed = True
            self._slots.clear()
            self._serving.clear()
            self._on_cpu.clear()
            self._changed.notify_all()
        for worker in list(self._workers.values()):
            worker.runner.dismiss()
        if self._stick:
            self._stick.dismiss()

    def close(self) -> None:
        """Retire every worker, all at once."""
        self.dismiss()
        for worker in list(self._workers.values()):
            worker.runner.retire()
        self._workers.clear()
        if self._stick:
            self._stick.close()

    def _is_down(self, slot: str) -> bool:
        """Whether nothing serves it and nothing will: an Edge TPU that has served is waited for."""
        known = self._slots.get(slot)
        if known is None or known.state is not State.FATAL or slot in self._serving:
            return False
        returns = self._stick is not None and self._stick.has_served and self._fits_stick(known.vetted)
        return not returns

    def _fits_stick(self, vetted: VettedBundle) -> bool:
        """Whether it has a compiled model that nothing speaks against."""
        stick = self._stick
        return (
            stick is not None
            and vetted.compiled is not None
            and stick.faults.objection(vetted.bundle.digest) is None
        )

    def _aspired(self, slot: Slot, now: float) -> Aspired:
        candidate = None
        if slot.candidate is not None:
            digest = slot.candidate.bundle.digest
            candidate = Candidate(
                digest,
                on_cpu=slot.candidate.model is not None,
                on_edgetpu=self._fits_stick(slot.candidate),
                tried=self._stick is not None and self._stick.faults.failed_with[digest] > 0,
            )
        return slot.aspired(now, on_edgetpu=self._fits_stick(slot.vetted), candidate=candidate)

    def _judge_candidates(self) -> None:
        """Refuse those that the Edge TPU refused, or that its worker did not survive twice: the first time
        may have been the stick's fault.
        """
        stick = self._stick
        if stick is None:
            return
        for slot in self._slots.values():
            digest = slot.candidate.bundle.digest if slot.candidate else ""
            if digest in stick.faults.refused:
                self._refuse(slot, stick.faults.refused[digest])
            elif stick.faults.failed_with[digest] >= MAX_STICK_FAILURES:
                self._refuse(slot, f"on the Edge TPU: {stick.status().trouble}")

    def _refuse(self, slot: Slot, reason: str, *, lasting: bool = True) -> None:
        """Its candidate does not take over; what serves goes on."""
        assert slot.candidate is not None
        self._news.append(News(slot.name, slot.candidate.bundle.digest, reason, lasting))
        slot.candidate = None

    def _on_stick(self) -> dict[str, str]:
        """The slots that the Edge TPU serves, and with which digest."""
        return {name: each.network for name, each in self._serving.items() if each.device == "edgetpu"}

    def _wants_stick(self, slot: Slot) -> bool:
        """Whether the CPU is not where it should run: the Edge TPU is asked for by name, or is all that it
        is compiled for, or it is compiled for one that was seen.
        """
        stick = self._stick
        if stick is None:
            return False
        asked = self._wanted != "auto" or slot.vetted.model is None
        return asked or (stick.aspired and slot.vetted.compiled is not None)

    def _aspires_edgetpu(self) -> bool:
        if self._stick is None:
            return False
        return self._wanted != "auto" or any(self._wants_stick(slot) for slot in self._slots.values())

    def _is_degraded(self) -> bool:
        on_stick = self._on_stick()
        return any(self._wants_stick(slot) and name not in on_stick for name, slot in self._slots.items())

    def _note_degraded(self, now_ns: int) -> None:
        """Keep the time spent degraded, and have the classifiers on the CPU say it of their predictions."""
        degraded = self._is_degraded()
        if degraded and self._degraded_since_ns is None:
            self._degraded_since_ns = now_ns
        elif not degraded and self._degraded_since_ns is not None:
            self._degraded_ns += now_ns - self._degraded_since_ns
            self._degraded_since_ns = None
        for name, classifier in self._serving.items():
            self._serving[name] = self._marked(name, classifier)

    def _marked(self, name: str, classifier: Classifier) -> Classifier:
        """The same, saying of its predictions whether they are made where they should be."""
        degraded = classifier.device == "cpu" and self._wants_stick(self._slots[name])
        return classifier if classifier.degraded == degraded else classifier.with_degraded(degraded)

    def _trouble(self, stick: StickStatus | None, *, degraded: bool) -> str | None:
        """Why the CPU serves what the Edge TPU could; None where that is as it should be."""
        if stick is None or self._stick is None:
            return None
        left = [slot for slot in self._slots.values() if slot.name not in self._on_stick()]
        coming = any(self._fits_stick(slot.vetted) for slot in left)
        starts = f"Edge TPU {stick.device} is being started"
        if coming and stick.state is not EdgeTpuState.SERVING:
            return stick.trouble or (starts if degraded else None)
        if not degraded:
            return None
        objections = [why for slot in left if (why := self._stick.faults.objection(slot.digest))]
        if objections:
            return objections[0]
        return starts if coming else HINT_NO_TWIN

    def _views(self) -> list[WorkerView]:
        serving = {id(classifier.runner) for classifier in self._serving.values()}
        standing_by = {id(classifier.runner) for classifier in self._on_cpu.values()}
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

    def _hear(self) -> None:
        """First words, and deaths that no lane noticed."""
        if self._stick:
            heard = self._stick.listen()
            with self._changed:
                error = self._stick.hear(heard)
                if error is not None and heard is not None:
                    self._bury(heard.runner, error)
        for worker in list(self._workers.values()):
            try:
                self._hear_worker(worker)
            except WorkerError as error:
                with self._changed:
                    self._note_death(self._slots[worker.slot], worker.digest, error)

    def _hear_worker(self, worker: _CpuWorker) -> None:
        """Raises WorkerError where it ended before it was READY."""
        runner = worker.runner
        if runner.state is State.STARTING and runner.poll_ready():
            self._admit(worker)
        elif runner.state is State.STOPPING:
            runner.reap()
        elif (error := runner.death()) is not None:
            with self._changed:
                self._bury(runner, error)

    def _admit(self, worker: _CpuWorker) -> None:
        """Its worker on the CPU is READY: it may serve, or stand by."""
        slot = self._slots.get(worker.slot)
        if slot is None or slot.digest != worker.digest:
            return  # a candidate's: it is admitted when that is promoted
        classifier = self._build(slot, slot.vetted, worker.runner)
        with self._changed:
            slot.ready()
            self._on_cpu[slot.name] = classifier

    def _build(self, slot: Slot, vetted: VettedBundle, runner: Runner, device: Device = "cpu") -> Classifier:
        """Raises WorkerError: it is READY no more, or there is no memory for its frames."""
        return Classifier.build(
            slot.name, vetted, runner, slot.rule, self._timeout_s, self._clock, device=device
        )

    def _bury(self, runner: Runner, error: WorkerError) -> None:
        """Nothing is asked of this worker any more; what it served falls to the CPU, where that is there."""
        if self._dismissed:
            return  # it was told to leave
        if self._stick and runner is self._stick.runner:
            if self._stick.state is EdgeTpuState.SERVING:
                self._stick.lost(error)
                for name in self._on_stick():
                    self._slots[name].stick_losses += 1
                self._fall_back()
            return
        for classifiers in (self._on_cpu, self._serving):
            for name, classifier in list(classifiers.items()):
                if classifier.runner is runner:
                    del classifiers[name]
        for worker in self._workers.values():
            if worker.runner is runner and not worker.buried and worker.slot in self._slots:
                worker.buried = True
                self._note_death(self._slots[worker.slot], worker.digest, error)
        self._changed.notify_all()

    def _note_death(self, slot: Slot, digest: str, error: WorkerError) -> None:
        """Of a worker on the CPU: a candidate's death is its end."""
        if slot.is_candidate(digest):
            self._refuse(slot, error.what, lasting=not isinstance(error, WorkerStartError))
        elif slot.digest == digest:
            slot.died(error, self._clock.monotonic_ns() / 1e9)

    def _fall_back(self) -> None:
        """From the Edge TPU to the CPU, at once."""
        for name in self._on_stick():
            del self._serving[name]
            if name in self._on_cpu:
                self._serve(name, self._on_cpu[name])
            else:
                self._slots[name].forgive()
        self._note_degraded(self._clock.monotonic_ns())

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start(slot, digest):
                self._start(self._slots[slot], digest)
            case Promote(slot):
                self._promote(self._slots[slot])
            case Refuse(slot):
                with self._changed:
                    self._refuse(self._slots[slot], self._out_of_reach(), lasting=False)
            case Flip(key):
                self._flip(self._workers[key])
            case Retire(key):
                self._retire(self._workers[key])
            case GiveUp(slot):
                with self._changed:
                    self._slots[slot].give_up()
                    self._changed.notify_all()
            case FlipToEdgeTpu(slot):
                self._flip_to_edgetpu(self._slots[slot])
            case StartEdgeTpu(networks):
                assert self._stick is not None
                models = {digest: self._slots[slot].model(digest) for slot, digest in networks.items()}
                self._stick.start(models)
            case _:
                assert self._stick is not None
                with self._changed:
                    if isinstance(action, RetireEdgeTpu):
                        self._fall_back()  # what it serves still, nothing on the CPU could take over
                    self._stick.carry_out(action)

    def _out_of_reach(self) -> str:
        """Why a model that only an Edge TPU could run cannot."""
        trouble = self._stick.status().trouble if self._stick else None
        return f"it has no model for the CPU, and needs an Edge TPU: {trouble or 'none is to be used'}"

    def _start(self, slot: Slot, digest: str) -> None:
        if digest == slot.digest:
            slot.starting()
        model = slot.model(digest).model
        assert model is not None
        try:
            runner = Runner({digest: model}, self._settings, self._clock)
        except WorkerError as error:
            with self._changed:
                self._note_death(slot, digest, error)
            return
        self._keys += 1
        self._workers[self._keys] = _CpuWorker(slot.name, digest, runner)

    def _promote(self, slot: Slot) -> None:
        """The candidate serves, and is the slot's model from now on."""
        assert slot.candidate is not None
        vetted = slot.candidate
        worker = self._ready_on_cpu(slot.name, vetted.bundle.digest)
        runner = worker.runner if worker else self._stick.runner if self._stick else None
        if runner is None:
            return  # lost since the plan was made
        try:
            classifier = self._build(slot, vetted, runner, "cpu" if worker else "edgetpu")
        except WorkerError as error:
            with self._changed:
                if worker is not None:
                    runner.dismiss()
                    self._refuse(slot, error.what, lasting=False)
                else:
                    self._bury(runner, error)
            return
        with self._changed:
            slot.promote()
            if worker is not None:
                slot.ready()
                self._on_cpu[slot.name] = classifier
            self._serve(slot.name, classifier)
            self._news.append(News(slot.name, slot.digest))
        self._tell_flip(slot.name, classifier)
        self._hint(slot.name, vetted)

    def _ready_on_cpu(self, slot: str, digest: str) -> _CpuWorker | None:
        wanted = (slot, digest, State.READY)
        workers = self._workers.values()
        return next((each for each in workers if (each.slot, each.digest, each.runner.state) == wanted), None)

    def _retire(self, worker: _CpuWorker) -> None:
        with self._changed:
            standby = self._on_cpu.get(worker.slot)
            if standby is not None and standby.runner is worker.runner:
                del self._on_cpu[worker.slot]
                slot = self._slots.get(worker.slot)
                if slot is not None and slot.digest == worker.digest:
                    slot.retired()
        worker.runner.dismiss()

    def _flip(self, worker: _CpuWorker) -> None:
        with self._changed:
            classifier = self._on_cpu.get(worker.slot)
            if classifier is None or classifier.runner is not worker.runner:
                # A lane has found it dead since the plan was made, or there was no memory for its frames.
                worker.runner.dismiss()
                return
            self._serve(worker.slot, classifier)
        self._tell_flip(worker.slot, classifier)

    def _flip_to_edgetpu(self, slot: Slot) -> None:
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

    def _serve(self, name: str, classifier: Classifier) -> None:
        self._serving[name] = self._marked(name, classifier)
        self._slots[name].since_ns = self._clock.wall_ns()
        self._changed.notify_all()

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
