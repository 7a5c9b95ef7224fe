"""All the rooms of an agent, built from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edge_agent import assembly
from edge_agent.agent_verbs import Agent, AgentVerbs
from edge_agent.beside import Beside
from edge_agent.cameras import Bell
from edge_agent.canary import Canary
from edge_agent.clock import Clock
from edge_agent.config import Config
from edge_agent.config.overrides import Overrides
from edge_agent.delivery import Delivery, OnPrediction, seen_part
from edge_agent.following import Following
from edge_agent.home import Home, home_filters
from edge_agent.intake import Intake
from edge_agent.lane import Lane
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


class Rooms:
    """Built, not started. Its methods belong to the main thread."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        ring: Callable[[], None],
        restart: Callable[[], None],
        *,
        frames: int | None = None,
        on_prediction: OnPrediction | None = None,
    ) -> None:
        """``ring`` ends the wait of the main loop; ``restart`` begins one, or raises why not. Raises
        ConfigError.
        """
        self._clock = clock
        self._ring = ring
        self._restart = restart
        self.overrides = Overrides(config)
        config = self.overrides.config
        topics, session = assembly.topics(config), assembly.new_session()
        self.beside = Beside(ring)
        self.supply = Supply(self.beside, clock)
        self.supervisor = self._make_supervisor(config)
        self.outbox = Outbox(assembly.outbox_settings(config), clock)
        self.publisher = self._make_publisher(config, topics, session)
        self.home = Home(config, topics, self.publisher, clock, self._later)
        told = told_file(config.agent.state_dir, self._later, clock)
        self.reporter = Reporter(self.publisher, topics, session, clock, told)
        self.metrics = assembly.metrics(config, clock)
        self.intake = Intake(config, self.supervisor, self.beside, clock, ring)
        self.shutter = self._make_shutter(topics)
        self.delivery = self._make_delivery(frames, on_prediction)
        self.rig = Rig(config, self._make_lane, clock)
        self.following = Following(
            self.overrides, self.supervisor, self.intake, self.rig, self.reporter, self.shutter
        )
        self.reception = self._make_reception(config, topics)

    @property
    def config(self) -> Config:
        """What is in force."""
        return self.following.config

    def report(self) -> Report:
        """The agent as it stands."""
        return report(
            self.supervisor,
            self.intake,
            self.rig,
            self.publisher.status(),
            self.outbox.status(),
            self.supply,
            (self.reception, self.overrides, self.metrics),
        )

    def _later(self, work: Callable[[], None]) -> None:
        """Do it beside the main loop, which does not wait for a card."""
        self.beside.start("state", work, lambda _: None)

    def _make_supervisor(self, config: Config) -> Supervisor:
        return Supervisor(
            assembly.worker_settings(config.inference),
            config.inference.timeout_s,
            self._clock,
            self._ring,
            edgetpu=assembly.edgetpu_settings(config.inference),
            standby=config.inference.standby,
        )

    def _make_publisher(self, config: Config, topics: Topics, session: str) -> Publisher:
        listeners = [Listener(each, self._hear_birth) for each in home_filters(config)]
        if config.mqtt.requests != "off":
            listeners.append(Listener(topics.request("#"), lambda received: self.reception.hear(received)))
        return Publisher(
            assembly.broker_settings(config.mqtt),
            topics,
            self._clock,
            listeners=listeners,
            session=session,
            outbox=self.outbox,
        )

    def _hear_birth(self, received: Received) -> None:
        """On the publisher's thread: Home Assistant's."""
        self.home.hear(received)
        self._ring()

    def _make_shutter(self, topics: Topics) -> Shutter:
        return Shutter(
            lambda camera, jpeg: self.publisher.publish(topics.image(camera), jpeg, live=True),
            partial(seen_part, self.supervisor),
            self.beside,
            self._clock,
            self._ring,
        )

    def _make_delivery(self, frames: int | None, on_prediction: OnPrediction | None) -> Delivery:
        return Delivery(
            self.supervisor,
            self.intake.successions,
            self.publisher,
            self.reporter,
            self.shutter,
            self._is_paused,
            self._ring,
            tally=self.metrics.tally if self.metrics is not None else None,
            frames=frames,
            on_prediction=on_prediction,
        )

    def _make_lane(self, slot: str, bell: Bell) -> Lane:
        config = self.overrides.config
        rule = assembly.canary_rule(config, slot)
        canary = None if rule is None else Canary(slot, rule, self._clock)
        edgetpu = assembly.edgetpu_settings(config.inference)
        return self.delivery.lane(edgetpu, canary, self._clock, slot, bell)

    def _is_paused(self, camera: str) -> bool:
        """On a lane's thread."""
        told = self.config.cameras.get(camera)
        return told is not None and told.paused

    def _make_reception(self, config: Config, topics: Topics) -> Reception:
        verbs = self._make_verbs(config)
        remote = Remote(
            verbs,
            topics,
            self.publisher.publish,
            config.agent.state_dir / "inbox",
            self._clock,
            may_change=config.mqtt.requests == "control",
            discovery_prefix=config.mqtt.home_assistant.discovery_prefix,
        )
        return Reception(verbs, remote, self._ring, self._clock)

    def _make_verbs(self, config: Config) -> Verbs:
        view = AgentView(
            name=config.agent.name,
            broker=assembly.broker_settings(config.mqtt).where,
            connected=lambda: self.publisher.status().connected,
            report=self.report,
            reporter=self.reporter,
        )
        agent = Agent(
            name=config.agent.name,
            config=lambda: self.config,
            cameras=lambda: self.rig.reports(self.intake.down()),
            follow=self.following.follow,
            lingering=self.rig.lingering,
            restart=self._restart,
        )
        others = AgentVerbs(agent, self.overrides, self.shutter, self.beside).verbs
        still = partial(wait_until_still, settle_s=config.updates.settle_s, clock=self._clock)
        return Verbs(view, self.intake.admissions, self.intake.successions, self.beside, others, still)
