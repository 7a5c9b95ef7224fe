"""The Edge TPU of this agent, from its being found to its being lost, and back.

:func:`edge_agent.planning.plan` names the steps and the supervisor passes them on; here they are taken. What
may take long (asking libedgetpu, a rung of the recovery ladder, the proof) runs beside the main loop.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edge_agent import edgetpu
from edge_agent.beside import Beside
from edge_agent.bus import BusWatch
from edge_agent.clock import Clock
from edge_agent.edgetpu import Device, EdgeTpuSettings, Taken
from edge_agent.errors import (
    BundleError,
    DeviceBusyError,
    EdgeAgentError,
    ModelRefusedError,
    NoDeviceError,
    WorkerError,
)
from edge_agent.planning import Climb, Look, Prove, Release, RetireEdgeTpu, StickView
from edge_agent.proof import compiled_refusal, prove
from edge_agent.recovery import Rung, climb, delay_s, rung_for
from edge_agent.runner import Runner
from edge_agent.states import EdgeTpuState, State, transition
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)

LEAVING_S = 10.0
"""A worker that was killed and is still there hangs in the kernel: libedgetpu waits 6 s for a transfer."""


@dataclass(frozen=True)
class StickStatus:
    """The Edge TPU as ``health`` tells it; ``device`` and ``library`` (its version) once there was one.

    ``trouble`` says why it does not serve; where it was lost, ``lost_ns`` is when (monotonic), and the cause
    of that comes first.
    """

    state: EdgeTpuState
    device: str | None
    library: str | None
    runtime: str | None
    losses: int
    recoveries: int
    rungs: Mapping[Rung, int]
    trouble: str | None
    lost_ns: int | None

    def reason(self, now_ns: int) -> str | None:
        """The trouble in words, with how long ago it began."""
        if self.trouble is None or self.lost_ns is None:
            return self.trouble
        return f"Edge TPU {self.device} lost {(now_ns - self.lost_ns) // 1_000_000_000} s ago: {self.trouble}"


@dataclass(frozen=True)
class Heard:
    """What is new of a worker: it is READY, or the error of its end."""

    runner: Runner
    ready: bool = False
    error: WorkerError | None = None


class Stick:
    """One Edge TPU and its worker. Used under the supervisor's lock; ``listen`` and the work beside need
    none.

    ``refused`` says of digests why they do not run there; ``failed_with`` counts how often in a row a worker
    with a digest failed before it served.
    """

    def __init__(self, settings: EdgeTpuSettings, clock: Clock, wake: Callable[[], None]) -> None:
        self.runner: Runner | None = None
        self.state = EdgeTpuState.ABSENT
        self.refused: dict[str, str] = {}
        self.failed_with: Counter[str] = Counter()
        self._settings = settings
        self._clock = clock
        self._beside = Beside(wake)
        self._watch = BusWatch()
        self._taken: Taken | None = None
        self._vetted: Mapping[str, VettedBundle] = {}
        self._leaving: Runner | None = None
        self._runtimes = edgetpu.runtimes(settings.runtime)
        self._turn_of = 0
        self._misfits: dict[str, WorkerError] = {}
        self._failures = 0
        self._rung = Rung.RESPAWN
        self._look_at = self._retry_at = self._served_since = self._left_by = 0.0
        self._rungs: Counter[Rung] = Counter()
        self._losses = self._recoveries = 0
        self._cycled = False
        self._device: Device | None = None
        self._version: str | None = None
        self._trouble: str | None = None
        self._lost: tuple[int, str] | None = None
        self.has_served = False

    @property
    def aspired(self) -> bool:
        """Whether the Edge TPU is where the models should run: asked for by name, or seen."""
        return self._settings.wanted != "auto" or self._device is not None

    @property
    def name(self) -> str | None:
        """The device's, ``usb:0``, once there was one."""
        return self._device.name if self._device else None

    def view(self, serves: Iterable[str], *, hold: bool) -> StickView:
        """What the plan is to know; ``serves``: the slots that the worker serves."""
        return StickView(
            state=self.state,
            networks=frozenset(self._vetted),
            serves=frozenset(serves),
            busy=self._beside.busy or self._leaving is not None,
            look_at=self._look_at,
            retry_at=self._retry_at,
            rung_due=self._rung is not Rung.RESPAWN,
            hold=hold,
        )

    def status(self) -> StickStatus:
        """As it stands."""
        runtime = self.runner.ready.runtime if self.runner and self.state is EdgeTpuState.SERVING else None
        return StickStatus(
            self.state,
            self.name,
            self._version,
            runtime,
            self._losses,
            self._recoveries,
            dict(self._rungs),
            self._told_trouble(),
            self._lost[0] if self._lost else None,
        )

    def _told_trouble(self) -> str | None:
        """What is in its way now, after the cause of the loss."""
        cause = self._lost[1] if self._lost else None
        if cause is None or self._trouble is None:
            return cause or self._trouble
        return f"{cause}; since then: {self._trouble}"

    def runners(self) -> list[Runner]:
        """Its worker, and the one before that has not ended yet."""
        return [runner for runner in (self.runner, self._leaving) if runner is not None]

    def listen(self) -> Heard | None:
        """Hear the worker, for :meth:`hear`. Lanes must not wait for it: until a dying process is gone some
        milliseconds pass, or a quarter of a second, and a word that was begun may take longer still.
        """
        runner, starting = self.runner, self.state is EdgeTpuState.STARTING
        if runner is None:
            return None
        try:
            return (
                Heard(runner, ready=runner.poll_ready()) if starting else Heard(runner, error=runner.death())
            )
        except WorkerError as error:
            return Heard(runner, error=error)

    def hear(self, heard: Heard | None) -> WorkerError | None:
        """Take in what came of the work beside, and what was heard of the worker; the error of one that died
        while it served, for :meth:`lost`.
        """
        self._beside.settle()
        if self._leaving is not None and self._leaving.reap():
            self._leaving = None
        if self._leaving is not None and self._now() > self._left_by:
            self._trouble = f"worker {self._leaving.pid} cannot be ended; restart the machine"
        if self.state is EdgeTpuState.ABSENT and self._watch.changed():
            self._look_at = self._now()
        if heard is None or heard.runner is not self.runner:
            return None
        if self.state is EdgeTpuState.SERVING:
            return heard.error
        if heard.ready:
            self._to(EdgeTpuState.PROVING)
        elif heard.error is not None and self.state is EdgeTpuState.STARTING:
            self._not_started(heard.error)
        elif heard.error is not None:
            self._fail(heard.error)
        return None

    def carry_out(self, action: Look | Climb | Prove | RetireEdgeTpu | Release) -> None:
        """Take a step that needs no bundle."""
        match action:
            case Look():
                self._look()
            case Climb():
                self._climb()
            case Prove():
                self._prove()
            case RetireEdgeTpu():
                self._drop(EdgeTpuState.FOUND)
            case Release():
                self._release()

    def start(self, vetted: Mapping[str, VettedBundle]) -> None:
        """Start the worker with these bundles' compiled models, by digest."""
        assert self._taken is not None
        refusals = {
            digest: refusal
            for digest, each in vetted.items()
            if (refusal := compiled_refusal(each, self._taken.version))
        }
        for digest, refusal in refusals.items():
            self._refuse(digest, refusal)
        if refusals:
            return
        runtime = self._runtimes[self._turn_of]
        try:
            settings = edgetpu.worker_settings(self._settings, self._taken, runtime)
            models = {digest: each.compiled for digest, each in vetted.items() if each.compiled}
            self.runner = Runner(models, settings, self._clock)
        except WorkerError as error:
            self._fail(error)
            return
        self._vetted = dict(vetted)
        self._rungs[Rung.RESPAWN] += self._failures > 0
        self._to(EdgeTpuState.STARTING)

    def lost(self, error: WorkerError) -> None:
        """The serving worker is dead, stuck, or not to be believed."""
        if self._now() - self._served_since >= self._settings.recovery.stable_s:
            self._failures = 0
        self._losses += 1
        logger.warning("Edge TPU %s lost: %s; the CPU takes over", self.name, error.what)
        self._lost, self._trouble = (self._clock.monotonic_ns(), error.what), None
        self._back_off()

    def dismiss(self) -> None:
        """Tell the worker to leave; ``close`` must follow."""
        if self.runner is not None:
            self.runner.dismiss()

    def close(self) -> None:
        """End the worker and give the device back."""
        for runner in self.runners():
            runner.retire()
        if self._taken is not None:
            self._taken.close()
            self._taken = None

    def _look(self) -> None:
        settings, held = self._settings, self._taken
        self._beside.start(
            "edgetpu-look", lambda: edgetpu.take(settings.wanted, settings.library, held), self._looked
        )

    def _looked(self, outcome: Taken | EdgeAgentError) -> None:
        if isinstance(outcome, Taken):
            self._taken, self._version = outcome, outcome.version
            if self.state is EdgeTpuState.ABSENT:
                logger.info("Edge TPU %s found (%s)", outcome.device.name, outcome.device.path)
                self._trouble = None
            self._device = outcome.device
            self._to(EdgeTpuState.FOUND)
            return
        if self._taken is not None and not isinstance(outcome, (NoDeviceError, DeviceBusyError)):
            # It is ours, and libedgetpu cannot even list it: what the ladder is for.
            self._trouble = str(outcome)
            self._count_failure()
            return
        self._taken = None
        self._look_at = self._now() + self._settings.look_every_s
        if self.state is EdgeTpuState.BACKOFF:
            self._to(EdgeTpuState.ABSENT)
        if isinstance(outcome, NoDeviceError) and self._failures and not self._cycled:
            # A stick that has left the bus comes back, if at all, with the power of its port: tried once.
            self._rung = Rung.POWER_CYCLE if self._settings.recovery.power_cycles else Rung.RESPAWN
        self._tell_absent(outcome)

    def _tell_absent(self, error: EdgeAgentError) -> None:
        """Each reason once; a warning where an Edge TPU should be, unless its loss was one already."""
        if self._trouble != str(error):
            level = logging.WARNING if self.aspired and self._lost is None else logging.INFO
            logger.log(level, "%s; the CPU serves, and it is looked for again", error.what)
        self._trouble = str(error)

    def _climb(self) -> None:
        rung, device = self._rung, self._device
        assert device is not None
        self._rung = Rung.RESPAWN
        self._cycled |= rung is Rung.POWER_CYCLE
        self._rungs[rung] += 1
        logger.info("Edge TPU %s: trying a %s", device.name, rung.value)
        self._to(EdgeTpuState.RECOVERING)
        self._beside.start(f"edgetpu-{rung.value}", lambda: climb(rung, device.path), self._climbed)

    def _climbed(self, outcome: EdgeAgentError | None) -> None:
        if outcome is not None:
            logger.info("Edge TPU %s: %s", self.name, outcome)
        self._to(EdgeTpuState.BACKOFF)
        self._retry_at = self._now()

    def _not_started(self, error: WorkerError) -> None:
        if edgetpu.is_misfit(error) and not self.has_served:
            self._misfit(error)
        elif isinstance(error, ModelRefusedError) and error.network is not None:
            self._refuse(error.network, str(error))
            self._drop(EdgeTpuState.FOUND)
        else:
            self._fail(error)

    def _prove(self) -> None:
        runner, vetted = self.runner, self._vetted
        assert runner is not None

        def work() -> None:
            for digest, each in vetted.items():
                try:
                    prove(runner, digest, each, self._settings.cross_check_agreement)
                except BundleError as error:
                    error.digest = digest
                    raise

        self._beside.start("edgetpu-proof", work, lambda outcome: self._proved(runner, outcome))

    def _proved(self, runner: Runner, outcome: EdgeAgentError | None) -> None:
        if runner is not self.runner or self.state is not EdgeTpuState.PROVING:
            return
        match outcome:
            case None:
                self._serve(runner)
            case BundleError(digest=str(digest)):
                self._refuse(digest, str(outcome))
                self._drop(EdgeTpuState.FOUND)
            case _:
                self._fail(outcome)

    def _serve(self, runner: Runner) -> None:
        self._to(EdgeTpuState.SERVING)
        self._served_since = self._now()
        self._recoveries += self._losses > self._recoveries
        self._trouble = self._lost = None
        self._cycled, self.has_served = False, True
        self.failed_with.clear()
        self._misfits.clear()
        logger.info(
            "Edge TPU %s is ready: it agrees with the CPU (libedgetpu %s, %s, worker %d)",
            self.name,
            self._version,
            runner.ready.runtime,
            runner.pid,
        )

    def _refuse(self, digest: str, why: str) -> None:
        """These bytes do not run there, however often they are tried."""
        self.refused[digest] = why
        logger.warning("model %s runs on the CPU: %s", digest[:12], why)

    def _misfit(self, error: WorkerError) -> None:
        """This runtime does not go with this libedgetpu: try the other one, else say what to install."""
        self._misfits[self._runtimes[self._turn_of]] = error
        self._turn_of = (self._turn_of + 1) % len(self._runtimes)
        if self._turn_of:
            self._drop(EdgeTpuState.FOUND)
            return
        trouble = edgetpu.misfit(self._settings.library, self._misfits)
        self._misfits.clear()
        if trouble != self._trouble:
            logger.warning("Edge TPU %s: %s; the CPU serves", self.name, trouble)
        self._trouble = trouble
        self._retry_at = self._now() + self._settings.recovery.backoff_max_s
        self._drop(EdgeTpuState.BACKOFF)

    def _fail(self, error: EdgeAgentError) -> None:
        """It did not get as far as to serve: told aloud unless a trouble was told before, or its loss."""
        told = self._lost is not None or self._trouble is not None
        level = logging.DEBUG if told else logging.WARNING
        logger.log(level, "Edge TPU %s: %s; the CPU serves, and it is tried again", self.name, error)
        self._trouble = str(error)
        self.failed_with.update(list(self._vetted))
        self._back_off()

    def _back_off(self) -> None:
        """Longer with each failure in a row, and climb the ladder."""
        self._count_failure()
        self._drop(EdgeTpuState.BACKOFF)

    def _count_failure(self) -> None:
        self._failures += 1
        ladder = self._settings.recovery
        self._rung = rung_for(self._failures - 1, ladder)
        wait_s = delay_s(self._failures, ladder, random.random())  # noqa: S311  spread, not secrecy
        self._retry_at = self._now() + wait_s
        logger.debug("Edge TPU %s is tried again in %.1f s", self.name, wait_s)

    def _drop(self, state: EdgeTpuState) -> None:
        """Let go of the worker; no other is started before it has ended."""
        if self.runner is not None:
            self.runner.dismiss()
            self._leaving = None if self.runner.state is State.EXITED else self.runner
            self._left_by = self._now() + LEAVING_S
            self.runner = None
        self._vetted = {}
        self._to(state)

    def _release(self) -> None:
        if self._taken is not None:
            self._taken.close()
            self._taken = None
        # Without the lock it may be at work for another agent by the time that it is wanted again.
        self._rung = Rung.RESPAWN
        self._to(EdgeTpuState.ABSENT)

    def _to(self, state: EdgeTpuState) -> None:
        self.state = transition(self.state, state)

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9
