"""Rate limit, measured rate and backoff."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cameras.pace import Backoff, Pace, Rate

SECOND_NS = 1_000_000_000


def handed_on(pace: Pace, source_fps: float, seconds: int) -> int:
    """How many frames of a steady source pass the limit."""
    times = [int(n * SECOND_NS / source_fps) for n in range(int(source_fps * seconds))]
    return sum(pace.is_due(time_ns) for time_ns in times)


@pytest.mark.parametrize(
    ("source_fps", "limit", "expected"), [(30, 5, 5), (30, 7, 7), (25, 10, 10), (30, 0, 30)]
)
def test_the_rate_is_the_one_asked_for(source_fps: float, limit: float, expected: int) -> None:
    """A rate that does not divide the source's is met on average, rather than rounded down."""
    assert expected * 10 == pytest.approx(handed_on(Pace(limit), source_fps, 10), abs=1)


@given(st.lists(st.integers(-8_000_000, 8_000_000), min_size=60, max_size=60))
def test_jitter_does_not_halve_a_rate_at_the_limit(jitter_ns: list[int]) -> None:
    """A camera of 30 fps limited to 30 keeps all but a few frames, however its frames jitter."""
    pace = Pace(30)
    times = [SECOND_NS + n * SECOND_NS // 30 + early for n, early in enumerate(jitter_ns)]
    assert sum(pace.is_due(time_ns) for time_ns in times) >= 57


def test_no_burst_makes_up_for_a_pause() -> None:
    """After an outage frames come at the rate again, not all that were missed at once."""
    pace = Pace(5)
    pace.is_due(0)
    after = [100 * SECOND_NS + n * SECOND_NS // 30 for n in range(30)]
    assert sum(pace.is_due(time_ns) for time_ns in after) <= 7


def test_a_new_rate_holds_at_once() -> None:
    """Whoever raises the rate from one an hour does not wait for an hour."""
    pace = Pace(1 / 3600)
    pace.is_due(0)
    pace.fps = 10
    assert pace.left_ns(1) <= 0


def test_a_rate_is_measured() -> None:
    """Ten intervals of a tenth of a second are 10 per second."""
    rate = Rate()
    for n in range(11):
        rate.count(n * SECOND_NS // 10)
    assert pytest.approx(10.0) == rate.per_second(SECOND_NS)


def test_a_rate_falls_while_nothing_comes() -> None:
    """A camera that stands still does not show the rate that it had."""
    rate = Rate()
    for n in range(11):
        rate.count(n * SECOND_NS // 10)
    assert rate.per_second(61 * SECOND_NS) < 0.2


def test_a_first_retry_is_quick_and_later_ones_are_capped() -> None:
    """A blip costs a tenth of a second; a long outage never more than the cap."""
    backoff = Backoff(0.1)
    pauses_s = [backoff.pause_s(2.0) for _ in range(40)]
    assert pauses_s[0] <= 0.1
    assert all(1.5 <= pause_s <= 2.0 for pause_s in pauses_s[10:])
    backoff.reset()
    assert backoff.pause_s(2.0) <= 0.1
