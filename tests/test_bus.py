"""edge_agent.bus: the sticks that the kernel sees, and the watch over them.

Stood in for: /sys and /dev, by a folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edge_agent.bus import IDENTITIES, BusWatch, Stick, sticks
from tests.test_doctor import STICK, Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A machine with nothing in it."""
    return Board(tmp_path)


def seen(board: Board) -> list[Stick]:
    """What is plugged in."""
    return sticks(board.machine.sys, board.machine.dev)


def watch(board: Board) -> BusWatch:
    """Over that machine, from now on."""
    return BusWatch(board.machine.sys, board.machine.dev)


@pytest.mark.parametrize(("vendor", "product"), sorted(IDENTITIES))
def test_a_stick_is_known_by_both_of_its_names(board: Board, vendor: str, product: str) -> None:
    """It has another identity before libedgetpu has loaded its firmware; both are the stick."""
    node = board.plug(vendor=vendor, product=product)
    board.device("1-1", idVendor="046d", idProduct="9302", busnum=1, devnum=2, speed=480)
    assert [Stick("usb", STICK, node, 5000)] == seen(board)


def test_an_apex_device_is_an_edge_tpu(board: Board) -> None:
    """On PCI the driver's node is all there is to see; what only begins alike is no device."""
    node = board.write("dev/apex_0")
    board.write("dev/apex_control")
    assert [Stick("pci", "/dev/apex_0", node)] == seen(board)


def test_a_machine_without_usb_has_no_sticks(tmp_path: Path) -> None:
    """A container may have neither folder."""
    assert [] == sticks(tmp_path / "sys", tmp_path / "dev")
    assert not BusWatch(tmp_path / "sys", tmp_path / "dev").changed()


def test_what_comes_and_goes_is_seen_once(board: Board) -> None:
    """Plugged in, pulled, plugged in again: each is one change."""
    bus = watch(board)
    assert not bus.changed()
    for _ in range(2):
        board.plug()
        assert [True, False] == [bus.changed(), bus.changed()]
        shutil.rmtree(board.root / "sys/bus/usb/devices/2-1")
        assert [True, False] == [bus.changed(), bus.changed()]


def test_an_apex_device_that_comes_is_seen(board: Board) -> None:
    """Its driver may be loaded later."""
    bus = watch(board)
    board.write("dev/apex_0")
    board.write("dev/tty0")
    assert [True, False] == [bus.changed(), bus.changed()]


def test_what_was_there_is_no_change(board: Board) -> None:
    """The watch begins with what there is."""
    board.plug()
    assert not watch(board).changed()


def test_a_stick_that_is_opened_up_is_a_change(board: Board) -> None:
    """Its group is let in by udev a moment after it has come: before, libedgetpu lists nothing."""
    node = board.plug()
    node.unlink()
    bus = watch(board)
    assert not bus.changed()
    node.touch()
    assert [True, False] == [bus.changed(), bus.changed()]


def test_a_watch_opens_no_device(board: Board) -> None:
    """Looking at a stick must not disturb whoever works with it."""
    node = board.plug()
    bus = watch(board)
    os.utime(node, (0, 0))
    board.device("2-2", idVendor="0000")
    assert bus.changed()
    assert 0 == node.stat().st_atime
