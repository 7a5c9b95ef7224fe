"""What waits in a slot: who is next, and what is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.admission import Offer, Passed
from edge_agent.turns import AGAIN_S, Turn, Turns


def nothing(_serving: str | None) -> Passed:
    """What these turns would find."""
    return Passed("nothing")


def came(way: str, *, asked: bool = False) -> Turn:
    """A bundle that came some way."""
    return Turn("offer", nothing, offer=Offer(way, Path("new.zip"), "new.zip", asked))


def test_what_failed_for_what_may_pass_is_tried_again_later() -> None:
    """Not before its time, and once."""
    turns, turn = Turns(), came("inbox:new.zip")
    turns.wait_again(turn, 0.0)
    assert [None, turn, None] == [turns.next(at_s) for at_s in (AGAIN_S - 1, AGAIN_S, 2 * AGAIN_S)]


@pytest.mark.parametrize(
    ("way", "turn"),
    [
        ("activate", Turn("activate", nothing)),
        ("rollback", Turn("rollback", nothing)),
        ("control", came("control", asked=True)),
    ],
    ids=["activate", "rollback", "install"],
)
def test_what_a_person_asks_for_is_not_undone_by_what_is_tried_again(way: str, turn: Turn) -> None:
    """The one that was asked for since is the newer wish, also where the other was due before its turn."""
    turns = Turns()
    turns.wait_again(came("inbox:old.zip"), 0.0)
    turns.wait(way, turn)
    assert turn is turns.next(2 * AGAIN_S)
    turns.forget_later()
    assert turns.next(2 * AGAIN_S) is None


def test_what_is_asked_for_in_vain_changes_nothing() -> None:
    """What could not be had is no reason to forget what waits for room on the disk."""
    turns, old, asked = Turns(), came("inbox:old.zip"), came("control", asked=True)
    turns.wait_again(old, 0.0)
    turns.wait("control", asked)
    assert [asked, old] == [turns.next(at_s) for at_s in (0.0, AGAIN_S)]


def test_what_came_another_way_leaves_it_alone() -> None:
    """A newer bundle of another way is nobody's word against it."""
    turns, old, new = Turns(), came("inbox:old.zip"), came("path")
    turns.wait_again(old, 0.0)
    turns.wait("path", new)
    assert [new, old] == [turns.next(at_s) for at_s in (0.0, AGAIN_S)]


def test_a_rollback_goes_before_what_waited() -> None:
    """Whoever rolls back wants it now."""
    turns, new, back = Turns(), came("path"), Turn("rollback", nothing)
    turns.wait("path", new)
    turns.wait("rollback", back)
    assert [back, new] == [turns.next(0.0), turns.next(0.0)]
