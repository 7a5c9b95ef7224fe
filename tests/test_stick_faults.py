"""stick_faults.py: what an Edge TPU's failures say of it, and of the models in its workers."""

from __future__ import annotations

from edge_agent.errors import DisagreementError, WorkerDiedError
from edge_agent.recovery import Ladder
from edge_agent.stick_faults import Faults


def faults() -> Faults:
    """Of a stick that has served a and b."""
    made = Faults(Ladder(), ["litert"])
    made.served("ab")
    return made


def fail(stick: Faults, networks: str, culprit: str | None = None) -> None:
    """A worker with these networks ended before it served, or disagreed with the CPU on one of them."""
    error = WorkerDiedError(7, -6) if culprit is None else DisagreementError("other answers")
    if isinstance(error, DisagreementError):
        error.digest = culprit
    stick.blame(networks, error)
    stick.count(0.0)


def left_out(stick: Faults) -> set[str]:
    """What is not to run there now."""
    return {digest for digest in "abc" if stick.objection(digest)}


def test_a_model_that_fails_on_a_sound_stick_is_blamed() -> None:
    """Each failure in a row counts, and service ends the row."""
    stick = faults()
    fail(stick, "ac")
    fail(stick, "ac")
    assert 2 == stick.failed_with["c"]
    stick.served("ab")
    assert 0 == stick.failed_with["c"]


def test_a_stick_that_failed_before_blames_nobody() -> None:
    """A model that comes after a loss, or after a failure, is not the cause of the next one."""
    stick = faults()
    stick.lost(0.0)
    stick.count(0.0)
    fail(stick, "c")
    fail(stick, "c")
    assert 0 == stick.failed_with["c"]


def test_only_the_one_that_was_wrong_is_blamed() -> None:
    """Where an answer disagreed it is known whose it was."""
    stick = faults()
    fail(stick, "ac", culprit="a")
    assert (1, 0) == (stick.failed_with["a"], stick.failed_with["c"])


def test_what_is_wanted_anew_is_blamed_no_more() -> None:
    """Neither for its failures, nor for what was held against it since."""
    stick = faults()
    for _ in range(2):
        fail(stick, "ac")
    stick.served("a")
    assert {"c"} == left_out(stick)
    stick.forgive("c")
    assert set() == left_out(stick)


def test_each_is_left_out_in_turn() -> None:
    """Those first that never served there; then all are tried again."""
    stick = faults()
    turns = []
    for _ in range(6):
        fail(stick, "abc")
        turns.append(left_out(stick))
    assert [set(), {"c"}, {"a"}, {"b"}, set(), {"c"}] == turns


def test_the_one_without_which_it_serves_stays_out() -> None:
    """Until the stick is plugged in again."""
    stick = faults()
    for _ in range(3):
        fail(stick, "abc")
    stick.served("bc")
    assert {"a"} == left_out(stick)
    assert "3 workers of the Edge TPU failed with this model" in str(stick.objection("a"))
    stick.forget_suspects()
    assert set() == left_out(stick)


def test_a_single_one_is_never_left_out() -> None:
    """Nobody else would gain by it."""
    stick = faults()
    for _ in range(4):
        fail(stick, "a")
    assert set() == left_out(stick)


def test_nobody_else_is_suspected_once_it_is_known() -> None:
    """A candidate that was refused for it takes the suspicion with it."""
    stick = faults()
    for _ in range(2):
        fail(stick, "ac")
    stick.settle()
    fail(stick, "ab")
    assert set() == left_out(stick)
