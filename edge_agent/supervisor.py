"""Which worker serves which slot.

:func:`edge_agent.planning.plan` names one step; the Supervisor takes it, on the daemon's main thread.
Lanes only read what serves and report losses.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.classifier import Classifier, RankingRule
from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError, ModelRefusedError, SlotDownError, WorkerError
from edge_agent.planning import (
    WINDOW_S,
    Action,
    Aspired,
    Flip,
    GiveUp,
    Retire,
    Start,
    WorkerView,
    backoff_s,
    plan,
)
from edge_agent.runner import Runner
from edge_agent.states import State, transition
from edge_agent.vetting import VettedBundle
from edge_agent.worker_process import WorkerSettings

logger = logging.getLogger(__name__)


@dataclass
class _Slot:
    """What the supervisor remembers of a slot."""

    vetted: VettedBundle
    rule: RankingRule
    state: State = State.STARTING
    died_at: list[float] = field(default_factory=list)
    retry_at: float = 0.0
    losses: int = 0
    recoveries: int = 0
    since_ns: int = 0
    reason: str | None = None

    def aspired(self) -> Aspired:
        given_up = self.state is State.FATAL
        return Aspired(self.vetted.bundle.digest, len(self.died_at), self.retry_at, given_up)


@dataclass(frozen=True)
class SlotStatus:
    """A slot as ``health`` and ``model/<slot>`` tell it; ``since_ns`` is Unix time of the last flip."""

    slot: str
    state: State
    classifier: Classifier | None
    losses: int
    recoveries: int
    since_ns: int
    reason: str | None

    @property
    def is_down(self) -> bool:
        """Whether no worker will come by itself."""
        return self.state is State.FATAL


class Supervisor:
    """Carries out the plan. ``step`` and ``aspire`` belong to one thread; the rest may be called from any.

    ``wake`` is called when there is something new to plan; ``degraded`` says that the CPU is not what was
    asked for.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        timeout_s: float,
        clock: Clock,
        wake: Callable[[], None],
        *,
        degraded: bool = False,
        start: Callable[[VettedBundle, WorkerSettings, Clock], Runner] | None = None,
    ) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._clock = clock
        self._wake = wake
        self._degraded = degraded
        self._start_runner = start or _start_runner
        self._changed = threading.Condition()
        self._slots: dict[str, _Slot] = {}
        self._serving: dict[str, Classifier] = {}
        self._workers: dict[int, tuple[str, str, Runner]] = {}
        self._keys = 0

    def aspire(self, slot: str, vetted: VettedBundle, rule: RankingRule) -> None:
        """Let ``vetted`` serve ``slot``; what was held against the slot before is forgotten, but counted."""
        with self._changed:
            before = self._slots.get(slot)
            counts = (before.losses, before.recoveries) if before else (0, 0)
            self._slots[slot] = _Slot(vetted, rule, losses=counts[0], recoveries=counts[1])

    def set_rule(self, slot: str, rule: RankingRule) -> None:
        """Rank by another rule from the next frame on."""
        with self._changed:
            self._slots[slot].rule = rule
            if slot in self._serving:
                self._serving[slot] = self._serving[slot].with_rule(rule)

    def serving(self, slot: str, timeout_s: float) -> Classifier | None:
        """What serves the slot, waiting for it if need be; None when nothing did in time.

        Raises SlotDownError where nothing will.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._settled(slot), timeout_s)
            known = self._slots.get(slot)
            if known is not None and known.state is State.FATAL:
                raise SlotDownError(f"slot {slot} is down: {known.reason}")
            return self._serving.get(slot)

    def _settled(self, slot: str) -> bool:
        known = self._slots.get(slot)
        return slot in self._serving or (known is not None and known.state is State.FATAL)

    def lost(self, classifier: Classifier, error: WorkerError) -> None:
        """A lane found its worker dead or stuck; it is EXITED already."""
        with self._changed:
            slot = classifier.identity.slot
            serving = self._serving.get(slot)
            if serving is None or serving.runner is not classifier.runner:
                return
            del self._serving[slot]
            self._record_death(slot, error)
        self._wake()

    def step(self) -> bool:
        """Hear the starting workers, then take one planned action; whether there may be another."""
        self._hear_starting()
        now = self._clock.monotonic_ns() / 1e9
        with self._changed:
            for known in self._slots.values():
                known.died_at = [at for at in known.died_at if now - at < WINDOW_S]
            desired = {slot: known.aspired() for slot, known in self._slots.items()}
            action = plan(desired, self._views(), now)
        if action is not None:
            self._carry_out(action)
        return action is not None

    def starting(self) -> list[Runner]:
        """Workers whose first word is awaited: select() on them."""
        return [runner for _, _, runner in self._workers.values() if runner.state is State.STARTING]

    def status(self) -> list[SlotStatus]:
        """Every slot as it stands."""
        with self._changed:
            return [
                SlotStatus(
                    slot,
                    known.state,
                    self._serving.get(slot),
                    known.losses,
                    known.recoveries,
                    known.since_ns,
                    known.reason,
                )
                for slot, known in self._slots.items()
            ]

    def dismiss(self) -> None:
        """Nothing serves any more, and every worker is told to leave; ``close`` waits for them."""
        with self._changed:
            self._slots.clear()
            self._serving.clear()
            self._changed.notify_all()
        for _, _, runner in list(self._workers.values()):
            runner.dismiss()

    def close(self) -> None:
        """Retire every worker, all at once."""
        self.dismiss()
        for _, _, runner in list(self._workers.values()):
            runner.retire()
        self._workers.clear()

    def _views(self) -> list[WorkerView]:
        serving = {id(classifier.runner) for classifier in self._serving.values()}
        views = []
        for key, (slot, digest, runner) in list(self._workers.items()):
            serves = id(runner) in serving
            # Its lane ends a worker first and tells of it a moment later: until then it counts as serving.
            state = State.READY if serves else runner.state
            if state is State.EXITED:
                del self._workers[key]
            else:
                views.append(WorkerView(key, slot, digest, state, serves))
        return views

    def _hear_starting(self) -> None:
        for slot, _, runner in list(self._workers.values()):
            if runner.state is not State.STARTING:
                continue
            try:
                runner.poll_ready()
            except WorkerError as error:
                with self._changed:
                    self._record_death(slot, error)

    def _record_death(self, slot: str, error: EdgeAgentError) -> None:
        known = self._slots.get(slot)
        if known is None:
            return
        now = self._clock.monotonic_ns() / 1e9
        known.died_at.append(now)
        known.losses += 1
        known.reason = error.what
        known.state = transition(known.state, State.EXITED)
        if isinstance(error, ModelRefusedError):
            self._give_up(slot)
            return
        delay_s = backoff_s(len(known.died_at), random.random())  # noqa: S311  spread, not secrecy
        known.retry_at = now + delay_s
        known.state = transition(known.state, State.BACKOFF)
        logger.warning("slot %s: %s; a new worker starts in %.1f s", slot, error.what, delay_s)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start(slot):
                self._start(slot)
            case Flip(key):
                self._flip(key)
            case Retire(key):
                self._workers.pop(key)[2].retire()
            case GiveUp(slot):
                with self._changed:
                    self._give_up(slot)

    def _start(self, slot: str) -> None:
        known = self._slots[slot]
        if known.state is not State.STARTING:
            known.state = transition(known.state, State.STARTING)
        try:
            runner = self._start_runner(known.vetted, self._settings, self._clock)
        except WorkerError as error:
            with self._changed:
                self._record_death(slot, error)
            return
        self._keys += 1
        self._workers[self._keys] = (slot, known.vetted.bundle.digest, runner)

    def _flip(self, key: int) -> None:
        slot, _, runner = self._workers[key]
        with self._changed:
            known = self._slots[slot]
            classifier = Classifier.build(
                slot,
                known.vetted,
                runner,
                known.rule,
                self._timeout_s,
                self._clock,
                degraded=self._degraded,
            )
            self._serving[slot] = classifier
            if known.state is not State.READY:
                known.state = transition(known.state, State.READY)
            known.since_ns = self._clock.wall_ns()
            known.recoveries += known.reason is not None
            known.reason = None
            self._changed.notify_all()
        logger.info(
            "slot %s: %s %s serves on the %s (%s, worker %d)",
            slot,
            classifier.identity.name,
            classifier.identity.digest,
            classifier.device.upper(),
            runner.ready.runtime,
            runner.pid,
        )

    def _give_up(self, slot: str) -> None:
        known = self._slots[slot]
        known.state = transition(known.state, State.FATAL)
        known.reason = (
            f"no worker is started any more after {len(known.died_at)} deaths: {known.reason}; "
            "put another model in its place, or send SIGHUP to try again"
        )
        self._changed.notify_all()
        logger.error("slot %s: %s", slot, known.reason)


def _start_runner(vetted: VettedBundle, settings: WorkerSettings, clock: Clock) -> Runner:
    return Runner({vetted.bundle.digest: vetted.model}, settings, clock)
