"""What was announced to Home Assistant, kept in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from edge_agent.clock import Clock
from edge_agent.state_file import Later, StateFile

FILE = "home-assistant.json"


@dataclass(frozen=True)
class Announced:
    """Where, and the platform of each entity by its key; ``left`` are the topics on which it was announced
    before, until the broker has heard that nothing is there any more.
    """

    topic: str
    components: Mapping[str, str]
    left: tuple[str, ...] = ()


def announced_file(state_dir: Path, later: Later, clock: Clock) -> StateFile[Announced]:
    """Without it all works, but what went while the agent was stopped stays in Home Assistant."""
    without = "Home Assistant may keep entities that are gone"
    return StateFile(state_dir / FILE, TypeAdapter(Announced), later, clock, without)
