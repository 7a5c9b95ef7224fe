"""edge_agent.recovery: which rung, when, and what it does."""

from __future__ import annotations

import pytest

from edge_agent.recovery import Ladder, Rung, delay_s, rung_for


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
