"""config/overrides.py: what was set while the agent ran, kept and laid over the configuration."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config import Config
from edge_agent.config.file import ReadConfig
from edge_agent.config.overrides import DAMAGED, FILE, Overrides, overridden
from edge_agent.errors import ConfigError, RepositoryError


def configured(state: Path, **door: Any) -> Config:
    """One slot, and the cameras door and yard."""
    return Config.model_validate(
        {
            "agent": {"state_dir": str(state)},
            "models": {"m": {"path": "/m", "threshold": 0.5}},
            "cameras": {"door": {"source": "0", **door}, "yard": {"source": "1"}},
        }
    )


def test_what_is_set_is_in_force_at_once_and_after_a_restart(tmp_path: Path) -> None:
    """Of one camera, of one slot; all else stays as it is configured."""
    base = configured(tmp_path)
    overrides = Overrides(base)
    overrides.pause(["door"], paused=True)
    overrides.set_threshold("cameras", "yard", 0.25)
    overrides.set_threshold("models", "m", 0.75)
    overrides.write()
    for config in (overrides.config, Overrides(base).config):
        assert (True, None) == (config.cameras["door"].paused, config.cameras["door"].threshold)
        assert (False, 0.25) == (config.cameras["yard"].paused, config.cameras["yard"].threshold)
        assert 0.75 == config.models["m"].threshold
        assert base.mqtt == config.mqtt
    assert [FILE] == [each.name for each in tmp_path.iterdir()]


def test_the_same_again_is_not_written_again(tmp_path: Path) -> None:
    """Whoever asks for it once a second wears out no card."""
    overrides = Overrides(configured(tmp_path))
    overrides.write()
    assert [] == list(tmp_path.iterdir())
    overrides.pause(["door"], paused=True)
    overrides.write()
    before = (tmp_path / FILE).stat().st_ino
    for again in (overrides, Overrides(overrides.base)):
        again.pause(["door"], paused=True)
        again.write()
        assert before == (tmp_path / FILE).stat().st_ino


def test_what_is_taken_back_is_as_configured(tmp_path: Path) -> None:
    """The configuration counts again, and what it says later."""
    overrides = Overrides(configured(tmp_path))
    overrides.pause(["door"], paused=True)
    overrides.pause(["door"], paused=False)
    overrides.set_threshold("cameras", "door", 0.25)
    overrides.set_threshold("cameras", "door", None)
    assert {} == overrides.dotted()
    overrides.base = configured(tmp_path, paused=True, threshold=0.9)
    door = overrides.config.cameras["door"]
    assert (True, 0.9) == (door.paused, door.threshold)


def test_a_camera_that_is_configured_to_be_paused_is_resumed(tmp_path: Path) -> None:
    """What was asked for last wins over the file."""
    overrides = Overrides(configured(tmp_path, paused=True))
    overrides.pause(["door"], paused=False)
    overrides.write()
    assert not Overrides(configured(tmp_path, paused=True)).config.cameras["door"].paused


def test_what_is_configured_no_more_waits_for_its_return(tmp_path: Path) -> None:
    """A camera that is taken out of the file for a while comes back paused."""
    overrides = Overrides(configured(tmp_path))
    overrides.pause(["door"], paused=True)
    whole = overrides.base
    overrides.base = whole.model_copy(update={"cameras": {"yard": whole.cameras["yard"]}})
    assert ["yard"] == list(overrides.config.cameras)
    overrides.base = whole
    assert overrides.config.cameras["door"].paused


DAMAGE = {
    "cut off": b"[cameras.door]\npaus",
    "no TOML": b"\0\0\0\0",
    "no text": b"\xff",
    "another type": b'[cameras.door]\npaused = "yes"\n',
    "out of range": b"[models.m]\nthreshold = 7.0\n",
    "no table": b"cameras = 1\n",
    "nested deeply": b"x = " + b"[" * 10_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning and a fault; the agent runs as it is configured, and keeps what is set from then on."""
    (tmp_path / FILE).write_bytes(DAMAGE[damage])
    overrides = Overrides(configured(tmp_path))
    assert overrides.base == overrides.config
    assert ["WARNING"] == [record.levelname for record in caplog.records]
    assert DAMAGED in (overrides.fault or "")
    assert DAMAGE[damage] == (tmp_path / DAMAGED).read_bytes()
    overrides.pause(["door"], paused=True)
    overrides.write()
    assert overrides.fault is None
    assert Overrides(configured(tmp_path)).config.cameras["door"].paused


def test_a_key_of_a_newer_version_costs_nothing(tmp_path: Path) -> None:
    """Whoever goes back a version keeps the pauses."""
    (tmp_path / FILE).write_text('[cameras.door]\npaused = true\nmood = "good"\n[weather]\nrain = true\n')
    overrides = Overrides(configured(tmp_path))
    assert (True, None) == (overrides.config.cameras["door"].paused, overrides.fault)


def test_what_cannot_be_kept_is_in_force_all_the_same(tmp_path: Path) -> None:
    """A pause must not wait for a disk; the fault goes with the next write that succeeds."""
    place = tmp_path / "state"
    place.write_text("no folder")
    overrides = Overrides(configured(place))
    overrides.pause(["door"], paused=True)
    with pytest.raises(RepositoryError):
        overrides.write()
    assert overrides.config.cameras["door"].paused
    assert "lost at the next start" in (overrides.fault or "")
    place.unlink()
    overrides.write()
    assert overrides.fault is None
    shutil.rmtree(place)


def test_shows_where_it_is_from(tmp_path: Path) -> None:
    """`config show` names the file as the origin, and leaves what is not configured out."""
    base = configured(tmp_path)
    (tmp_path / FILE).write_text("[cameras.door]\npaused = true\n[cameras.gone]\npaused = true\n")
    read = overridden(ReadConfig(base, Path("c.toml"), {"cameras.door.source": "file"}))
    assert {"cameras.door.source": "file", "cameras.door.paused": FILE} == dict(read.origins)
    assert read.config.cameras["door"].paused
    (tmp_path / FILE).write_text("paused")
    with pytest.raises(ConfigError):
        overridden(ReadConfig(base, Path("c.toml"), {}))
    assert not (tmp_path / DAMAGED).exists()


@given(thresholds=st.dictionaries(st.sampled_from(["door", "yard"]), st.floats(0, 1)), paused=st.booleans())
def test_every_value_survives(
    tmp_path_factory: pytest.TempPathFactory, thresholds: dict[str, float], paused: bool
) -> None:
    """What is written is what is read, to the last bit."""
    base = configured(tmp_path_factory.mktemp("state"))
    overrides = Overrides(base)
    for camera, threshold in thresholds.items():
        overrides.set_threshold("cameras", camera, threshold)
    overrides.pause(["door"], paused=paused)
    overrides.write()
    assert overrides.config == Overrides(base).config
