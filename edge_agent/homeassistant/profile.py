"""The agent as Home Assistant is to see it; two that are equal make the same payload."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.topics import Topics


@dataclass(frozen=True)
class CameraProfile:
    """A camera and the slot that looks through it.

    ``labels`` are those of the model that serves, None while they are not known; with ``multilabel`` several
    may be true at once, so that there is no settled one; ``per_label``: each has a topic of its own.
    """

    name: str
    slot: str
    labels: tuple[str, ...] | None
    multilabel: bool = False
    per_label: bool = False


@dataclass(frozen=True)
class AgentProfile:
    """``id`` has 32 hex digits; ``board`` is "" where it does not tell; ``has_soc``: the temperature of its
    chip is known; ``control``: requests may change things; ``qos`` is for what Home Assistant subscribes to.
    """

    id: str
    version: str
    board: str
    topics: Topics
    qos: int
    cameras: tuple[CameraProfile, ...]
    slots: tuple[str, ...]
    has_soc: bool
    control: bool
