"""The states of a worker and the only legal ways between them. Runs on Python 3.9."""

from __future__ import annotations

import enum
from typing import FrozenSet, Mapping


class State(enum.Enum):
    """Where a worker, or a slot that waits for one, stands."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    EXITED = "exited"
    BACKOFF = "backoff"
    FATAL = "fatal"


LEGAL: Mapping[State, FrozenSet[State]] = {
    State.STARTING: frozenset({State.READY, State.STOPPING, State.EXITED}),
    State.READY: frozenset({State.STOPPING, State.EXITED}),
    State.STOPPING: frozenset({State.EXITED}),
    State.EXITED: frozenset({State.BACKOFF, State.FATAL, State.STARTING}),
    State.BACKOFF: frozenset({State.STARTING, State.FATAL}),
    State.FATAL: frozenset({State.STARTING}),
}


class IllegalTransitionError(RuntimeError):
    """A fault of this program: a state was left in a way that must not happen."""


def transition(old: State, new: State) -> State:
    """The one door: ``new`` where the step is legal.

    Raises IllegalTransitionError.
    """
    if new not in LEGAL[old]:
        raise IllegalTransitionError(f"{old.name} -> {new.name}")
    return new
