"""The agent as Home Assistant sees it, from the configuration and from what serves."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent import __version__
from edge_agent.announced import announced_file
from edge_agent.announcer import Announcer, Resending
from edge_agent.clock import Clock
from edge_agent.config import Config
from edge_agent.homeassistant import AgentProfile, CameraProfile, birth_topic
from edge_agent.identity import agent_id
from edge_agent.messages import Topics
from edge_agent.mqtt import Received
from edge_agent.reports import SlotReport
from edge_agent.soc import board, temperature_c
from edge_agent.state_file import Later

BOOT_S = 10.0
"""A slot's first model serves by then, else its cameras are announced without their labels: an announcement
that has them a moment later would rebuild the entities for nothing.
"""


def home_filters(config: Config) -> tuple[str, ...]:
    """What must be subscribed to for Home Assistant."""
    settings = config.mqtt.home_assistant
    return (birth_topic(settings.discovery_prefix),) if settings.enabled else ()


class Home:
    """Belongs to the main thread, but for ``hear``. Where Home Assistant is not to see the agent, what it saw
    before is taken back.
    """

    def __init__(
        self, config: Config, topics: Topics, publisher: Resending, clock: Clock, later: Later
    ) -> None:
        settings = config.mqtt.home_assistant
        state_dir = config.agent.state_dir
        self._id = agent_id(state_dir, config.agent.name) if settings.enabled else None
        self._topics = topics
        self._clock = clock
        self._begun_ns = clock.monotonic_ns()
        self._board = board()
        self._has_soc = temperature_c() is not None
        self._labels: dict[str, tuple[tuple[str, ...], bool]] = {}
        announced = announced_file(state_dir, later, clock)
        self._announcer = Announcer(publisher, settings.discovery_prefix, announced, clock)

    def hear(self, received: Received) -> None:
        """On the publisher's thread: what came under its filters."""
        self._announcer.hear(received)

    def turn(self, config: Config, slots: Sequence[SlotReport], *, connected: bool) -> None:
        """Tell what changed, and do what is due."""
        if self._id is None:
            self._announcer.withdraw()
        elif self._settled(slots):
            self._announcer.announce(self._profile(self._id, config))
        self._announcer.turn(connected=connected)

    def _settled(self, slots: Sequence[SlotReport]) -> bool:
        """Whether the labels of all models are known, or it has been waited for them."""
        for slot in slots:
            classifier = slot.status.classifier if slot.status else None
            if classifier is not None:
                bundle = classifier.vetted.bundle
                self._labels[slot.slot] = (tuple(bundle.labels), bundle.method == "multilabel")
        waited_ns = self._clock.monotonic_ns() - self._begun_ns
        return waited_ns >= int(BOOT_S * 1e9) or all(slot.slot in self._labels for slot in slots)

    def _profile(self, identity: str, config: Config) -> AgentProfile:
        cameras = []
        for name, camera in config.cameras.items():
            labels, multilabel = self._labels.get(camera.model, (None, False))
            per_label = multilabel or camera.facts.per_label
            cameras.append(CameraProfile(name, camera.model, labels, multilabel, per_label))
        return AgentProfile(
            id=identity,
            version=__version__,
            board=self._board,
            topics=self._topics,
            qos=config.mqtt.qos,
            cameras=tuple(cameras),
            slots=tuple(config.models),
            has_soc=self._has_soc,
            control=config.mqtt.requests == "control",
        )
