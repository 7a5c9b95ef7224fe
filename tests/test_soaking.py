"""What a long run is judged by: slopes, and gaps that the agent has counted or not."""

from __future__ import annotations

import json
import random

from tests.soaking.sequences import Arrivals, Count, Gap, Window, unexplained, windows
from tests.soaking.slopes import Slope, slope

COUNTS = [Count(float(at_s), at_s + 0.5, dropped) for at_s, dropped in ((0, 0), (10, 0), (20, 6), (30, 9))]


def prediction(sequence: int, camera: str = "door") -> bytes:
    """As far as it matters here; captured at as many seconds of 1970."""
    told = {"schema": "edge-agent/prediction/1", "session": "8d1c7f20", "camera": camera}
    captured_at = f"1970-01-01T00:00:{sequence:02}.000000Z"
    return json.dumps(
        {**told, "sequence": sequence, "captured_at": captured_at}, separators=(",", ":")
    ).encode()


def test_gaps_are_found_whatever_the_order() -> None:
    """What is missing between two that arrived, first or later, in order or not, twice or once."""
    arrivals = Arrivals()
    for sequence in (3, 4, 9, 8, 9):
        arrivals.add(prediction(sequence))
    arrivals.add(b'{"schema":"edge-agent/health/1"}')
    [run] = arrivals.runs()
    assert ("8d1c7f20", "door") == run
    assert 9 == arrivals.last(run)
    assert [Gap(2, 0.0, 3.0), Gap(3, 4.0, 8.0)] == arrivals.gaps(run)


def test_a_gap_is_explained_by_what_was_counted_meanwhile() -> None:
    """Only what was counted between the question before it and the one after it."""
    assert [Window(6, 6)] == windows([Gap(6, 12.0, 17.0)], COUNTS)
    assert [Window(6, 6)] == windows([Gap(6, 12.0, 18.0)], COUNTS)
    assert [Window(6, 9)] == windows([Gap(6, 12.0, 18.5)], COUNTS)
    assert [Window(1, 0)] == windows([Gap(1, 2.0, 5.0)], COUNTS)
    assert [Window(9, 9)] == windows([Gap(9, 0.0, 29.0)], COUNTS)


def test_a_question_counts_from_its_answer_on() -> None:
    """What began between question and answer may be in the answer already: the one before is looked at."""
    assert [Window(3, 9)] == windows([Gap(3, 20.2, 25.0)], COUNTS)
    assert [Window(3, 3)] == windows([Gap(3, 20.5, 25.0)], COUNTS)


def test_gaps_of_several_cameras_share_what_was_counted() -> None:
    """What explains one explains no other."""
    found = windows([Gap(4, 12.0, 16.0), Gap(3, 13.0, 17.0), Gap(3, 21.0, 25.0)], COUNTS)
    assert [Window(7, 6), Window(3, 3)] == found
    assert 1 == unexplained(found)


def noisy(per_minute: float) -> list[tuple[float, float]]:
    """Half an hour of a figure with noise, with a start of its own."""
    chance = random.Random(3)
    at_minutes = [number / 30 for number in range(900)]
    return [(at, (50 if at > 2 else 30) + per_minute * at + chance.uniform(-1, 1)) for at in at_minutes]


def test_noise_does_not_creep() -> None:
    """A warm-up, noise and single peaks are no slope."""
    points = noisy(0.0)
    points[500] = (points[500][0], 400.0)
    found = slope(points)
    assert not found.creeps
    assert found.low < 0 < found.high


def test_what_creeps_is_seen() -> None:
    """A slope that is far below the noise of one sample."""
    found = slope(noisy(0.05))
    assert found.creeps
    assert found.low < 0.05 < found.high


def test_a_count_that_stands_has_no_slope() -> None:
    """Exactly none."""
    assert Slope(0.0, 0.0, 0.0) == slope([(at / 30, 24.0) for at in range(900)])
