"""systemd/: the rule and the unit that mount a drive where the agent looks."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.places import ROOT

PARTS = ROOT / "systemd"
RULES = PARTS / "90-edge-agent-drives.rules"
UNIT = PARTS / "edge-agent-drive@.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Every key and value of it, for a drive too."""
    shutil.copy(UNIT, tmp_path / "edge-agent-drive@sda1.service")
    command = ["systemd-analyze", "verify", str(tmp_path / "edge-agent-drive@sda1.service")]
    verified = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "" == "".join(line for line in verified.stderr.splitlines() if "edge-agent" in line)


def test_udev_understands_the_rules() -> None:
    """Every line of them."""
    command = ["udevadm", "verify", str(RULES)]
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
