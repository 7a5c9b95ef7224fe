"""edge_agent.config.changes: what a new configuration changes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from edge_agent.config import Config
from edge_agent.config.changes import Change, changes, live_part

DOOR = {"source": "0"}


def configured(**tables: Any) -> Config:
    """One slot and one camera, with these tables instead or besides."""
    return Config.model_validate({"models": {"m": {"path": "/m"}}, "cameras": {"door": DOOR}, **tables})


@pytest.mark.parametrize(
    ("tables", "key", "old", "new", "live"),
    [
        ({"agent": {"log_level": "debug"}}, "agent.log_level", "info", "debug", True),
        ({"models": {"m": {"path": "/m", "threshold": 0.5}}}, "models.m.threshold", 0.0, 0.5, True),
        ({"models": {"m": {"path": "/m", "top_k": 1}}}, "models.m.top_k", 3, 1, True),
        ({"cameras": {"door": {**DOOR, "fps": 1.0}}}, "cameras.door.fps", 5.0, 1.0, True),
        ({"cameras": {"door": {"source": "1"}}}, "cameras.door.source", "0", "1", True),
        ({"mqtt": {"port": 1}}, "mqtt.port", 1883, 1, False),
        ({"mqtt": {"home_assistant": {"enabled": True}}}, "mqtt.home_assistant.enabled", False, True, False),
        ({"inference": {"threads": 1}}, "inference.threads", 0, 1, False),
        ({"agent": {"name": "other"}}, "agent.name", configured().agent.name, "other", False),
    ],
)
def test_a_changed_key(tables: dict[str, Any], key: str, old: object, new: object, live: bool) -> None:
    """Thresholds, cameras and the log level apply while the agent runs; all else waits for a restart."""
    assert (Change(key, old, new, live),) == changes(configured(), configured(**tables))


def test_the_same_is_no_change() -> None:
    """What was only spelt out changes nothing."""
    assert () == changes(configured(), configured(mqtt={"port": 1883}))


def test_cameras_come_and_go_live() -> None:
    """A camera that is added or removed is one change, with its whole table."""
    old, new = configured(), configured(cameras={"yard": DOOR})
    gone, come = changes(old, new)
    assert Change("cameras.door", old.cameras["door"], None, True) == gone
    assert Change("cameras.yard", None, new.cameras["yard"], True) == come


def test_a_camera_of_a_slot_to_come_waits_with_it() -> None:
    """A camera is not added before the model that looks through it."""
    slots = {"m": {"path": "/m"}, "n": {"path": "/n"}}
    cameras = {"door": {**DOOR, "model": "m"}, "yard": {**DOOR, "model": "n"}}
    found = changes(configured(), configured(models=slots, cameras=cameras))
    assert [("models.n", False), ("cameras.yard", False)] == [(change.key, change.live) for change in found]


def test_a_table_that_appears_is_one_change() -> None:
    """TLS turned on is told as TLS, not as three keys."""
    new = configured(mqtt={"tls": {}})
    assert (Change("mqtt.tls", None, new.mqtt.tls, False),) == changes(configured(), new)


def test_a_new_password_is_a_change_that_nobody_reads() -> None:
    """A rotated password is noticed, and neither it nor a camera's is told."""

    def with_password(password: str) -> Config:
        config = configured(cameras={"door": {"source": f"rtsp://u:{password}@camera"}})
        return config.model_copy(update={"mqtt": config.mqtt.with_password(SecretStr(password))})

    found = changes(with_password("hunter1"), with_password("hunter2"))
    assert ["mqtt.password", "cameras.door.source"] == [change.key for change in found]
    assert "hunter" not in " ".join(str(change) for change in found)


def test_a_change_reads_well() -> None:
    """Old, new, and whether it waits."""
    (change,) = changes(configured(), configured(mqtt={"username": "dock"}))
    assert "mqtt.username: not set -> dock (after a restart)" == str(change)


def test_what_is_in_force_after_a_reload() -> None:
    """Thresholds, cameras and the log level as they read now; paths, slots and the broker as they were."""
    slots = {"m": {"path": "/other", "threshold": 0.5}, "n": {"path": "/n"}}
    cameras = {"yard": {**DOOR, "model": "m"}, "gate": {**DOOR, "model": "n"}}
    wanted = configured(
        agent={"log_level": "debug", "name": "other"}, models=slots, cameras=cameras, mqtt={"port": 1}
    )
    running = configured(agent={"name": "dock"})
    found = live_part(running, wanted)
    assert ("debug", "dock", running.mqtt) == (found.agent.log_level, found.agent.name, found.mqtt)
    assert {"m": (running.models["m"].path, 0.5)} == {
        slot: (model.path, model.threshold) for slot, model in found.models.items()
    }
    assert {"yard": wanted.cameras["yard"]} == found.cameras
