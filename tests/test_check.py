"""`edge-agent check`, against a real broker, model and folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from tests.brokers import Broker
from tests.places import CORAL, CUSTOM_VISION, need_data

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


def test_a_configuration_without_a_camera_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` would have nothing to do."""
    path = tmp_path / "config.toml"
    path.write_text("[mqtt]\nport = 1\n")
    code, findings = checked(capsys, path)
    assert not findings["config"]["ok"]
    assert 1 == code
