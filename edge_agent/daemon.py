"""The agent: builds the rooms, turns the main loop, and takes everything down again."""

from __future__ import annotations

import ctypes
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from edge_agent import assembly
from edge_agent.beside import Beside
from edge_agent.cameras import Bell
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import Config
from edge_agent.config.changes import changes, without_effect
from edge_agent.control import Control
from edge_agent.cross_check import CrossCheck
from edge_agent.errors import BundleError, ConfigError, EdgeAgentError, SlotDownError
from edge_agent.frames import Frame
from edge_agent.lane import Lane, LaneCamera
from edge_agent.logs import set_level
from edge_agent.mqtt import Publisher
from edge_agent.predictions import Prediction
from edge_agent.proof import HINT_NO_TWIN
from edge_agent.reporter import Refusal, Report, Reporter, SlotReport
from edge_agent.rig import Rig
from edge_agent.slot import SlotStatus
from edge_agent.supervisor import Supervisor
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.worker_process import WorkerSettings

logger = logging.getLogger(__name__)

M_ARENA_MAX = -8
"""Of malloc.h, for mallopt(3)."""

TURN_S = 0.5
"""The longest turn of the main loop: changes that nothing rings for are told within it."""

DRAIN_S = 30.0
"""How long the last predictions of files and folders wait for a broker."""

LEAVE_S = 0.6
"""Of the two seconds that SIGTERM leaves us: the frames on their way get this, and the broker as much."""

OnPrediction = Callable[[str, Prediction], None]


def run_daemon(
    config: Config,
    *,
    frames: int | None = None,
    on_prediction: OnPrediction | None = None,
    reread: Callable[[], Config] | None = None,
) -> int:
    """Run until told to stop, until ``frames`` predictions are made, or until every source has ended.

    ``on_prediction(camera, prediction)`` is called on the lanes' threads; ``reread`` gives the
    configuration anew for SIGHUP, which without it is the end. Returns the exit code 0. Main thread only,
    for it takes the signals.
    Raises ConfigError before anything is started, and the refusal when no slot can serve.
    """
    if not config.cameras:
        raise ConfigError("no camera is configured", "add a section [cameras.<name>] with its source")
    _use_few_arenas()
    control = Control()
    try:
        with control.signals_queued():
            daemon = Daemon(config, control, SystemClock(), frames, on_prediction, reread)
            try:
                daemon.run()
            finally:
                daemon.close()
    finally:
        control.close()
    return 0


class Daemon:
    """All the rooms of a running agent. Its methods belong to the main thread, but for the three that a
    lane is given.
    """

    def __init__(
        self,
        config: Config,
        control: Control,
        clock: Clock,
        frames: int | None = None,
        on_prediction: OnPrediction | None = None,
        reread: Callable[[], Config] | None = None,
    ) -> None:
        """Build the rooms, start nothing. Raises ConfigError."""
        self._config = config
        self._control = control
        self._clock = clock
        self._frames_left = frames
        self._on_prediction = on_prediction
        self._reread = reread
        topics = assembly.topics(config)
        self._supervisor = Supervisor(
            assembly.worker_settings(config.inference),
            config.inference.timeout_s,
            clock,
            control.ring,
            edgetpu=assembly.edgetpu_settings(config.inference),
            standby=config.inference.standby,
        )
        self._rig = Rig(config, self._lane, clock)
        self._publisher = Publisher(assembly.broker_settings(config.mqtt), topics, clock)
        self._reporter = Reporter(self._publisher, topics, assembly.new_session(), clock)
        self._beside = Beside(control.ring)
        self._vetting: set[str] = set()
        self._refusals: dict[str, Refusal] = {}
        self._stopping = False
        self._counted = threading.Lock()

    def run(self) -> None:
        """The main loop, until it is told to stop or every source has ended."""
        self._start()
        while not self._stopping and self._turn():
            self._control.wait(TURN_S, self._supervisor.awaited())
            for request in self._control.requests():
                self._obey(request)

    def _turn(self) -> bool:
        """Vetted bundles, planned actions, a look at everything; False when there is nothing more to do."""
        self._beside.settle()
        while self._supervisor.step(hold=bool(self._vetting)):
            continue
        self._reporter.tell(self._report())
        down = self._down()
        if self._vetting or not self._rig.ended(down):
            return True
        logger.info("every source has ended")
        self._reporter.tell(self._report())
        self._drain()
        if blocked := self._rig.blocked(down):
            what = f"not seen to the end, for nothing serves the slot: {', '.join(blocked)}"
            raise SlotDownError(what, "see the errors above")
        return False

    def close(self) -> None:
        """Let what is on its way be answered, say that we go, and go; in two seconds whatever hangs."""
        self._rig.stop(LEAVE_S)
        self._supervisor.dismiss()
        self._reporter.withdraw()
        self._publisher.close(LEAVE_S)
        self._supervisor.close()
        logger.info("agent %s has stopped", self._config.agent.name)

    def _start(self) -> None:
        for key in without_effect(self._config):
            logger.warning("%s: this version does not act on it yet", key)
        logger.info("agent %s starts; cameras: %s", self._config.agent.name, ", ".join(self._config.cameras))
        self._publisher.start()
        for slot in self._config.models:
            self._vet(slot)
        self._rig.start()

    def _vet(self, slot: str) -> None:
        """Begin to vet the slot's bundle beside the main loop, which must go on hearing signals."""
        self._vetting.add(slot)
        path, settings = self._config.models[slot].path, assembly.worker_settings(self._config.inference)
        self._beside.start(
            f"vet-{slot}",
            lambda: self._look_at(path, settings),
            lambda outcome: self._settle(slot, outcome),
        )

    def _look_at(self, path: Path, settings: WorkerSettings) -> VettedBundle:
        """In a thread beside: the bundle, if there is something that will run it. Raises EdgeAgentError."""
        vetted = vet_bundle(path, settings, self._clock)
        if self._config.inference.device == "cpu":
            vetted.for_cpu()
        return vetted

    def _settle(self, slot: str, outcome: VettedBundle | EdgeAgentError) -> None:
        """Aspire to what was vetted, or hold the refusal. Raises it when nothing serves or ever will."""
        self._vetting.discard(slot)
        if isinstance(outcome, VettedBundle):
            self._refusals.pop(slot, None)
            for warning in outcome.bundle.warnings:
                logger.warning("slot %s: %s", slot, warning)
            if outcome.compiled is None and self._config.inference.device != "cpu":
                logger.info("slot %s: %s", slot, HINT_NO_TWIN)
            self._supervisor.aspire(slot, outcome, assembly.ranking_rule(self._config.models[slot]))
            return
        digest = outcome.digest if isinstance(outcome, BundleError) else None
        self._refusals[slot] = Refusal(digest, self._clock.wall_ns(), str(outcome))
        if not self._vetting and not self._supervisor.status():
            raise outcome
        logger.error("slot %s serves nothing: %s", slot, outcome)

    def _obey(self, request: signal.Signals) -> None:
        if request is signal.SIGHUP and self._reread is not None:
            self._reload(self._reread)
            return
        logger.info("%s: stopping", request.name)
        self._stopping = True

    def _reload(self, reread: Callable[[], Config]) -> None:
        """Read the configuration again, apply what can change live, and say what was done."""
        try:
            config = reread()
            if not config.cameras:
                raise ConfigError("no camera is configured", "add a section [cameras.<name>] with its source")
            self._reporter.expect(config.cameras)
            removed = self._rig.change(config)
        except ConfigError as error:
            logger.error("SIGHUP: the configuration stays as it was: %s", error)  # noqa: TRY400  one line
            return
        for change in changes(self._config, config):
            logger.info("SIGHUP: %s", change)
        for name in removed:
            self._reporter.forget(name)
        self._apply(config)

    def _apply(self, config: Config) -> None:
        """Log level and ranking rules of ``config``; slots that are down get another chance."""
        set_level(config.agent.log_level)
        for status in self._supervisor.status():
            if status.slot in config.models:
                self._supervisor.set_rule(status.slot, assembly.ranking_rule(config.models[status.slot]))
        # What needs a restart stays as it was started; the rest is as it reads now.
        slots = {
            slot: config.models.get(slot, model).model_copy(update={"path": model.path})
            for slot, model in self._config.models.items()
        }
        agent = self._config.agent.model_copy(update={"log_level": config.agent.log_level})
        cameras = {name: each for name, each in config.cameras.items() if each.model in slots}
        update = {"models": slots, "agent": agent, "cameras": cameras}
        self._config = self._config.model_copy(update=update)
        self._supervisor.forgive()
        for slot in self._down():
            self._vet(slot)
        logger.info("SIGHUP: done")

    def _down(self) -> list[str]:
        """Slots that serve nothing and that nothing is done about."""
        serving = {status.slot for status in self._supervisor.status() if not status.is_down}
        return [slot for slot in self._config.models if slot not in serving | self._vetting]

    def _drain(self) -> None:
        """Let the broker acknowledge the last predictions; SIGTERM or SIGINT ends the wait."""
        deadline_ns = self._clock.monotonic_ns() + int(DRAIN_S * 1e9)
        while not self._publisher.drain(TURN_S):
            told_to_stop = any(request is not signal.SIGHUP for request in self._control.requests())
            if told_to_stop or self._clock.monotonic_ns() > deadline_ns:
                logger.warning("%d messages did not reach the broker", self._publisher.status().queued)
                return

    def _report(self) -> Report:
        known = {status.slot: status for status in self._supervisor.status()}
        slots = [self._slot_report(slot, known.get(slot)) for slot in self._config.models]
        publisher = self._publisher.status()
        faults = [fault for slot in slots if (fault := slot.fault)] + self._rig.faults()
        if publisher.fault:
            faults.append(f"broker: {publisher.fault}")
        device = self._supervisor.device()
        if device.degraded:
            faults.append(f"not on the Edge TPU: {device.trouble}")
        return Report(
            device=device,
            slots=slots,
            cameras=self._rig.reports(),
            cross_checks=self._rig.cross_checks(),
            faults=faults,
            dropped=publisher.dropped,
        )

    def _slot_report(self, slot: str, status: SlotStatus | None) -> SlotReport:
        return SlotReport(slot, slot in self._vetting, status, self._refusals.get(slot))

    def _lane(self, slot: str, bell: Bell) -> Lane:
        return Lane(
            slot,
            bell,
            self._supervisor,
            self._clock,
            self._deliver,
            self._fail,
            self._has_room,
            self._cross_check(slot),
        )

    def _cross_check(self, slot: str) -> CrossCheck | None:
        settings = assembly.edgetpu_settings(self._config.inference)
        if settings is None or not settings.cross_check_every:
            return None
        return CrossCheck(
            settings.cross_check_every,
            settings.cross_check_agreement,
            lambda: self._supervisor.standby(slot),
            self._supervisor.lost,
        )

    def _deliver(self, camera: LaneCamera, prediction: Prediction) -> None:
        """On a lane's thread: one prediction is there."""
        with self._counted:
            if self._frames_left is not None:
                if self._frames_left == 0:
                    return
                self._frames_left -= 1
                # Never back to False: the main thread may just have been told to stop.
                self._stopping |= self._frames_left == 0
        self._reporter.prediction(camera.name, prediction, live=not camera.lossless)
        if self._on_prediction is not None:
            self._on_prediction(camera.name, prediction)
        if self._stopping:
            self._control.ring()

    def _fail(self, camera: LaneCamera, frame: Frame, error: EdgeAgentError) -> None:
        """On a lane's thread: a frame could not be looked at."""
        self._reporter.failed(camera.name, frame.number, error)

    def _has_room(self) -> bool:
        """On a lane's thread: whether what must not be lost would be kept."""
        return self._publisher.wait_for_room(0.0)


def _use_few_arenas() -> None:
    """Let all threads share two heaps: glibc gives each thread its own, and each keeps the largest pictures
    that it ever held (some 20 MB with every camera that fails and comes back).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)
