"""What of a camera's ups and downs is news."""

from __future__ import annotations

import logging

from edge_agent.cameras.standing import STEADY_NS, Standing


def test_a_camera_that_was_steady_is_news_when_it_is_lost() -> None:
    """The same fault a day later is told again, and so is the recovery."""
    standing = Standing()
    standing.count(0)
    assert logging.INFO == standing.online_level()
    assert (logging.WARNING, False) == standing.lose("gone", STEADY_NS // 2)
    standing.count(STEADY_NS)
    assert logging.INFO == standing.online_level()
    assert (logging.WARNING, True) == standing.lose("gone", 3 * STEADY_NS)


def test_repeats_and_flaps_are_no_news() -> None:
    """An outage that goes on, or that is broken by single frames, stays at DEBUG."""
    standing = Standing()
    standing.count(0)
    standing.online_level()
    standing.lose("gone", 1)
    assert (logging.DEBUG, False) == standing.lose("gone", 2)
    standing.count(3)
    standing.online_level()
    assert (logging.DEBUG, False) == standing.lose("gone", 4)
    standing.count(5)
    assert logging.DEBUG == standing.online_level()


def test_another_fault_is_news() -> None:
    """First `refused`, then `wrong password`: the second is what the user has to know."""
    standing = Standing()
    standing.lose("refused", 0)
    assert (logging.WARNING, False) == standing.lose("wrong password", 1)


def test_the_first_connection_is_no_reconnect() -> None:
    """Only what came back counts."""
    standing = Standing()
    standing.count(0)
    assert standing.reconnects == 0
    standing.lose("gone", 1)
    standing.count(2)
    assert standing.reconnects == 1
    assert standing.fault is None
