"""edge_agent.recovery: which rung, when, and what it does.

Real: the child that resets, and how uhubctl is run. Stood in for: the kernel's answer to the reset
(`tests.edgetpu`'s usbfs.c, preloaded into that child), uhubctl (a script on PATH), /sys and /dev (a folder).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from edge_agent.errors import RecoveryError
from edge_agent.recovery import BOUNDS, Bounds, Ladder, Rung, climb, delay_s, hub_and_port, rung_for
from tests.edgetpu import usbfs


def test_each_rung_is_tried_as_often_as_configured() -> None:
    """A new worker, a reset of the stick, its port without power; then from the bottom again."""
    r, u, p = Rung.RESPAWN, Rung.USB_RESET, Rung.POWER_CYCLE
    ladder = Ladder(respawns=2, usb_resets=2, power_cycles=1)
    assert [r, r, u, u, p, r, r, u, u, p, r] == [rung_for(step, ladder) for step in range(11)]


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [
        (Ladder(respawns=0, usb_resets=0, power_cycles=0), {Rung.RESPAWN}),
        (Ladder(respawns=0, usb_resets=3, power_cycles=0), {Rung.USB_RESET}),
        (Ladder(respawns=1, usb_resets=0, power_cycles=1), {Rung.RESPAWN, Rung.POWER_CYCLE}),
    ],
)
def test_a_rung_that_is_left_out_is_never_tried(ladder: Ladder, expected: set[Rung]) -> None:
    """0 leaves a rung out; without any a new worker is still tried."""
    assert expected == {rung_for(step, ladder) for step in range(20)}


def test_the_pauses_double_up_to_the_cap() -> None:
    """None after the first failure: most are over with it; a stick that flaps is held back ever longer."""
    ladder = Ladder(backoff_s=1.0, backoff_max_s=20.0)
    assert [0, 1, 2, 4, 8, 16, 20, 20] == [delay_s(failures, ladder, 0.5) for failures in range(1, 9)]
    assert 20 == delay_s(1_000_000, ladder, 0.5)


def test_the_pauses_are_spread() -> None:
    """Agents that lost their sticks together do not come back together."""
    ladder = Ladder(backoff_s=10.0, backoff_max_s=10.0)
    assert [8.0, 12.0] == pytest.approx([delay_s(2, ladder, 0.0), delay_s(3, ladder, 1.0)])


# The rungs


STICK = "/sys/bus/usb/devices/2-1.3"


class Machine:
    """A folder that passes for /sys and /dev; a stick is on 2-1.3, kernel and uhubctl say what it says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sys, self.dev, self.kernel = folder / "sys", folder / "dev", folder / "kernel"
        self.programs = folder / "bin"
        for made in (self.sys, self.dev, self.kernel, self.programs):
            made.mkdir()
        self.plug(7)
        monkeypatch.setenv("USBFS_STANDIN", str(self.kernel))
        monkeypatch.setenv("LD_PRELOAD", str(usbfs()))
        monkeypatch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")

    def plug(self, number: int, port: str = "2-1.3") -> None:
        """A stick of this number on the bus."""
        device = self.sys / "bus/usb/devices" / port
        device.mkdir(parents=True, exist_ok=True)
        values = {"idVendor": "18d1", "idProduct": "9302", "busnum": "2", "devnum": str(number)}
        for name, value in values.items():
            (device / name).write_text(f"{value}\n")
        node = self.dev / f"bus/usb/002/{number:03}"
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()

    def pull(self) -> None:
        """No stick."""
        shutil.rmtree(self.sys / "bus/usb/devices/2-1.3")

    def comes_back(self, number: int = 8) -> str:
        """The shell command that gives the stick another number."""
        device = self.sys / "bus/usb/devices/2-1.3"
        return f"mkdir -p {device}; echo {number} > {device}/devnum"

    def program(self, path: Path, *lines: str) -> None:
        """A shell script."""
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(0o755)

    def uhubctl(self, *lines: str) -> None:
        """The program of that name; what it was called with is kept."""
        self.program(self.programs / "uhubctl", f'echo "$@" >> {self.kernel}/calls', *lines)

    def climb(self, rung: Rung, path: str = STICK, bounds: Bounds = BOUNDS) -> None:
        """The rung, on this machine."""
        climb(rung, path, self.sys, self.dev, bounds)

    def said(self, name: str) -> list[str]:
        """Lines of a record."""
        file = self.kernel / name
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """With a stick on 2-1.3."""
    return Machine(tmp_path, monkeypatch)


def test_a_respawn_does_nothing(machine: Machine) -> None:
    """The new worker is the supervisor's."""
    machine.climb(Rung.RESPAWN)
    machine.climb(Rung.RESPAWN, "/dev/apex_0")
    assert [] == machine.said("resets") + machine.said("calls")


def test_a_reset_goes_to_the_stick_s_node(machine: Machine) -> None:
    """Bus and device number, as sysfs tells them, name it; one that stays on the bus is not waited for."""
    machine.climb(Rung.USB_RESET)
    assert [str(machine.dev / "bus/usb/002/007")] == machine.said("resets")


def test_a_reset_that_loses_the_firmware_waits_for_the_stick(machine: Machine) -> None:
    """The kernel says ENODEV, for it comes back as another device: that is what was wanted."""
    (machine.kernel / "errno").write_text(str(errno.ENODEV))
    machine.program(machine.kernel / "reset", machine.comes_back())
    machine.climb(Rung.USB_RESET)
    assert 1 == len(machine.said("resets"))


def test_a_stick_that_does_not_come_back_is_told(machine: Machine) -> None:
    """It left with the reset."""
    (machine.kernel / "errno").write_text(str(errno.ENODEV))
    with pytest.raises(RecoveryError, match=r"did not come back within 0.1 s of a usb-reset; plug"):
        machine.climb(Rung.USB_RESET, bounds=Bounds(return_s=0.1))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_reset_that_is_not_permitted_names_the_way_out(machine: Machine, number: int) -> None:
    """A udev rule is missing, mostly."""
    (machine.kernel / "errno").write_text(str(number))
    with pytest.raises(RecoveryError, match=r"not permitted to reset .*/002/007; edge-agent doctor names"):
        machine.climb(Rung.USB_RESET)


def test_a_reset_that_fails_says_why(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the kernel's words: here the true kernel's, of a file that is no USB device."""
    monkeypatch.delenv("LD_PRELOAD")
    with pytest.raises(RecoveryError, match=r"/002/007 failed: Inappropriate ioctl for device"):
        machine.climb(Rung.USB_RESET)


def test_a_stick_whose_node_is_missing_cannot_be_reset(machine: Machine) -> None:
    """In a container without the bus."""
    (machine.dev / "bus/usb/002/007").unlink()
    with pytest.raises(RecoveryError, match=r"/002/007 failed: No such file or directory"):
        machine.climb(Rung.USB_RESET)


def test_a_stick_that_has_left_the_bus_cannot_be_reset(machine: Machine) -> None:
    """There is nothing to send the reset to."""
    machine.pull()
    with pytest.raises(RecoveryError, match=f"{STICK} has left the bus"):
        machine.climb(Rung.USB_RESET)


def test_a_reset_that_does_not_end_is_left(machine: Machine) -> None:
    """The kernel may take its time; the agent does not wait for it."""
    os.mkfifo(machine.kernel / "hold")
    machine.program(machine.kernel / "reset", f"exec cat {machine.kernel}/hold")
    with pytest.raises(RecoveryError, match=r"the reset of .*/002/007 did not end within 0.5 s; plug"):
        machine.climb(Rung.USB_RESET, bounds=Bounds(reset_s=0.5))


def test_a_power_cycle_names_hub_and_port(machine: Machine) -> None:
    """The port that the stick is in, of the hub that it is on; it ends when the stick is back."""
    machine.uhubctl(machine.comes_back())
    machine.climb(Rung.POWER_CYCLE)
    assert ["-l 2-1 -p 3 -a cycle"] == machine.said("calls")


def test_a_power_cycle_brings_back_a_stick_that_had_left(machine: Machine) -> None:
    """That is what it is for: its port is known by where it was."""
    machine.pull()
    device = machine.sys / "bus/usb/devices/2-1.3"
    values = ("idVendor 18d1", "idProduct 9302", "busnum 2", "devnum 9")
    each = [f"echo {value} > {device}/{name}" for name, value in (pair.split() for pair in values)]
    machine.uhubctl(f"mkdir -p {device}", *each)
    machine.climb(Rung.POWER_CYCLE)
    assert ["-l 2-1 -p 3 -a cycle"] == machine.said("calls")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("2-1", ("2", "1")), ("2-1.3", ("2-1", "3")), ("1-1.4.2", ("1-1.4", "2")), ("3-10", ("3", "10"))],
)
def test_hub_and_port(name: str, expected: tuple[str, str]) -> None:
    """The kernel's name is the way to the stick; its last step is the port."""
    assert expected == hub_and_port(name)


def test_a_stick_that_stays_away_from_power_is_told(machine: Machine) -> None:
    """Switched, and yet not back."""
    machine.uhubctl()
    with pytest.raises(RecoveryError, match=r"did not come back within 0.1 s of a power-cycle"):
        machine.climb(Rung.POWER_CYCLE, bounds=Bounds(return_s=0.1))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'echo "No compatible devices detected at location 2-1!" >&2; exit 1',
            r"USB hub 2-1 cannot switch its port 3; .*inference.recovery.power_cycles",
        ),
        (
            'echo "No compatible smart hubs detected at location 2-1!" >&2; '
            'echo "There were permission problems while accessing USB." >&2; exit 1',
            r"not permitted to switch port 3 of USB hub 2-1; .*52-usb.rules",
        ),
        (
            'echo "Failed to control port power!: Permission denied" >&2; exit 0',
            r"not permitted to switch port 3",
        ),
        (
            'echo "Failed to control port power!: Broken pipe" >&2; exit 0',
            r"could not switch port 3 of USB hub 2-1: Failed to control port power!: Broken pipe",
        ),
        ("kill -SEGV $$", r"could not switch port 3 of USB hub 2-1: SIGSEGV"),
    ],
)
def test_what_uhubctl_cannot_do_is_told(machine: Machine, line: str, expected: str) -> None:
    """Not permitted, a hub that cannot, or its own words; it may fail and yet end by 0."""
    machine.uhubctl(line)
    with pytest.raises(RecoveryError, match=expected):
        machine.climb(Rung.POWER_CYCLE)


def test_a_way_round_that_uhubctl_found_is_a_success(machine: Machine) -> None:
    """Where sysfs is closed to it, it says so, and goes through the hub itself."""
    machine.uhubctl('echo "Failed to set port status: Permission denied" >&2', machine.comes_back())
    machine.climb(Rung.POWER_CYCLE)


def test_without_uhubctl_no_port_is_switched(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named, and the key that leaves the rung out."""
    if shutil.which("uhubctl", path="/usr/sbin:/sbin"):
        pytest.skip("uhubctl is installed here, and would be run")
    monkeypatch.setenv("PATH", str(machine.programs))
    with pytest.raises(RecoveryError, match=r"uhubctl is not installed; sudo apt-get install uhubctl"):
        machine.climb(Rung.POWER_CYCLE)


def test_a_uhubctl_that_does_not_end_is_left(machine: Machine) -> None:
    """A wedged hub answers nobody."""
    os.mkfifo(machine.kernel / "hold")
    machine.uhubctl(f"exec cat {machine.kernel}/hold")
    with pytest.raises(RecoveryError, match=r"uhubctl -l 2-1 -p 3 did not end within 0.5 s"):
        machine.climb(Rung.POWER_CYCLE, bounds=Bounds(switch_s=0.5))


@pytest.mark.parametrize("rung", [Rung.USB_RESET, Rung.POWER_CYCLE])
def test_pci_has_no_such_rung(machine: Machine, rung: Rung) -> None:
    """Said, with nothing done."""
    with pytest.raises(RecoveryError, match=r"/dev/apex_0 is not on USB"):
        machine.climb(rung, "/dev/apex_0")
