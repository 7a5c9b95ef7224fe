"""following.py: the configuration in force, and the rooms in line with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from edge_agent.config import Config
from edge_agent.config.overrides import Overrides
from edge_agent.errors import ConfigError
from edge_agent.following import Following
from tests.test_overrides import configured


class Rooms:
    """Stands for each of the rooms, and notes in which order they were told what."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[str]]] = []
        self.refusal: ConfigError | None = None
        self.gone: list[str] = []

    def expect(self, rules: Mapping[str, object]) -> None:
        """Of the reporter."""
        self.told.append(("expect", sorted(rules)))

    def forget(self, camera: str) -> None:
        """Of the reporter."""
        self.told.append(("forget", [camera]))

    def change(self, config: Config) -> Sequence[str]:
        """Of the rig."""
        if self.refusal is not None:
            raise self.refusal
        self.told.append(("change", sorted(config.cameras)))
        return self.gone

    def set_rules(self, _rules: object) -> None:
        """Of intake and shutter."""

    def forgive(self) -> None:
        """Of the supervisor."""
        self.told.append(("forgive", []))

    def revive(self) -> None:
        """Of the intake."""


def following(overrides: Overrides) -> tuple[Following, Rooms]:
    """One whose rooms are told nothing yet."""
    rooms = Rooms()
    made = Following(overrides, *cast("tuple[Any, Any, Any, Any, Any]", (rooms,) * 5))
    rooms.told.clear()
    return made, rooms


def test_a_camera_that_is_resumed_is_expected_before_its_first_frame(tmp_path: Path) -> None:
    """And so is a new one; the others once the change is made."""
    overrides = Overrides(configured(tmp_path, paused=True))
    made, rooms = following(overrides)
    overrides.pause(["door"], paused=False)
    made.follow()
    both = ["door", "yard"]
    assert [("expect", ["door"]), ("change", both), ("expect", both)] == rooms.told
    assert not made.config.cameras["door"].paused


def test_what_is_gone_is_forgotten_once_it_is_closed(tmp_path: Path) -> None:
    """Nothing of it may come after its topics are cleared."""
    overrides = Overrides(configured(tmp_path))
    made, rooms = following(overrides)
    rooms.gone = ["yard"]
    made.follow()
    assert ["expect", "change", "expect", "forget"] == [each for each, _ in rooms.told]


def test_what_cannot_be_followed_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what is in force nor what the next request would bring; the log says why, in one line."""
    overrides = Overrides(configured(tmp_path))
    base = overrides.base
    made, rooms = following(overrides)
    before, rooms.refusal = made.config, ConfigError("cameras.door: no such device", "plug it in")
    made.reload(lambda: configured(tmp_path, threshold=0.25))
    assert (before, base) == (made.config, overrides.base)
    assert [
        "SIGHUP: the configuration stays as it was: cameras.door: no such device; plug it in"
    ] == caplog.messages
    rooms.refusal = None
    made.reload(lambda: configured(tmp_path, threshold=0.25))
    assert 0.25 == made.config.cameras["door"].threshold
    assert ("forgive", []) == rooms.told[-1]


def test_an_agent_without_cameras_is_none(tmp_path: Path) -> None:
    """The last one cannot be taken away while it runs."""
    overrides = Overrides(configured(tmp_path))
    made, rooms = following(overrides)
    overrides.base = overrides.base.model_copy(update={"cameras": {}})
    with pytest.raises(ConfigError, match="no camera is configured"):
        made.follow()
    assert [] == rooms.told
