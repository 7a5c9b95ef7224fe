"""answers.py: whose answer is whose."""

from __future__ import annotations

import pytest

from edge_agent.answers import Answers
from edge_agent.errors import ProtocolError
from edge_agent.worker.protocol import SCORES, Message


def answer(request: int) -> Message:
    """What a worker sends."""
    return Message(SCORES, request, 0, bytearray())


def test_what_another_asked_for_is_kept_for_him() -> None:
    """A reader that meets another's answer reads on."""
    answers = Answers()
    coming = [answer(1), answer(2)]
    for request in (1, 2):
        answers.expect(request, "model")
    assert ("model", answer(2)) == answers.take(2, 1.0, lambda _left_s: coming.pop(0))
    assert ("model", answer(1)) == answers.take(1, 1.0, lambda _left_s: pytest.fail("it was there"))


@pytest.mark.parametrize("arrives", ["before", "after"])
def test_of_an_abandoned_request_nothing_is_left(arrives: str) -> None:
    """Its answer is thrown away, whether it came before that was known or after."""
    answers = Answers()
    coming = [answer(1), answer(2)]
    for request in (1, 2):
        answers.expect(request, "model")
    if arrives == "after":
        answers.abandon(1)
        assert answers.awaits(1)
    answers.take(2, 1.0, lambda _left_s: coming.pop(0))
    if arrives == "before":
        answers.abandon(1)
    assert not answers.awaits(1)
    answers.expect(1, "model")
    assert answers.awaits(1)


def test_the_first_error_is_everybodys() -> None:
    """Later ones are its echoes."""
    answers = Answers()
    answers.broken_by(ProtocolError("first"))
    assert "first" == str(answers.broken_by(ProtocolError("second"))) == str(answers.error)
    answers.expect(1, "model")
    with pytest.raises(ProtocolError, match="first"):
        answers.take(1, 1.0, lambda _left_s: pytest.fail("nothing will arrive"))
