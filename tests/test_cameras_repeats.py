"""cameras/repeats.py: when a picture is the same as before, and for how long that may be."""

from __future__ import annotations

import numpy as np

from edge_agent.cameras.repeats import FEWEST, LINES_APART, Repeats
from edge_agent.frames import Pixels

SECOND_NS = 1_000_000_000


def faults(repeats: Repeats, pictures: list[Pixels], step_ns: int = SECOND_NS) -> list[bool]:
    """Whether each of the pictures, so far apart, was a fault."""
    return [repeats.see(each, number * step_ns) is not None for number, each in enumerate(pictures)]


def noise(seed: int, height: int = 100) -> Pixels:
    """A picture like no other."""
    return np.random.default_rng(seed).integers(0, 256, (height, 8, 3), np.uint8)


def test_the_limit_counts_from_the_first_of_them() -> None:
    """Copies of one picture, a second apart."""
    assert [False] * 20 + [True] * 3 == faults(Repeats(20.0), [noise(1).copy() for _ in range(23)])


def test_a_few_pictures_prove_nothing() -> None:
    """Time alone is no evidence: a camera of a frame per hour shows the yard at night."""
    told = faults(Repeats(20.0), [noise(1)] * (FEWEST + 1), 3600 * SECOND_NS)
    assert [False] * FEWEST + [True] == told


def test_noise_is_never_frozen() -> None:
    """Each picture begins anew."""
    assert not any(faults(Repeats(1.0), [noise(seed) for seed in range(40)]))


def test_a_change_anywhere_is_seen_in_time() -> None:
    """One value of one line, wherever: every line is compared within as many pictures as lines are apart."""
    still = noise(1)
    for line in range(0, 100, 7):
        changed = still.copy()
        changed[line, 3, 1] ^= 1
        repeats = Repeats(float(LINES_APART + 1))
        assert not any(faults(repeats, [still, *[changed] * LINES_APART]))


def test_another_size_is_another_picture() -> None:
    """A camera may change it."""
    assert not any(faults(Repeats(1.0), [noise(1), noise(1, 50)] * 20))


def test_zero_is_no_limit() -> None:
    """For what may repeat itself."""
    assert not any(faults(Repeats(0.0), [noise(1)] * 1000))
