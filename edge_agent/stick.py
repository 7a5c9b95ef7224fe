"""The Edge TPU of this agent, from its being found to its being lost, and back.

:func:`edge_agent.planning.plan` names the steps and the supervisor passes them on; here they are taken. What
may take long (asking libedgetpu, a rung of the recovery ladder, the proof) runs beside the main loop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from edge_agent import edgetpu
from edge_agent.actions import Climb, Look, Prove, Release, RetireEdgeTpu
from edge_agent.beside import Beside
from edge_agent.bus import BusWatch
from edge_agent.clock import Clock
from edge_agent.edgetpu import Device, EdgeTpuSettings, Taken
from edge_agent.errors import (
    BundleError,
    DeviceBusyError,
    DisagreementError,
    EdgeAgentError,
    ModelRefusedError,
    NoDeviceError,
    WorkerError,
)
from edge_agent.planning import StickView
from edge_agent.proof import compiled_refusal, prove
from edge_agent.recovery import Rung, climb
from edge_agent.runner import Runner
from edge_agent.states import EdgeTpuState, State, transition
from edge_agent.stick_faults import Faults
from edge_agent.stick_status import Heard, StickStatus
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)

LEAVING_S = 10.0
"""A worker that was killed and is still there hangs in the kernel: libedgetpu waits 6 s for a transfer."""


class Stick:
    """One Edge TPU and its worker. Used under the supervisor's lock; ``listen`` and the work beside need
    none.

    ``faults`` remembers what failed there.
    """

    def __init__(self, settings: EdgeTpuSettings, clock: Clock, wake: Callable[[], None]) -> None:
        self.runner: Runner | None = None
        self.state = EdgeTpuState.ABSENT
        self.faults = Faults(settings.recovery, edgetpu.runtimes(settings.runtime))
        self._settings = settings
        self._clock = clock
        self._beside = Beside(wake)
        self._watch = BusWatch()
        self._taken: Taken | None = None
        self._vetted: Mapping[str, VettedBundle] = {}
        self._leaving: Runner | None = None
        self._look_at = self._served_since = self._left_by = 0.0
        self._losses = self._recoveries = 0
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

    def view(self, serves: Mapping[str, str], *, hold: bool) -> StickView:
        """What the plan is to know; ``serves``: the slots that the worker serves, each with the digest.

        One whose last worker cannot be ended is as good as absent.
        """
        blocked = self._is_blocked()
        return StickView(
            state=EdgeTpuState.ABSENT if blocked else self.state,
            networks=frozenset(self._vetted),
            serves=dict(serves),
            busy=self._beside.busy or self._leaving is not None,
            look_at=math.inf if blocked else self._look_at,
            retry_at=self.faults.retry_at,
            rung_due=self.faults.rung is not Rung.RESPAWN,
            hold=hold,
        )

    def _is_blocked(self) -> bool:
        return self._leaving is not None and self._now() > self._left_by

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
            dict(self.faults.rungs),
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

    def look_again(self) -> None:
        """Somebody needs it: what the last look said may no longer hold."""
        self._look_at = self._now()

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
        if self._leaving is not None and self._is_blocked():
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
            self.faults.refuse(digest, refusal)
        if refusals:
            return
        try:
            settings = edgetpu.worker_settings(self._settings, self._taken, self.faults.runtime)
            models = {digest: each.compiled for digest, each in vetted.items() if each.compiled}
            self.runner = Runner(models, settings, self._clock)
        except WorkerError as error:
            self._fail(error)
            return
        self._vetted = dict(vetted)
        self.faults.rungs[Rung.RESPAWN] += self.faults.in_a_row > 0
        self._to(EdgeTpuState.STARTING)

    def lost(self, error: WorkerError) -> None:
        """The serving worker is dead, stuck, or not to be believed."""
        self.faults.lost(self._now() - self._served_since)
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
                self.faults.forget_suspects()
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
        if isinstance(outcome, NoDeviceError):
            self.faults.left_the_bus()
        self._tell_absent(outcome)

    def _tell_absent(self, error: EdgeAgentError) -> None:
        """Each reason once; a warning where an Edge TPU should be, unless its loss was one already."""
        if self._trouble != str(error):
            level = logging.WARNING if self.aspired and self._lost is None else logging.INFO
            logger.log(level, "%s; the CPU serves, and it is looked for again", error.what)
        self._trouble = str(error)

    def _climb(self) -> None:
        device = self._device
        assert device is not None
        rung = self.faults.climbing()
        logger.info("Edge TPU %s: trying a %s", device.name, rung.value)
        self._to(EdgeTpuState.RECOVERING)
        self._beside.start(f"edgetpu-{rung.value}", lambda: climb(rung, device.path), self._climbed)

    def _climbed(self, outcome: EdgeAgentError | None) -> None:
        if outcome is not None:
            logger.info("Edge TPU %s: %s", self.name, outcome)
        self._to(EdgeTpuState.BACKOFF)
        self.faults.retry_at = self._now()

    def _not_started(self, error: WorkerError) -> None:
        if edgetpu.is_misfit(error) and not self.has_served:
            self._misfit(error)
        elif isinstance(error, ModelRefusedError) and error.network is not None:
            self.faults.refuse(error.network, str(error))
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
                except (BundleError, DisagreementError) as error:
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
                self.faults.refuse(digest, str(outcome))
                self._drop(EdgeTpuState.FOUND)
            case _:
                self._fail(outcome)

    def _serve(self, runner: Runner) -> None:
        self._to(EdgeTpuState.SERVING)
        self._served_since = self._now()
        self._recoveries += self._losses > self._recoveries
        self._trouble = self._lost = None
        self.has_served = True
        self.faults.served(self._vetted)
        logger.info(
            "Edge TPU %s is ready: it agrees with the CPU (libedgetpu %s, %s, worker %d)",
            self.name,
            self._version,
            runner.ready.runtime,
            runner.pid,
        )

    def _misfit(self, error: WorkerError) -> None:
        """This runtime does not go with this libedgetpu: try the other one, else say what to install."""
        misfits = self.faults.misfit(error)
        if misfits is None:
            self._drop(EdgeTpuState.FOUND)
            return
        trouble = edgetpu.misfit(self._settings.library, misfits)
        if trouble != self._trouble:
            logger.warning("Edge TPU %s: %s; the CPU serves", self.name, trouble)
        self._trouble = trouble
        self.faults.pause(self._now())
        self._drop(EdgeTpuState.BACKOFF)

    def _fail(self, error: EdgeAgentError) -> None:
        """It did not get as far as to serve: told aloud unless a trouble was told before, or its loss."""
        told = self._lost is not None or self._trouble is not None
        level = logging.DEBUG if told else logging.WARNING
        logger.log(level, "Edge TPU %s: %s; the CPU serves, and it is tried again", self.name, error)
        self._trouble = str(error)
        self.faults.blame(self._vetted, error)
        self._back_off()

    def _back_off(self) -> None:
        """Longer with each failure in a row, and climb the ladder."""
        self._count_failure()
        self._drop(EdgeTpuState.BACKOFF)

    def _count_failure(self) -> None:
        wait_s = self.faults.count(self._now())
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
        self.faults.rung = Rung.RESPAWN
        self.faults.forget_suspects()
        self._to(EdgeTpuState.ABSENT)

    def _to(self, state: EdgeTpuState) -> None:
        self.state = transition(self.state, state)

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9
