"""control.py: signals and the main loop's wait."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from edge_agent.control import Control


@pytest.fixture
def control() -> Iterator[Control]:
    """A new one."""
    made = Control()
    yield made
    made.close()


def test_signals_are_queued_in_order_and_given_back(control: Control) -> None:
    """A handler only enqueues; afterwards the old handlers are in place again."""
    before = signal.getsignal(signal.SIGHUP)
    with control.signals_queued():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        control.wait(30.0)
        assert [signal.SIGHUP, signal.SIGTERM] == list(control.requests())
        assert [] == list(control.requests())
    assert before is signal.getsignal(signal.SIGHUP)


def test_a_bell_rung_before_the_wait_is_not_lost(control: Control) -> None:
    """The wait after a ring returns at once, and only once."""
    control.ring()
    control.ring()
    control.wait(30.0)
    ended = threading.Event()

    def wait() -> None:
        control.wait(30.0)
        ended.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not ended.is_set()
    control.ring()
    assert ended.wait(30.0)
    waiter.join()


def test_the_wait_ends_when_something_is_readable(control: Control) -> None:
    """A worker that speaks is heard without a ring."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        control.wait(30.0, [ours])
        assert b"x" == ours.recv(1)


def test_signals_that_were_blocked_before_us_are_heard(control: Control) -> None:
    """A signal mask is inherited; an agent that never hears SIGTERM would have to be killed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with control.signals_queued():
            os.kill(os.getpid(), signal.SIGTERM)
            control.wait(30.0)
            assert [signal.SIGTERM] == list(control.requests())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
