"""The agent: builds the rooms, turns the main loop, and takes everything down again."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from functools import partial

from edge_agent import assembly
from edge_agent.agent_verbs import Agent, AgentVerbs
from edge_agent.arenas import use_few_arenas
from edge_agent.beside import Beside
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import Config
from edge_agent.config.overrides import Overrides
from edge_agent.control import Control
from edge_agent.delivery import Delivery, OnPrediction, seen_part
from edge_agent.errors import ControlError, SlotDownError
from edge_agent.following import Following, require_camera
from edge_agent.home import Home, home_filters
from edge_agent.intake import Intake
from edge_agent.messages import Topics
from edge_agent.mqtt import Listener, Publisher, Received
from edge_agent.outbox import Outbox
from edge_agent.reception import Reception
from edge_agent.remote import Remote
from edge_agent.reporter import Reporter
from edge_agent.reporting import report
from edge_agent.reports import Report
from edge_agent.rig import Rig
from edge_agent.shutter import Shutter
from edge_agent.supervisor import Supervisor
from edge_agent.supply import Supply
from edge_agent.told import told_file
from edge_agent.verbs import AgentView, Verbs
from edge_agent.watcher import wait_until_still

logger = logging.getLogger(__name__)

TURN_S = 0.5
"""The longest turn of the main loop: changes that nothing rings for are told within it."""

DRAIN_S = 30.0
"""How long the last predictions of files and folders wait for a broker."""

LEAVE_S = 0.6
"""Of the two seconds that SIGTERM leaves us: the frames on their way get this, and the broker as much."""


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
    require_camera(config)
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
    # Whoever sends SIGTERM while it goes down means the end; from here on it ends the process by itself.
    if restart is not None and daemon.restarting and not control.told_to_end:
        restart()
    return 0


class Daemon:
    """All the rooms of a running agent. Its methods belong to the main thread."""

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
        config = self._overrides.config
        self._control = control
        self._clock = clock
        self._reread = reread
        self._can_restart = can_restart
        self.restarting = False
        self._stopping = False
        topics = assembly.topics(config)
        session = assembly.new_session()
        edgetpu = assembly.edgetpu_settings(config.inference)
        self._supervisor = Supervisor(
            assembly.worker_settings(config.inference),
            config.inference.timeout_s,
            clock,
            control.ring,
            edgetpu=edgetpu,
            standby=config.inference.standby,
        )
        self._outbox = Outbox(assembly.outbox_settings(config), clock)
        self._publisher = self._make_publisher(config, topics, session)
        self._beside = Beside(control.ring)
        self._supply = Supply(self._beside, clock)
        self._home = Home(config, topics, self._publisher, clock, self._later)
        told = told_file(config.agent.state_dir, self._later)
        self._reporter = Reporter(self._publisher, topics, session, clock, told)
        self._intake = Intake(config, self._supervisor, self._beside, clock, control.ring)
        self._shutter = self._make_shutter(topics)
        self._delivery = Delivery(
            self._supervisor,
            self._intake.successions,
            self._publisher,
            self._reporter,
            self._shutter,
            self._is_paused,
            control.ring,
            frames=frames,
            on_prediction=on_prediction,
        )
        self._rig = Rig(config, partial(self._delivery.lane, edgetpu, clock), clock)
        self._following = Following(
            self._overrides, self._supervisor, self._intake, self._rig, self._reporter, self._shutter
        )
        self._reception = self._make_reception(config, topics)

    def run(self) -> None:
        """The main loop, until it is told to stop or every source has ended."""
        self._start()
        while not (self._stopping or self._delivery.full) and self._turn():
            self._control.wait(TURN_S, self._supervisor.awaited())
            for request in self._control.requests():
                self._obey(request)

    def _turn(self) -> bool:
        """Bundles, planned actions, a look at everything; False when there is nothing more to do."""
        self._beside.settle()
        self._reception.turn()
        self._shutter.turn()
        self._supply.turn()
        self._intake.turn()
        while self._supervisor.step(hold=self._intake.booting):
            continue
        for news in self._supervisor.news():
            self._intake.successions[news.slot].heard(news)
        told = self._report()
        self._reporter.tell(told)
        self._home.turn(self._following.config, told.slots, connected=self._publisher.status().connected)
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
        self._reception.close()
        self._rig.stop(LEAVE_S)
        self._supervisor.dismiss()
        self._reporter.withdraw()
        self._publisher.close(LEAVE_S)
        self._supervisor.close()
        self._intake.close()
        logger.info("agent %s has stopped", self._following.config.agent.name)

    def _start(self) -> None:
        config = self._following.config
        logger.info("agent %s starts; cameras: %s", config.agent.name, ", ".join(config.cameras))
        self._reception.open(config.agent.socket)
        self._publisher.start()
        self._intake.start()
        self._rig.start()

    def _later(self, work: Callable[[], None]) -> None:
        """Do it beside the main loop, which does not wait for a card."""
        self._beside.start("state", work, lambda _: None)

    def _make_publisher(self, config: Config, topics: Topics, session: str) -> Publisher:
        listeners = [Listener(each, self._hear_birth) for each in home_filters(config)]
        if config.mqtt.requests != "off":
            listeners.append(Listener(topics.request("#"), lambda received: self._reception.hear(received)))
        return Publisher(
            assembly.broker_settings(config.mqtt),
            topics,
            self._clock,
            listeners=listeners,
            session=session,
            outbox=self._outbox,
        )

    def _hear_birth(self, received: Received) -> None:
        """On the publisher's thread: Home Assistant's."""
        self._home.hear(received)
        self._control.ring()

    def _make_shutter(self, topics: Topics) -> Shutter:
        return Shutter(
            lambda camera, jpeg: self._publisher.publish(topics.image(camera), jpeg, live=True),
            partial(seen_part, self._supervisor),
            self._beside,
            self._clock,
            self._control.ring,
        )

    def _is_paused(self, camera: str) -> bool:
        """On a lane's thread."""
        told = self._following.config.cameras.get(camera)
        return told is not None and told.paused

    def _make_reception(self, config: Config, topics: Topics) -> Reception:
        verbs = self._make_verbs(config)
        remote = Remote(
            verbs,
            topics,
            self._publisher.publish,
            config.agent.state_dir / "inbox",
            self._clock,
            may_change=config.mqtt.requests == "control",
            discovery_prefix=config.mqtt.home_assistant.discovery_prefix,
        )
        return Reception(verbs, remote, self._control.ring, self._clock)

    def _make_verbs(self, config: Config) -> Verbs:
        view = AgentView(
            name=config.agent.name,
            broker=assembly.broker_settings(config.mqtt).where,
            connected=lambda: self._publisher.status().connected,
            report=self._report,
            reporter=self._reporter,
        )
        agent = Agent(
            name=config.agent.name,
            config=lambda: self._following.config,
            cameras=lambda: self._rig.reports(self._intake.down()),
            follow=self._following.follow,
            lingering=self._rig.lingering,
            restart=self._restart,
        )
        others = AgentVerbs(agent, self._overrides, self._shutter, self._beside).verbs
        still = partial(wait_until_still, settle_s=config.updates.settle_s, clock=self._clock)
        return Verbs(view, self._intake.admissions, self._intake.successions, self._beside, others, still)

    def _obey(self, request: signal.Signals) -> None:
        if request is signal.SIGHUP and self._reread is not None:
            self._following.reload(self._reread)
            return
        logger.info("%s: stopping", request.name)
        self._stopping = True

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
            if self._control.told_to_end or self._clock.monotonic_ns() > deadline_ns:
                logger.warning("%d messages did not reach the broker", self._publisher.status().queued)
                return

    def _report(self) -> Report:
        return report(
            self._supervisor,
            self._intake,
            self._rig,
            self._publisher.status(),
            self._outbox.status(),
            self._supply,
            (self._reception, self._overrides),
        )
