"""allowance.py: so many at once, so many a second."""

from __future__ import annotations

from edge_agent.allowance import Allowance
from tests.fakes.clock import FakeClock


def test_a_burst_passes_and_then_the_rate_counts() -> None:
    """Three at once, then one every half second; what was saved up is never more than the burst."""
    clock = FakeClock()
    allowance = Allowance(3, 2.0, clock)
    assert [True, True, True, False] == [allowance.take() for _ in range(4)]
    clock.advance(0.5)
    assert [True, False] == [allowance.take() for _ in range(2)]
    clock.advance(3600.0)
    assert [True, True, True, False] == [allowance.take() for _ in range(4)]
