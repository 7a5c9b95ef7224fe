"""edge_agent.config: which values are a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from edge_agent.config.models import AgentConfig, Config, MqttConfig
from edge_agent.config.tables import fields_of_table, table_of
from edge_agent.config.values import host_name

CONTRACT = {
    "agent": {"name", "state_dir", "socket", "log_level"},
    "mqtt": {
        *("host", "port", "username", "password_file", "base_topic", "qos", "protocol", "requests"),
        *("will_delay_s", "prediction_expiry_s"),
        *("tls", "home_assistant"),
    },
    "mqtt.tls": {"ca_file", "cert_file", "key_file", "alpn"},
    "mqtt.home_assistant": {"enabled", "discovery_prefix"},
    "inference": {
        *("device", "runtime", "threads", "standby", "timeout_s", "python", "library", "performance"),
        *("look_every_s", "cross_check_every", "cross_check_agreement", "recovery"),
    },
    "inference.recovery": {
        *("respawns", "usb_resets", "power_cycles", "backoff_s", "backoff_max_s", "stable_s"),
    },
    "metrics": {"port", "host", "exposed"},
    "updates": {"settle_s", "keep", "public_key", "drives", "probation_frames", "probation_s"},
    "models.default": {
        *("path", "threshold", "top_k", "budget_ms", "canary", "canary_label", "canary_every_s"),
    },
    "cameras.door": {
        *("source", "model", "fps", "loop", "rotate", "region", "mask", "threshold", "paused", "snapshots"),
        *("publish", "publish_every_s", "keep_predictions", "facts", "frozen_after_s"),
    },
    "cameras.door.facts": {
        *("enter", "leave", "min_duration_s", "at_least", "cool_down_s"),
        *("smoothing_s", "per_label", "labels"),
    },
    "cameras.door.facts.labels.fiesta red": {"enter", "leave", "min_duration_s", "at_least", "cool_down_s"},
    "cameras.door.snapshots": {"on_event", "every_s", "kind", "caption", "max_size", "quality"},
}


def configured(**tables: Any) -> Config:
    """A configuration of plain values, with a slot for its cameras."""
    return Config.model_validate({"models": {"default": {"path": "/m"}}, **tables}, context={"base": "/conf"})


def camera(**keys: Any) -> Config:
    """A configuration with the camera ``door``."""
    return configured(cameras={"door": {"source": "/dev/video0", **keys}})


@pytest.mark.parametrize("table", CONTRACT)
def test_the_keys_are_those_of_the_contract(table: str) -> None:
    """A published key never goes, and none comes by accident."""
    assert CONTRACT[table] == set(fields_of_table(table.split(".")))


def test_every_key_is_described() -> None:
    """The commented file and the schema have something to say on each key and table."""

    def undescribed(model: type[BaseModel]) -> list[str]:
        missing = [name for name, field in model.model_fields.items() if not field.description]
        tables = [table for field in model.model_fields.values() if (table := table_of(field))]
        return missing + [name for table in tables for name in undescribed(table)]

    assert [] == undescribed(Config)


def test_defaults_are_those_of_the_contract() -> None:
    """What a file leaves out has its published value."""
    config = camera()
    assert ("127.0.0.1", 1883, "edge-agent", 1) == (
        config.mqtt.host,
        config.mqtt.port,
        config.mqtt.base_topic,
        config.mqtt.qos,
    )
    assert (Path("/var/lib/edge-agent"), "info") == (config.agent.state_dir, config.agent.log_level)
    assert Path("/run/edge-agent/control.sock") == config.agent.socket
    assert ("auto", "control", None) == (config.mqtt.protocol, config.mqtt.requests, config.mqtt.tls)
    inference = config.inference
    assert ("auto", "auto", 0, True, 2.0, None) == tuple(inference.model_dump().values())[:6]
    assert ("libedgetpu.so.1", "max", 30.0, 0, 0.875) == (
        inference.library,
        inference.performance,
        inference.look_every_s,
        inference.cross_check_every,
        inference.cross_check_agreement,
    )
    assert (2, 2, 0, 1.0, 300.0, 60.0) == tuple(inference.recovery.model_dump().values())
    assert (0.0, 3) == (config.models["default"].threshold, config.models["default"].top_k)
    door = config.cameras["door"]
    assert ("default", 5.0, False, 0, None, 60.0, "every", 0.0, False) == tuple(
        door.model_dump(exclude={"source", "facts", "mask", "threshold", "paused", "snapshots"}).values()
    )
    assert (None, None, 0.0, (1, 1), 0.0, 0.0, False, {}) == tuple(door.facts.model_dump().values())
    assert ((), None, False) == (door.mask, door.threshold, door.paused)
    assert (False, 0.0, "frame", False, 1280, 80) == tuple(door.snapshots.model_dump().values())


def test_the_host_name_names_the_agent() -> None:
    """Without a name the agent bears the machine's, made fit for a topic."""
    assert host_name() == AgentConfig().name
    assert AgentConfig(name=host_name()) == AgentConfig()


@pytest.mark.parametrize(
    "tables",
    [
        {"agent": {"name": "a/b"}},
        {"agent": {"name": ""}},
        {"agent": {"name": "dock\n"}},
        {"agent": {"log_level": "loud"}},
        {"agent": {"state_dir": "a\0b"}},
        {"mqtt": {"host": ""}},
        {"mqtt": {"host": "mqtt://broker"}},
        {"mqtt": {"port": 0}},
        {"mqtt": {"port": 65536}},
        {"mqtt": {"port": "1883"}},
        {"mqtt": {"qos": 3}},
        {"mqtt": {"qos": True}},
        {"mqtt": {"protocol": 5}},
        {"mqtt": {"base_topic": ""}},
        {"mqtt": {"base_topic": "a/+"}},
        {"mqtt": {"base_topic": "a/#"}},
        {"mqtt": {"base_topic": "$SYS"}},
        {"mqtt": {"base_topic": "a//b"}},
        {"mqtt": {"base_topic": "a/"}},
        {"mqtt": {"base_topic": "/a"}},
        {"mqtt": {"base_topic": "a\0b"}},
        {"mqtt": {"home_assistant": {"discovery_prefix": "+"}}},
        {"mqtt": {"tls": {"key_file": "k"}}},
        {"mqtt": {"password": "x"}},
        {"updates": {"drives": "/run/edge-agent-drives"}},
        {"inference": {"device": "gpu"}},
        {"inference": {"device": "edgetpu:usb"}},
        {"inference": {"timeout_s": 0}},
        {"inference": {"threads": -1}},
        {"inference": {"library": ""}},
        {"inference": {"library": "a\nb"}},
        {"inference": {"library": 1}},
        {"inference": {"performance": "fast"}},
        {"inference": {"performance": 3}},
        {"inference": {"look_every_s": 0}},
        {"inference": {"cross_check_every": -1}},
        {"inference": {"cross_check_agreement": 1.01}},
        {"inference": {"recovery": {"respawns": -1}}},
        {"inference": {"recovery": {"backoff_s": -1}}},
        {"inference": {"recovery": {"retries": 1}}},
        {"models": {"default": {"path": ""}}},
        {"models": {"default": {"path": "m", "threshold": 1.01}}},
        {"models": {"default": {"path": "m", "top_k": 0}}},
        {"models": {"a b": {"path": "m"}}},
        {"models": {"default": {}}},
        {"cameras": {"a.b": {"source": "0"}}},
        {"cameras": {"door": {}}},
        {"unknown": {}},
    ],
)
def test_refuses(tables: dict[str, Any]) -> None:
    """A value that no agent could act on is refused when it is read, not when it is needed."""
    with pytest.raises(ValidationError):
        configured(**tables)


@pytest.mark.parametrize(
    "keys",
    [
        {"fps": -1},
        {"fps": float("inf")},
        {"fps": float("nan")},
        {"fps": True},
        {"rotate": 45},
        {"loop": 1},
        {"source": ""},
        {"source": True},
        {"source": -1},
        {"source": "a\nb"},
        {"region": [0, 0, 1]},
        {"region": [0, 0, 0, 1]},
        {"region": [-0.1, 0, 0.5, 1]},
        {"region": [0.5, 0, 0.6, 1]},
        {"region": [0, 0, 1, 1.1]},
        {"model": "absent"},
        {"frames": 1},
        {"publish": "never"},
        {"publish_every_s": -1},
        {"facts": {"enter": 1.1}},
        {"facts": {"enter": 0.5, "leave": 0.6}},
        {"facts": {"min_duration_s": -1}},
        {"facts": {"at_least": [2]}},
        {"facts": {"at_least": [2, 1]}},
        {"facts": {"at_least": [0, 1]}},
        {"facts": {"at_least": [1, 1001]}},
        {"facts": {"at_least": [1.0, 2]}},
        {"facts": {"at_least": "1 of 2"}},
        {"facts": {"labels": {"": {}}}},
        {"facts": {"labels": {"a": {"enter": 0.5, "leave": 0.6}}}},
        {"facts": {"labels": {"a": {"smoothing_s": 1.0}}}},
    ],
)
def test_refuses_of_a_camera(keys: dict[str, Any]) -> None:
    """The same for a camera's keys."""
    with pytest.raises(ValidationError):
        camera(**keys)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("libedgetpu.so.1.0", "libedgetpu.so.1.0"),
        ("/opt/libedgetpu.so", "/opt/libedgetpu.so"),
        ("./libedgetpu.so", "/conf/libedgetpu.so"),
    ],
)
def test_a_library_is_a_name_or_a_path(given: str, expected: str) -> None:
    """The loader looks for a name; a path starts beside the file, as every other."""
    assert expected == configured(inference={"library": given}).inference.library


@pytest.mark.parametrize("performance", ["low", "Medium", "HIGH", "max"])
def test_performance_in_any_case(performance: str) -> None:
    """Libedgetpu spells it Max; nobody need know."""
    assert performance.lower() == configured(inference={"performance": performance}).inference.performance


@pytest.mark.parametrize("device", ["auto", "cpu", "edgetpu", "edgetpu:usb:0", "edgetpu:pci:1"])
def test_takes_a_device(device: str) -> None:
    """Every published way to name a device is taken."""
    assert device == configured(inference={"device": device}).inference.device


@pytest.mark.parametrize("region", [[0, 0, 1, 1], [0.7, 0.9, 0.3, 0.1], [0.1, 0.0, 0.8, 1.0]])
def test_takes_a_region_up_to_the_edge(region: list[float]) -> None:
    """A region that ends at the frame's edge is within it, rounding or not."""
    assert tuple(region) == camera(region=region).cameras["door"].region


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (0, "0"),
        ("1", "1"),
        ("/dev/video0", "/dev/video0"),
        ("clip.mp4", "/conf/clip.mp4"),
        ("photos/", "/conf/photos/"),
        ("rtsp://camera/1", "rtsp://camera/1"),
        ("http://camera/mjpeg", "http://camera/mjpeg"),
        ("picamera:0", "picamera:0"),
        ("scene:finishes", "scene:finishes"),
    ],
)
def test_a_source_that_is_a_path_is_beside_the_file(source: object, found: str) -> None:
    """Only paths are relative to the file; devices, URLs and built-in sources stay as they are."""
    assert found == camera(source=source).cameras["door"].source


def test_paths_are_beside_the_file() -> None:
    """Each path key is relative to the folder of the file; an absolute one stays."""
    config = configured(
        mqtt={"tls": {"ca_file": "ca.pem", "cert_file": "/etc/a.pem"}}, models={"a": {"path": "m.zip"}}
    )
    assert config.mqtt.tls
    assert Path("/conf/ca.pem") == config.mqtt.tls.ca_file
    assert Path("/etc/a.pem") == config.mqtt.tls.cert_file
    assert Path("/conf/m.zip") == config.models["a"].path


def test_the_only_slot_is_the_default() -> None:
    """A camera need not name the slot where there is but one."""
    config = configured(models={"finish": {"path": "m"}}, cameras={"door": {"source": "0"}})
    assert "finish" == config.cameras["door"].model


def test_of_two_slots_none_is_chosen() -> None:
    """Which of two models looks through a camera is said, never guessed."""
    with pytest.raises(ValidationError, match=r'there is no slot "default" \(there are: a, b\)'):
        configured(models={"a": {"path": "m"}, "b": {"path": "n"}}, cameras={"door": {"source": "0"}})


def test_is_frozen() -> None:
    """A configuration is replaced, never changed."""
    with pytest.raises(ValidationError):
        MqttConfig().port = 1  # type: ignore[misc]


def test_a_password_is_never_printed() -> None:
    """Neither repr nor a dump tells the password."""
    mqtt = MqttConfig(username="dock").with_password(SecretStr("hunter2"))
    assert mqtt.password
    assert "hunter2" == mqtt.password.get_secret_value()
    assert "hunter2" not in f"{mqtt!r} {mqtt} {mqtt.model_dump()} {mqtt.model_dump_json()}"
    assert MqttConfig(username="dock").password is None
