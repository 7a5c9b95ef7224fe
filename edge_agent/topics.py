"""The topics below ``<base_topic>/<agent>/`` and the names in them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edge_agent.errors import ConfigError

TOPIC_LIMIT_BYTES = 65535
"""MQTT gives the length of a topic two bytes."""

UNKNOWN = "unknown"
"""What the topic ``label`` says while nothing reaches the threshold."""

# Letters that Unicode does not take apart into a base letter and a mark.
_FOLDED = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)


def slug(label: str) -> str:
    """The label as one level of a topic: lower-case ASCII letters, digits and "_".

    A label that has none of these gets a name made from its SHA-256, so that it stays the same when
    other labels come and go.
    """
    lowered = unicodedata.normalize("NFKD", label.casefold()).translate(_FOLDED)
    folded = "".join(each for each in lowered if not unicodedata.combining(each))
    words = "".join(each if each.isascii() and each.isalnum() else " " for each in folded).split()
    return "_".join(words) or f"label_{_fingerprint(label)}"


def slugs(labels: Sequence[str]) -> tuple[str, ...]:
    """A slug per label, in order, all different: of those that collide the first keeps the plain one."""
    taken: dict[str, None] = {}
    for label in labels:
        taken[_free(label, taken)] = None
    return tuple(taken)


def _free(label: str, taken: dict[str, None]) -> str:
    plain = slug(label)
    if plain not in taken:
        return plain
    marked = f"{plain}_{_fingerprint(label)}"
    candidate, number = marked, 1
    while candidate in taken:  # the very same label twice
        number += 1
        candidate = f"{marked}_{number}"
    return candidate


def _fingerprint(label: str) -> str:
    return hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:6]


@lru_cache(maxsize=4096)  # a topic is named with every message, and a check costs more than the naming
def check_topic(topic: str) -> str:
    """The topic, if it may be published to.

    Raises:
        ConfigError: it has a wildcard, an empty level, a leading $ or a control character, or is too long.
    """
    if fault := _topic_fault(topic):
        raise ConfigError(f"{topic!r} cannot be an MQTT topic: {fault}")
    return topic


@lru_cache(maxsize=4096)
def check_level(name: str) -> str:
    """The name, if it may be one level of a topic.

    Raises:
        ConfigError: as check_topic, or it has a "/".
    """
    fault = 'it contains "/"' if "/" in name else _topic_fault(name)
    if fault:
        raise ConfigError(f"{name!r} cannot be a name in an MQTT topic: {fault}")
    return name


def _topic_fault(topic: str) -> str | None:
    if "+" in topic or "#" in topic:
        return 'the wildcards "+" and "#" are for subscribers'
    if "" in topic.split("/"):
        return "it has an empty level"
    if topic.startswith("$"):
        return 'a leading "$" is for the broker\'s own topics'
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in topic):
        return "it contains a control character"
    if any(ord(each) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(each) <= 0xFDEF for each in topic):
        return "it contains what Unicode keeps for no letter"
    if len(topic.encode()) > TOPIC_LIMIT_BYTES:
        return f"it is longer than {TOPIC_LIMIT_BYTES} bytes"
    return None


@dataclass(frozen=True)
class Topics:
    """Every topic of one agent; ``base`` may have several levels.

    Raises:
        ConfigError: ``base``, ``agent`` or a name given later cannot stand in a topic.
    """

    base: str
    agent: str

    def __post_init__(self) -> None:
        check_level(self.agent)
        check_topic(self.root)

    @property
    def root(self) -> str:
        """What all the others begin with."""
        return f"{self.base}/{self.agent}"

    @property
    def availability(self) -> str:
        """Whether the agent is "online" or "offline", retained; also the will."""
        return f"{self.root}/availability"

    @property
    def health(self) -> str:
        """The agent as a whole, retained."""
        return f"{self.root}/health"

    @property
    def health_event(self) -> str:
        """The health of the agent has changed."""
        return f"{self.root}/event"

    @property
    def check(self) -> str:
        """Where `edge-agent check` tries whether it may publish."""
        return f"{self.root}/check"

    def camera_availability(self, camera: str) -> str:
        """Whether the camera is "online" or "offline", retained."""
        return f"{self.camera(camera)}/availability"

    def prediction(self, camera: str) -> str:
        """One message per inference."""
        return f"{self.camera(camera)}/prediction"

    def label(self, camera: str) -> str:
        """The settled label, retained."""
        return f"{self.camera(camera)}/label"

    def label_state(self, camera: str, label_slug: str) -> str:
        """Whether one label is "ON" or "OFF", retained."""
        return f"{self.camera(camera)}/labels/{check_level(label_slug)}"

    def status(self, camera: str) -> str:
        """The camera's state, retained."""
        return f"{self.camera(camera)}/status"

    def event(self, camera: str) -> str:
        """A label began or ended."""
        return f"{self.camera(camera)}/event"

    def image(self, camera: str) -> str:
        """JPEG bytes."""
        return f"{self.camera(camera)}/image"

    def model(self, slot: str) -> str:
        """What serves in a slot, retained."""
        return f"{self.root}/model/{check_level(slot)}"

    def request(self, verb: str) -> str:
        """Where the agent is asked for something; a verb may have several levels, "#" is a filter for all."""
        return f"{self.root}/request/{verb}"

    def verb_of(self, topic: str) -> str:
        """What is asked for at a topic that :meth:`request` gave."""
        return topic.removeprefix(self.request(""))

    def response(self, verb: str) -> str:
        """Where it answers."""
        return f"{self.root}/response/{verb}"

    def camera(self, camera: str) -> str:
        """What all topics of a camera begin with."""
        return f"{self.root}/camera/{check_level(camera)}"
