"""supply.py and power.py: the board's power, looked at beside the main loop."""

from __future__ import annotations

import threading

import pytest

from edge_agent.beside import Beside
from edge_agent.power import COOL, FEED, Power
from edge_agent.supply import EVERY_S, Supply
from tests.fakes.clock import FakeClock


class Board:
    """A supply whose firmware says what the test wants; ``looks`` counts how often it was asked."""

    def __init__(self, *told: int | None) -> None:
        self.clock = FakeClock()
        self.looks = 0
        self._told = list(told)
        self._woken = threading.Event()
        self._beside = Beside(self._woken.set)
        self.supply = Supply(self._beside, self.clock, self._look)

    def _look(self) -> Power | None:
        self.looks += 1
        bits = self._told.pop(0)
        return None if bits is None else Power(bits)

    def turn(self) -> None:
        """One turn, and what it began is heard."""
        self.supply.turn()
        while self._beside.busy:
            assert self._woken.wait(30)
            self._woken.clear()
            self._beside.settle()


def test_the_firmware_is_asked_at_the_start_and_then_now_and_then() -> None:
    """Each question is a program that is started."""
    board = Board(0, 0)
    for _ in range(3):
        board.turn()
    assert 1 == board.looks
    board.clock.advance(EVERY_S)
    board.turn()
    assert 2 == board.looks


def test_what_is_wrong_now_is_a_fault_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """What has passed is told, and no fault."""
    board = Board(0x50005, 0x50005, 0x50000, None)
    faults = []
    for _ in range(4):
        board.turn()
        faults.append(board.supply.fault)
        board.clock.advance(EVERY_S)
    fault = f"under-voltage, throttled; {FEED}"
    assert [fault, fault, None, None] == faults
    assert [f"power: {fault}"] == caplog.messages


@pytest.mark.parametrize(
    ("bits", "now", "since_boot", "slowed", "fault"),
    [
        (0, (), (), False, None),
        (0x1, ("under-voltage",), ("under-voltage",), False, f"under-voltage; {FEED}"),
        (0x20002, ("frequency capped",), ("frequency capped",), True, f"frequency capped; {COOL}"),
        (0x90000, (), ("under-voltage", "soft temperature limit"), False, None),
    ],
)
def test_the_bits_in_words(
    bits: int, now: tuple[str, ...], since_boot: tuple[str, ...], slowed: bool, fault: str | None
) -> None:
    """What is wrong now is among what has been since boot, though the firmware noted it in one place only."""
    power = Power(bits)
    assert (now, since_boot, slowed, fault) == (power.now, power.since_boot, power.slowed, power.fault)
