"""The newest-frame slot and the bell."""

from __future__ import annotations

from edge_agent.cameras.slot import Bell, Slot
from edge_agent.frames import Frame
from tests.fakes.cameras import plain_picture


def frame(number: int) -> Frame:
    """A frame of which only the number matters."""
    return Frame(plain_picture(), number, 0, 0)


def test_a_ring_before_the_wait_is_not_lost() -> None:
    """A frame that comes while the lane looks elsewhere still wakes it."""
    bell = Bell()
    bell.ring()
    assert bell.wait(0.0)


def test_a_bell_rings_once_for_what_was_rung_twice() -> None:
    """After a wait the lane looks at every camera, so rings need not be counted."""
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait(0.0)
    assert not bell.wait(0.0)


def test_the_newest_frame_wins_and_the_older_is_counted() -> None:
    """A slow lane sees what the camera sees now, and how much it missed."""
    slot = Slot()
    for number in (1, 2, 3):
        slot.put(frame(number))
    newest = slot.take()
    assert newest is not None
    assert 3 == newest.number
    assert 2 == slot.dropped


def test_a_frame_is_taken_once() -> None:
    """No frame is predicted twice."""
    slot = Slot()
    slot.put(frame(1))
    slot.take()
    assert slot.take() is None
    assert slot.is_empty
