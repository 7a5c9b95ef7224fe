"""What a new configuration changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import BaseModel

from edge_agent.addresses import masked
from edge_agent.config.models import Config, MqttConfig

LIVE_KEYS = ("agent.log_level", "models.*.threshold", "models.*.top_k", "cameras.*")
"""What can be applied while the agent runs; all else waits for a restart."""


@dataclass(frozen=True)
class Change:
    """One key that differs; ``old`` or ``new`` is None where a table appeared or went."""

    key: str
    old: object
    new: object
    live: bool

    def __str__(self) -> str:
        """In words, without passwords."""
        when = "" if self.live else " (after a restart)"
        return f"{self.key}: {_words(self.old)} -> {_words(self.new)}{when}"


def changes(old: Config, new: Config) -> tuple[Change, ...]:
    """Every key whose value differs, in the order of the models; a camera or slot that came or went is one.

    A camera that looks through a slot which only a restart brings is not live.
    """
    told = []
    for key, before, after in _differences(old, new, ""):
        live = any(fnmatchcase(key, pattern) for pattern in LIVE_KEYS)
        told.append(Change(key, before, after, live and _slot_serves(key, old, new)))
    return tuple(told)


def live_part(running: Config, wanted: Config) -> Config:
    """What is in force when a running agent is given another configuration: what needs a restart stays as it
    was started, the rest is as it reads now.
    """
    slots = {
        slot: wanted.models.get(slot, model).model_copy(update={"path": model.path})
        for slot, model in running.models.items()
    }
    agent = running.agent.model_copy(update={"log_level": wanted.agent.log_level})
    cameras = {name: each for name, each in wanted.cameras.items() if each.model in slots}
    return running.model_copy(update={"models": slots, "agent": agent, "cameras": cameras})


def _differences(old: object, new: object, key: str) -> Iterator[tuple[str, object, object]]:
    before, after = _entries(old), _entries(new)
    if before is None or after is None:
        if old != new:
            yield key, old, new
        return
    for name in dict.fromkeys([*before, *after]):
        yield from _differences(before.get(name), after.get(name), f"{key}.{name}" if key else name)


def _entries(table: object) -> Mapping[str, object] | None:
    if isinstance(table, MqttConfig):
        return {**dict(table), "password": table.password}
    if isinstance(table, BaseModel):
        return dict(table)
    return table if isinstance(table, Mapping) else None


def _slot_serves(key: str, old: Config, new: Config) -> bool:
    section, _, rest = key.partition(".")
    camera = new.cameras.get(rest.partition(".")[0]) if section == "cameras" else None
    return camera is None or camera.model in old.models


def _words(value: object) -> str:
    if isinstance(value, BaseModel):
        return "set"
    return "not set" if value is None else masked(str(value))
