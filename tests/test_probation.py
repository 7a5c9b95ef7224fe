"""probation.py: whether a model that has just taken over may stay."""

from __future__ import annotations

from edge_agent.probation import SLOW_FACTOR, SLOW_SAMPLE, Probation, ProbationRules

RULES = ProbationRules(frames=30, seconds=60.0)


def trial(vetted_ms: float = 2.0, losses: int = 0) -> Probation:
    """One that began at 100 s."""
    return Probation("a" * 64, RULES, vetted_ms, losses, now_s=100.0)


def test_it_takes_frames_and_time() -> None:
    """A model that was never asked has shown nothing, nor one that was asked for a second only."""
    probation = trial()
    assert probation.verdict(0, None, 500.0) is False
    for _ in range(30):
        probation.observe(2.0)
    assert probation.verdict(0, None, 159.9) is False
    assert probation.verdict(0, None, 160.0) is True


def test_a_lost_worker_ends_it() -> None:
    """What was lost before is not the new model's."""
    probation = trial(losses=3)
    assert probation.verdict(3, "an old story", 500.0) is False
    found = probation.verdict(4, "worker 7 ended by SIGSEGV", 500.0)
    assert "its worker was lost on probation: worker 7 ended by SIGSEGV" == found


def test_far_slower_than_vetted() -> None:
    """Over so many frames in the middle: one that waited for a busy core is no slow model."""
    probation = trial(vetted_ms=2.0)
    for _ in range(SLOW_SAMPLE // 2):
        probation.observe(900.0)
        probation.observe(2.0 * SLOW_FACTOR - 1)
    probation.observe(2.0)
    assert probation.verdict(0, None, 101.0) is False
    for _ in range(SLOW_SAMPLE):
        probation.observe(2.0 * SLOW_FACTOR + 1)
    found = probation.verdict(0, None, 102.0)
    assert "far slower than vetted: 11.0 ms an inference instead of 2.0 ms" == found


def test_what_was_never_timed_cannot_be_slow() -> None:
    """A model for the Edge TPU alone has no time on the CPU."""
    probation = trial(vetted_ms=0.0)
    for _ in range(30):
        probation.observe(900.0)
    assert probation.verdict(0, None, 160.0) is True
