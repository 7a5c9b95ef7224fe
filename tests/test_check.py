"""`edge-agent check`, against a real broker, model and folder of pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from edge_agent.config.overrides import FILE
from edge_agent.edgetpu import Device, DeviceLock
from tests.brokers import Broker
from tests.edgetpu import Bus, Stick, libedgetpu
from tests.places import CORAL, CUSTOM_VISION, FINISHES, need_data
from tests.sticks import CPU_SMALL, SMALL, bundle_of, own_stick

pytestmark = need_data


def checked(capsys: pytest.CaptureFixture[str], path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by what was looked at."""
    code = main(["check", "--json", "-c", str(path)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, {line["what"]: line for line in lines}


def write(folder: Path, port: int, model: Path, source: Path | str) -> Path:
    """A configuration with one slot and one camera."""
    path = folder / "config.toml"
    path.write_text(
        f"[mqtt]\nport = {port}\n[models.default]\npath = '{model}'\n[cameras.door]\nsource = '{source}'\n"
    )
    return path


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each thing has a line, each is ok, exit code 0."""
    with Broker() as broker:
        path = write(tmp_path, broker.port, CORAL / "vww_96_int8.tflite", f"{CUSTOM_VISION / 'photos'}/")
        code, findings = checked(capsys, path)
        asked = {"config", "edgetpu", "model default", "camera door", f"broker 127.0.0.1:{broker.port}"}
        assert asked == set(findings)
        assert {True} == {each["ok"] for each in findings.values()}
        assert 0 == code
        assert 0 == main(["check", "-c", str(path)])
        assert capsys.readouterr().out.startswith("ok    config: 1 models, 1 cameras")


def test_each_thing_that_fails_names_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing model, camera and broker are three findings, not one; exit code 1."""
    with Broker() as broker:
        port = broker.port
    path = write(tmp_path, port, tmp_path / "nowhere.tflite", "/dev/video97")
    code, findings = checked(capsys, path)
    failed = {what for what, each in findings.items() if not each["ok"]}
    assert {"model default", "camera door", f"broker 127.0.0.1:{port}"} == failed
    for what in failed:
        assert findings[what]["remedy"] or ";" in findings[what]["found"]
    assert 1 == code


@pytest.mark.parametrize(
    ("canary", "label", "ok", "words"),
    [
        ("fiesta-red.jpg", "fiesta red", True, "fiesta-red.jpg, "),
        ("fiesta-red.jpg", "a unicorn", False, "the model has no label 'a unicorn'"),
        ("absent.jpg", "fiesta red", False, "cannot read the picture"),
    ],
)
def test_a_canary_must_be_readable_and_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], canary: str, label: str, ok: bool, words: str
) -> None:
    """Not a minute after the start, when it is shown for the first time."""
    path = write(tmp_path, 1, FINISHES, "scene:finishes")
    keys = f"canary = '{FINISHES / 'golden' / canary}'\ncanary_label = '{label}'\n"
    path.write_text(path.read_text().replace("[models.default]\n", f"[models.default]\n{keys}"))
    _, findings = checked(capsys, path)
    assert (ok, True) == (findings["canary default"]["ok"], words in findings["canary default"]["found"])


def test_a_paused_camera_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever paused it would see its light; overrides that cannot be read are told, and left as they are."""
    path = write(tmp_path, 1, FINISHES, tmp_path / "nothing")
    state = tmp_path / "state"
    state.mkdir()
    path.write_text(f'{path.read_text()}[agent]\nstate_dir = "{state}"\n')
    overrides = state / FILE
    overrides.write_text("[cameras.door]\npaused = true\n")
    _, findings = checked(capsys, path)
    assert (True, "paused: left alone; resume it: edge-agent resume door") == (
        findings["camera door"]["ok"],
        findings["camera door"]["found"],
    )
    overrides.write_text("[cameras.door")
    _, findings = checked(capsys, path)
    assert (False, False) == (findings["overrides"]["ok"], findings["camera door"]["ok"])
    assert "[cameras.door" == overrides.read_text()


def broker_checked(
    capsys: pytest.CaptureFixture[str], folder: Path, acl: str, protocol: str, requests: str
) -> dict[str, Any]:
    """What is found of a broker with these rights for "dock"; models and cameras are of no interest."""
    (folder / "acl").write_text(f"user dock\n{acl}")
    (folder / "password").write_text("secret")
    (folder / "acl").chmod(0o644)
    with Broker(listener=[f"acl_file {folder / 'acl'}"], users={"dock": "secret"}) as broker:
        path = folder / "config.toml"
        path.write_text(
            f"[mqtt]\nport = {broker.port}\nusername = 'dock'\npassword_file = 'password'\n"
            f"protocol = '{protocol}'\nrequests = '{requests}'\n[inference]\ndevice = 'cpu'\n"
        )
        _, findings = checked(capsys, path)
        return findings[f"broker 127.0.0.1:{broker.port}"]


WRITE, READ = "topic write edge-agent/#\n", "topic read edge-agent/#\n"


@pytest.mark.parametrize(
    ("acl", "protocol", "requests", "ok", "words"),
    [
        (WRITE + READ.replace("read", "readwrite"), "5", "control", True, "MQTT 5: it takes what we publish"),
        (WRITE + READ.replace("read", "readwrite"), "3.1.1", "control", True, "MQTT 3.1.1: it takes what"),
        (READ, "5", "control", False, "it does not let us publish to"),
        (READ, "3.1.1", "control", False, "no request can be heard"),
        (READ, "3.1.1", "off", True, "it cannot be known whether we may publish"),
        (WRITE, "5", "control", False, "no request can be heard"),
        (WRITE, "5", "off", True, "nothing is to be heard where requests are off"),
    ],
)
def test_the_right_to_publish_is_proven(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    acl: str,
    protocol: str,
    requests: str,
    ok: bool,
    words: str,
) -> None:
    """One message is published and comes back, or is refused, or is swallowed."""
    found = broker_checked(capsys, tmp_path, acl, protocol, requests)
    assert (ok, True) == (found["ok"], words in found["found"]), found
    assert ok or "(the broker's ACL)" in found["remedy"]


def test_a_configuration_without_a_camera_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` would have nothing to do."""
    path = tmp_path / "config.toml"
    path.write_text("[mqtt]\nport = 1\n")
    code, findings = checked(capsys, path)
    assert not findings["config"]["ok"]
    assert 1 == code


@pytest.fixture
def sticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bus, Stick]]:
    """The bus of the stand-in for libedgetpu, and its one stick."""
    with own_stick(tmp_path, monkeypatch) as bus_and_stick:
        yield bus_and_stick


def edgetpu_checked(
    capsys: pytest.CaptureFixture[str], folder: Path, model: Path, device: str = "auto"
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What is found of the Edge TPU and of the model; the broker and the camera are of no interest."""
    path = write(folder, 1, model, folder / "nothing")
    with path.open("a") as file:
        file.write(f"[inference]\ndevice = '{device}'\nlibrary = '{libedgetpu()}'\n")
    _, findings = checked(capsys, path)
    return findings.get("edgetpu"), findings["model default"]


def test_the_edge_tpu_and_its_library_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sticks: tuple[Bus, Stick]
) -> None:
    """A bundle that is compiled for what is there has nothing to be warned of. No device is opened."""
    edgetpu, model = edgetpu_checked(capsys, tmp_path, bundle_of(tmp_path / "pair", SMALL, CPU_SMALL))
    assert edgetpu is not None
    assert (True, "usb:0, BuildLabel(stand-in), RuntimeVersion(14)") == (edgetpu["ok"], edgetpu["found"])
    assert model["ok"]
    for word in ("fallback", "convert", "RuntimeVersion"):
        assert word not in model["found"]
    assert 0 == sticks[1].opens


@pytest.mark.parametrize(("device", "ok"), [("auto", True), ("edgetpu", False), ("edgetpu:usb:1", False)])
def test_a_missing_edge_tpu_fails_only_who_asked_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sticks: tuple[Bus, Stick], device: str, *, ok: bool
) -> None:
    """With auto the CPU is as good an answer."""
    if device != "edgetpu:usb:1":
        sticks[1].pull()
    edgetpu, _ = edgetpu_checked(capsys, tmp_path, CPU_SMALL, device)
    assert edgetpu is not None
    assert (ok, not ok) == (edgetpu["ok"], edgetpu["remedy"] is not None)
    assert ("the CPU serves" in edgetpu["found"]) == ok


def test_an_edge_tpu_in_use_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sticks: tuple[Bus, Stick]
) -> None:
    """By the running agent, most likely: nothing is wrong with that."""
    lock = DeviceLock.acquire(Device("usb", 0, sticks[1].path))
    edgetpu, _ = edgetpu_checked(capsys, tmp_path, CPU_SMALL)
    lock.close()
    assert edgetpu is not None
    assert (True, f"Edge TPU usb:0 is in use by pid {os.getpid()}: left alone") == (
        edgetpu["ok"],
        edgetpu["found"],
    )


def test_with_the_cpu_wanted_nobody_asks_for_an_edge_tpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sticks: tuple[Bus, Stick]
) -> None:
    """No finding, no hint; but a bundle that the CPU cannot run fails."""
    edgetpu, model = edgetpu_checked(capsys, tmp_path, bundle_of(tmp_path / "plain", CPU_SMALL), "cpu")
    assert (None, True) == (edgetpu, model["ok"])
    assert "model_edgetpu" not in model["found"]
    lone = bundle_of(tmp_path / "lone", SMALL)
    edgetpu, model = edgetpu_checked(capsys, tmp_path, lone, "cpu")
    assert (None, False) == (edgetpu, model["ok"])
    assert "nothing that the CPU could run" in model["found"]
    assert 0 == sticks[0].lists


@pytest.mark.usefixtures("sticks")
def test_a_bundle_that_is_only_compiled_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may serve, but nothing stands in for the stick."""
    _, model = edgetpu_checked(capsys, tmp_path, bundle_of(tmp_path / "lone", SMALL))
    assert model["ok"]
    assert "warning: only a model compiled for the Edge TPU: no fallback" in model["found"]


@pytest.mark.usefixtures("sticks")
def test_a_bundle_that_is_not_compiled_is_hinted_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way to a compiled model."""
    _, model = edgetpu_checked(capsys, tmp_path, bundle_of(tmp_path / "plain", CPU_SMALL))
    assert model["ok"]
    assert "no model_edgetpu.tflite: it runs on the CPU; `edge-agent convert`" in model["found"]


def test_a_library_too_old_for_a_bundle_is_known_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sticks: tuple[Bus, Stick]
) -> None:
    """A warning where the CPU can stand in, else a failure with its remedy."""
    sticks[0].versions(runtime=11, package=12)
    why = "its compiled model asks for runtime version 12, libedgetpu has 11"
    _, pair = edgetpu_checked(capsys, tmp_path, bundle_of(tmp_path / "pair", SMALL, CPU_SMALL))
    assert pair["ok"]
    assert f"warning: {why}; compile it again with edgetpu_compiler --min_runtime_version 11" in pair["found"]
    _, lone = edgetpu_checked(capsys, tmp_path, bundle_of(tmp_path / "lone", SMALL))
    assert (False, why) == (lone["ok"], lone["found"])
    assert lone["remedy"].startswith("compile it again with edgetpu_compiler --min_runtime_version 11")
