"""The agent: builds the rooms, turns the main loop, and takes everything down again."""

from __future__ import annotations

import logging
import queue
import signal
import threading
from collections.abc import Callable
from functools import partial

from edge_agent import assembly
from edge_agent.agent_verbs import Agent, AgentVerbs
from edge_agent.arenas import use_few_arenas
from edge_agent.beside import Beside
from edge_agent.cameras import Bell
from edge_agent.canary import Canary
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import Config
from edge_agent.config.changes import changes, live_part
from edge_agent.config.overrides import Overrides
from edge_agent.control import Control
from edge_agent.control_socket import ControlRequest, ControlServer
from edge_agent.cross_check import CrossCheck
from edge_agent.errors import (
    AnotherAgentError,
    CameraError,
    ConfigError,
    ControlError,
    EdgeAgentError,
    SlotDownError,
)
from edge_agent.frames import Frame, Pixels
from edge_agent.home import Home, home_filters
from edge_agent.intake import Intake
from edge_agent.lane import Lane, LaneCamera
from edge_agent.logs import set_level
from edge_agent.messages import Topics
from edge_agent.mqtt import Listener, Publisher, Received
from edge_agent.outbox import Outbox
from edge_agent.predictions import Prediction
from edge_agent.remote import Remote
from edge_agent.reporter import Reporter
from edge_agent.reporting import report
from edge_agent.reports import Report
from edge_agent.rig import Rig
from edge_agent.shutter import Shutter
from edge_agent.supervisor import Supervisor
from edge_agent.verbs import AgentView, Verbs
from edge_agent.watcher import wait_until_still

logger = logging.getLogger(__name__)

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
    restart: Callable[[], None] | None = None,
) -> int:
    """Run until told to stop, until ``frames`` predictions are made, or until every source has ended.

    ``on_prediction(camera, prediction)`` is called on the lanes' threads; ``reread`` gives the
    configuration anew for SIGHUP, which without it is the end; ``restart`` is called at the end where that
    is a restart, which without it is refused. Returns the exit code 0. Main thread only, for it takes the
    signals.
    Raises ConfigError before anything is started, and the refusal when no slot can serve.
    """
    if not config.cameras:
        raise ConfigError("no camera is configured", "add a section [cameras.<name>] with its source")
    use_few_arenas()
    control = Control()
    try:
        with control.signals_queued():
            daemon = Daemon(
                config,
                control,
                SystemClock(),
                frames,
                on_prediction,
                reread,
                can_restart=restart is not None,
            )
            try:
                daemon.run()
            finally:
                daemon.close()
    finally:
        control.close()
    if restart is not None and daemon.restarting:
        restart()
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
        *,
        can_restart: bool = False,
    ) -> None:
        """Build the rooms, start nothing. Raises ConfigError."""
        self._overrides = Overrides(config)
        config = self._config = self._overrides.config
        self._control = control
        self._clock = clock
        self._frames_left = frames
        self._on_prediction = on_prediction
        self._reread = reread
        self._can_restart = can_restart
        self.restarting = False
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
        session = assembly.new_session()
        self._outbox = Outbox(assembly.outbox_settings(config), clock)
        self._publisher = self._make_publisher(topics, session)
        self._home = Home(config, topics, self._publisher, clock)
        self._reporter = Reporter(self._publisher, topics, session, clock)
        self._reporter.expect(assembly.camera_rules(config))
        self._metrics = assembly.metrics(config, clock)
        self._beside = Beside(control.ring)
        self._intake = Intake(config, self._supervisor, self._beside, clock, control.ring)
        self._asked: queue.SimpleQueue[ControlRequest] = queue.SimpleQueue()
        self._server: ControlServer | None = None
        self._shutter = self._make_shutter(topics)
        self._verbs = self._make_verbs()
        self._remote = self._make_remote(topics)
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
        """Bundles, planned actions, a look at everything; False when there is nothing more to do."""
        self._beside.settle()
        while not self._asked.empty():
            self._verbs.answer(self._asked.get())
        self._remote.answer()
        self._shutter.turn()
        self._intake.turn()
        while self._supervisor.step(hold=self._intake.booting):
            continue
        for news in self._supervisor.news():
            self._intake.successions[news.slot].heard(news)
        told = self._report()
        self._reporter.tell(told)
        if self._metrics is not None:
            self._metrics.turn(told)
        self._home.turn(self._config, told.slots, connected=self._publisher.status().connected)
        down = self._intake.down()
        if self._intake.busy or (down and self._intake.awaits_inbox()) or not self._rig.ended(down):
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
        for listening in (self._server, self._metrics):
            if listening is not None:
                listening.close()
        self._rig.stop(LEAVE_S)
        self._supervisor.dismiss()
        self._reporter.withdraw()
        self._publisher.close(LEAVE_S)
        self._supervisor.close()
        self._intake.close()
        logger.info("agent %s has stopped", self._config.agent.name)

    def _start(self) -> None:
        logger.info("agent %s starts; cameras: %s", self._config.agent.name, ", ".join(self._config.cameras))
        self._listen()
        self._publisher.start()
        self._intake.start()
        self._rig.start()

    def _listen(self) -> None:
        """To the command line; an agent that cannot be asked serves too. Raises AnotherAgentError."""
        path = self._config.agent.socket
        try:
            self._server = ControlServer(path, self._asked, self._control.ring, self._clock)
        except AnotherAgentError:
            raise
        except ControlError as error:
            logger.warning("`edge-agent status` and `edge-agent models` cannot ask: %s", error)

    def _listeners(self, topics: Topics) -> list[Listener]:
        """Who hears what over MQTT."""
        births = [Listener(each, self._hear_birth) for each in home_filters(self._config)]
        if self._config.mqtt.requests == "off":
            return births
        return [Listener(topics.request("#"), self._hear), *births]

    def _hear(self, received: Received) -> None:
        """On the publisher's thread: a request over MQTT."""
        if self._remote.hear(received):
            self._control.ring()

    def _hear_birth(self, received: Received) -> None:
        """On the publisher's thread: Home Assistant's."""
        self._home.hear(received)
        self._control.ring()

    def _make_publisher(self, topics: Topics, session: str) -> Publisher:
        return Publisher(
            assembly.broker_settings(self._config.mqtt),
            topics,
            self._clock,
            listeners=self._listeners(topics),
            session=session,
            outbox=self._outbox,
        )

    def _make_shutter(self, topics: Topics) -> Shutter:
        shutter = Shutter(
            lambda camera, jpeg: self._publisher.publish(topics.image(camera), jpeg, live=True),
            self._seen_part,
            self._beside,
            self._clock,
            self._control.ring,
        )
        shutter.set_rules(assembly.snapshot_rules(self._config))
        return shutter

    def _make_remote(self, topics: Topics) -> Remote:
        return Remote(
            self._verbs,
            topics,
            self._publisher.publish,
            self._config.agent.state_dir / "inbox",
            self._clock,
            may_change=self._config.mqtt.requests == "control",
        )

    def _make_verbs(self) -> Verbs:
        view = AgentView(
            name=self._config.agent.name,
            broker=assembly.broker_settings(self._config.mqtt).where,
            connected=lambda: self._publisher.status().connected,
            report=self._report,
            reporter=self._reporter,
        )
        agent = Agent(
            name=self._config.agent.name,
            config=lambda: self._config,
            cameras=lambda: self._rig.reports(self._intake.down()),
            follow=self._follow,
            lingering=self._rig.lingering,
            restart=self._restart,
        )
        others = AgentVerbs(agent, self._overrides, self._shutter, self._beside).verbs
        still = partial(wait_until_still, settle_s=self._config.updates.settle_s, clock=self._clock)
        return Verbs(view, self._intake.admissions, self._intake.successions, self._beside, others, still)

    def _obey(self, request: signal.Signals) -> None:
        if request is signal.SIGHUP and self._reread is not None:
            self._reload(self._reread)
            return
        logger.info("%s: stopping", request.name)
        self._stopping = True

    def _reload(self, reread: Callable[[], Config]) -> None:
        """Read the configuration again, apply what can change live, and say what was done."""
        before, base = self._config, self._overrides.base
        try:
            self._overrides.base = reread()
            self._follow()
        except ConfigError as error:
            self._overrides.base = base
            logger.error("SIGHUP: the configuration stays as it was: %s", error)  # noqa: TRY400  one line
            return
        for change in changes(before, self._overrides.config):
            logger.info("SIGHUP: %s", change)
        self._supervisor.forgive()
        self._intake.revive()
        logger.info("SIGHUP: done")

    def _follow(self) -> None:
        """Apply what can change live of the configuration and what is laid over it. Raises ConfigError;
        nothing changed then.
        """
        config = self._overrides.config
        if not config.cameras:
            raise ConfigError("no camera is configured", "add a section [cameras.<name>] with its source")
        rules = assembly.camera_rules(config)
        # New cameras before their first frame; the others once it is known that the change is made.
        fresh = rules.keys() - self._config.cameras.keys()
        self._reporter.expect({name: rules[name] for name in fresh})
        removed = self._rig.change(config)
        self._reporter.expect(rules)
        for name in removed:
            self._reporter.forget(name)
        set_level(config.agent.log_level)
        self._config = live_part(self._config, config)
        self._intake.set_rules(self._config)
        self._shutter.set_rules(assembly.snapshot_rules(self._config))

    def _restart(self) -> None:
        """End, and be started again. Raises ControlError or ConfigError where that would go wrong."""
        if self._reread is None or not self._can_restart:
            raise ControlError("this agent cannot start itself again", "end it, and start it again")
        self._reread()
        logger.info("restarting, as was asked")
        self._stopping = self.restarting = True

    def _drain(self) -> None:
        """Let the broker acknowledge the last predictions; SIGTERM or SIGINT ends the wait."""
        deadline_ns = self._clock.monotonic_ns() + int(DRAIN_S * 1e9)
        while not self._publisher.drain(TURN_S):
            told_to_stop = any(request is not signal.SIGHUP for request in self._control.requests())
            if told_to_stop or self._clock.monotonic_ns() > deadline_ns:
                logger.warning("%d messages did not reach the broker", self._publisher.status().queued)
                return

    def _report(self) -> Report:
        return report(
            self._supervisor,
            self._intake,
            self._rig,
            self._publisher.status(),
            self._outbox.status(),
            (self._server, self._overrides, self._metrics),
        )

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
            self._canary(slot),
        )

    def _canary(self, slot: str) -> Canary | None:
        rule = assembly.canary_rule(self._config, slot)
        return None if rule is None else Canary(slot, rule, self._clock)

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
        if not camera.lossless and (told := self._config.cameras.get(camera.name)) and told.paused:
            return  # it was on its way
        with self._counted:
            if self._frames_left is not None:
                if self._frames_left == 0:
                    return
                self._frames_left -= 1
                # Never back to False: the main thread may just have been told to stop.
                self._stopping |= self._frames_left == 0
        self._intake.successions[prediction.model.slot].observe(prediction)
        began = self._reporter.prediction(camera.name, prediction, live=not camera.lossless)
        if self._metrics is not None:
            self._metrics.tally.predicted(camera.name, prediction)
        self._shutter.see(camera.name, prediction, began=began)
        if self._on_prediction is not None:
            self._on_prediction(camera.name, prediction)
        if self._stopping:
            self._control.ring()

    def _seen_part(self, prediction: Prediction) -> Pixels:
        """What the model looks at of a frame. Raises SlotDownError, CameraError where none serves now."""
        serving = self._supervisor.serving(prediction.model.slot, 0.0)
        if serving is None:
            raise CameraError("no model serves now", "try again")
        return serving.preprocessor.seen_part(prediction.frame.pixels)

    def _fail(self, camera: LaneCamera, frame: Frame, error: EdgeAgentError) -> None:
        """On a lane's thread: a frame could not be looked at."""
        self._reporter.failed(camera.name, frame.number, error)
        if self._metrics is not None:
            self._metrics.tally.failed(camera.name)

    def _has_room(self) -> bool:
        """On a lane's thread: whether what must not be lost would be kept."""
        return self._publisher.wait_for_room(0.0)
