"""Which worker serves which slot.

:func:`edge_agent.planning.plan` names one step; the Supervisor takes it, on the daemon's main thread;
what concerns the Edge TPU :mod:`edge_agent.stick` does. Lanes only read what serves and report losses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_agent.actions import (
    Action,
    Flip,
    FlipToEdgeTpu,
    GiveUp,
    Promote,
    Refuse,
    Retire,
    RetireEdgeTpu,
    Start,
    StartEdgeTpu,
)
from edge_agent.candidates import Candidates, News, refused
from edge_agent.classifier import Classifier, RankingRule
from edge_agent.clock import Clock
from edge_agent.cpu_workers import CpuWorker, CpuWorkers, awaited
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import SlotDownError, WorkerError
from edge_agent.flips import Flips
from edge_agent.planning import Aspired, plan
from edge_agent.runner import Runner
from edge_agent.serving import Serving
from edge_agent.slot import Slot, SlotStatus
from edge_agent.standing import DeviceStatus, Standing
from edge_agent.states import EdgeTpuState, State
from edge_agent.stick import Stick
from edge_agent.vetting import VettedBundle
from edge_agent.worker_process import ExitWatch, WorkerSettings

logger = logging.getLogger(__name__)


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
        self._clock = clock
        self._wake = wake
        self._keeps_standby = standby
        self._stick = Stick(edgetpu, clock, wake) if edgetpu else None
        self._slots: dict[str, Slot] = {}
        self._serving = Serving()
        self._changed = self._serving.changed
        self._workers = CpuWorkers(settings, clock)
        self._candidates = Candidates(self._stick)
        self._standing = Standing(self._stick, edgetpu.wanted if edgetpu else "cpu", self._slots)
        self._flips = Flips(
            self._slots,
            self._serving,
            self._workers,
            self._candidates,
            self._standing,
            self._stick,
            clock,
            timeout_s,
            self._bury,
        )
        self._dismissed = False

    def aspire(self, slot: str, vetted: VettedBundle, rule: RankingRule) -> None:
        """Let ``vetted`` serve ``slot``; what was held against the slot before is forgotten, but counted."""
        with self._changed:
            before = self._slots.get(slot)
            self._slots[slot] = Slot(slot, vetted, rule) if before is None else before.aspire(vetted, rule)
            self._candidates.forgive(vetted)
        self._flips.hint(slot, vetted)

    def offer(self, slot: str, vetted: VettedBundle) -> None:
        """Let ``vetted`` take over from what the slot serves, once it has shown that it can: :meth:`news`."""
        with self._changed:
            self._slots[slot].candidate = vetted
            self._candidates.forgive(vetted)
            if self._stick is not None and vetted.model is None:
                self._stick.look_again()

    def withdraw(self, slot: str) -> bool:
        """Let what the slot serves go on alone; False where its candidate's fate is among the news."""
        with self._changed:
            had, self._slots[slot].candidate = self._slots[slot].candidate, None
        return had is not None

    def news(self) -> list[News]:
        """What became of candidates since the last call."""
        return self._candidates.news()

    def set_rule(self, slot: str, rule: RankingRule) -> None:
        """Rank by another rule from the next frame on."""
        with self._changed:
            self._slots[slot].rule = rule
            self._serving.set_rule(slot, rule)

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
            classifier = self._serving.wait(slot, lambda: self._is_down(slot), timeout_s)
            if self._is_down(slot):
                raise SlotDownError(f"slot {slot} is down: {self._slots[slot].reason}")
            return classifier

    def standby(self, slot: str) -> Classifier | None:
        """The slot's classifier on the CPU, serving or not."""
        with self._changed:
            return self._serving.standby.get(slot)

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
            self._candidates.judge(self._slots.values())
            desired = {name: self._aspired(slot, now) for name, slot in self._slots.items()}
            stick = self._stick.view(self._serving.on_stick(), hold=hold) if self._stick else None
            views = self._workers.views(self._serving.now, self._serving.standby)
            action = plan(desired, views, now, stick, standby=self._keeps_standby)
            self._flips.note_degraded(now_ns)
        if action is not None:
            self._carry_out(action)
        return action is not None

    def awaited(self) -> list[Runner | ExitWatch]:
        """Workers' first words, and the ends of the others: what there is to hear. For select()."""
        on_stick = self._stick.runners() if self._stick else []
        return awaited([*(worker.runner for worker in self._workers), *on_stick])

    def status(self) -> list[SlotStatus]:
        """Every slot as it stands."""
        with self._changed:
            return [
                slot.status(self._serving.now.get(name), is_down=self._is_down(name))
                for name, slot in self._slots.items()
            ]

    def device(self) -> DeviceStatus:
        """Where the models run, and why there."""
        with self._changed:
            on_stick, serves = self._serving.on_stick(), bool(self._serving.now)
            return self._standing.status(on_stick, self._clock.monotonic_ns(), serves=serves)

    def dismiss(self) -> None:
        """Nothing serves any more, and every worker is told to leave; ``close`` waits for them."""
        with self._changed:
            self._dismissed = True
            self._slots.clear()
            self._serving.clear()
        self._workers.dismiss()
        if self._stick:
            self._stick.dismiss()

    def close(self) -> None:
        """Retire every worker, all at once."""
        self.dismiss()
        self._workers.close()
        if self._stick:
            self._stick.close()

    def _is_down(self, slot: str) -> bool:
        """Whether nothing serves it and nothing will: an Edge TPU that has served is waited for."""
        known = self._slots.get(slot)
        if known is None or known.state is not State.FATAL or slot in self._serving.now:
            return False
        return not self._standing.returns(known.vetted)

    def _aspired(self, slot: Slot, now: float) -> Aspired:
        fits = self._standing.fits_stick
        coming = slot.candidate is not None and fits(slot.candidate)
        candidate = self._candidates.seen(slot, on_edgetpu=coming)
        return slot.aspired(now, on_edgetpu=fits(slot.vetted), candidate=candidate)

    def _hear(self) -> None:
        """First words, and deaths that no lane noticed."""
        if self._stick:
            heard = self._stick.listen()
            with self._changed:
                error = self._stick.hear(heard)
                if error is not None and heard is not None:
                    self._bury(heard.runner, error)
        for worker in self._workers:
            try:
                self._hear_worker(worker)
            except WorkerError as error:
                with self._changed:
                    self._note_death(self._slots[worker.slot], worker.digest, error)

    def _hear_worker(self, worker: CpuWorker) -> None:
        """Raises WorkerError where it ended before it was READY."""
        runner = worker.runner
        if runner.state is State.STARTING and runner.poll_ready():
            self._flips.admit(worker)
        elif runner.state is State.STOPPING:
            runner.reap()
        elif (error := runner.death()) is not None:
            with self._changed:
                self._bury(runner, error)

    def _bury(self, runner: Runner, error: WorkerError) -> None:
        """Nothing is asked of this worker any more; what it served falls to the CPU, where that is there."""
        if self._dismissed:
            return  # it was told to leave
        if self._stick and runner is self._stick.runner:
            if self._stick.state is EdgeTpuState.SERVING:
                self._stick.lost(error)
                for name in self._serving.on_stick():
                    self._slots[name].stick_losses += 1
                self._flips.fall_back()
            return
        self._serving.drop(runner)
        worker = self._workers.bury(runner)
        if worker is not None and worker.slot in self._slots:
            self._note_death(self._slots[worker.slot], worker.digest, error)

    def _note_death(self, slot: Slot, digest: str, error: WorkerError) -> None:
        """Of a worker on the CPU: a candidate's death is its end."""
        if slot.is_candidate(digest):
            self._candidates.refuse(slot, refused(error))
        elif slot.digest == digest:
            slot.died(error, self._clock.monotonic_ns() / 1e9)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start(slot, digest):
                self._start(self._slots[slot], digest)
            case Promote(slot):
                self._flips.promote(self._slots[slot])
            case Refuse(slot):
                with self._changed:
                    self._candidates.refuse_out_of_reach(self._slots[slot])
            case Flip(key):
                self._flips.flip(self._workers[key])
            case Retire(key):
                self._flips.retire(self._workers[key])
            case GiveUp(slot):
                with self._changed:
                    self._slots[slot].give_up()
                    self._changed.notify_all()
            case FlipToEdgeTpu(slot):
                self._flips.flip_to_edgetpu(self._slots[slot])
            case StartEdgeTpu(networks):
                assert self._stick is not None
                models = {digest: self._slots[slot].model(digest) for slot, digest in networks.items()}
                self._stick.start(models)
            case _:
                assert self._stick is not None
                with self._changed:
                    if isinstance(action, RetireEdgeTpu):
                        self._flips.fall_back()  # what it serves still, nothing on the CPU could take over
                    self._stick.carry_out(action)

    def _start(self, slot: Slot, digest: str) -> None:
        if digest == slot.digest:
            slot.starting()
        model = slot.model(digest).model
        assert model is not None
        try:
            self._workers.start(slot.name, digest, model)
        except WorkerError as error:
            with self._changed:
                self._note_death(slot, digest, error)
