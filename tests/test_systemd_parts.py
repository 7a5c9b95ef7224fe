"""systemd/: the service, and the rules and the unit for what is plugged in; tests/system/ runs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.bus import Stick
from edge_agent.doctor.machine import Machine
from edge_agent.doctor.usb import has_rule
from edge_agent.errors import ConfigError
from tests.places import ROOT

PARTS = ROOT / "systemd"
RULES = PARTS / "90-edge-agent-drives.rules"
CORAL_RULES = PARTS / "60-edge-agent-coral.rules"
UNIT = PARTS / "edge-agent-drive@.service"
SERVICE = PARTS / "edge-agent.service"
INSTANCES = PARTS / "edge-agent@.service"

MOST_EXPOSURE = 1.5

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd_analyze
@pytest.mark.parametrize(
    ("unit", "name"),
    [
        (UNIT, "edge-agent-drive@sda1.service"),
        (SERVICE, "edge-agent.service"),
        (INSTANCES, "edge-agent@dock.service"),
    ],
)
def test_systemd_understands_the_unit(tmp_path: Path, unit: Path, name: str) -> None:
    """Every key and value of it, for a drive and an instance too. The program need not be installed."""
    text = unit.read_text().replace("/opt/edge-agent/current/bin/edge-agent", shutil.which("true") or "")
    (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", str(tmp_path / name)]
    verified = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "" == "".join(line for line in verified.stderr.splitlines() if "edge-agent" in line)


@needs_systemd_analyze
@pytest.mark.parametrize("unit", [SERVICE, INSTANCES])
def test_the_service_is_hardly_exposed(unit: Path) -> None:
    """As systemd-analyze counts: 0 is best, 10 worst."""
    said = _said(["systemd-analyze", "security", "--no-pager", "--offline=true", str(unit)])
    (exposure,) = re.findall(r"exposure level for \S+: ([0-9.]+)", said)
    assert float(exposure) <= MOST_EXPOSURE


def _settings(unit: Path) -> list[str]:
    lines = unit.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_an_instance_differs_in_its_places_alone() -> None:
    """What is set for the one agent holds for each of several."""
    own = {
        "Description=edge-agent %i: camera frames in, labels out over MQTT",
        "StateDirectory=edge-agent-%i",
        "RuntimeDirectory=edge-agent-%i",
        "Environment=EDGE_AGENT_CONFIG=/etc/edge-agent/%i.toml",
        *(
            f"LoadCredential=mqtt-{part}:edge-agent-%i.mqtt-{part}"
            for part in ("password", "ca", "cert", "key")
        ),
    }
    instance = _settings(INSTANCES)
    assert own == {line for line in instance if "%i" in line}
    plain = [
        line.replace("edge-agent %i:", "edge-agent:").replace("/%i.toml", "/config.toml").replace("-%i", "")
        for line in instance
    ]
    assert _settings(SERVICE) == plain


def test_a_configuration_that_cannot_be_used_is_no_reason_to_start_again() -> None:
    """Exit 78 stays down, whatever else is started anew."""
    settings = _settings(SERVICE)
    assert f"RestartPreventExitStatus={ConfigError.exit_code}" in settings
    assert "Restart=on-failure" in settings


def test_both_identities_of_a_stick_are_opened() -> None:
    """It has another one once its firmware is loaded; doctor finds the rule by them."""
    stick = Stick("usb", "/sys/bus/usb/devices/2-1", Path("/dev/bus/usb/002/002"))
    assert has_rule(Machine(udev_rules=(PARTS,)), stick)


@pytest.mark.parametrize("rules", [RULES, CORAL_RULES])
def test_udev_understands_the_rules(rules: Path) -> None:
    """Every line of them."""
    command = ["udevadm", "verify", str(rules)]
    if shutil.which("udevadm") is None or "verify" not in _said(["udevadm", "--help"]):
        pytest.skip("udevadm: there is none, or one that cannot verify rules")
    subprocess.run(command, check=True, timeout=60)


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_parts_fit_each_other() -> None:
    """The rule wants the unit, which binds to the drive and mounts it where the page says, for reading."""
    assert "edge-agent-drive@%k.service" in RULES.read_text()
    unit = UNIT.read_text()
    assert "BindsTo=dev-%i.device" in unit
    (mounted,) = re.findall(r"^ExecStart=/bin/mount -o (\S+) /dev/%I (\S+)/%I$", unit, re.MULTILINE)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounted[0].split(","))
    page = (ROOT / "docs" / "models.md").read_text()
    assert f'drives = "{mounted[1]}"' in page
