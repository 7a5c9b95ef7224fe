"""The states of a worker and the only legal ways between them. Runs on Python 3.9."""

from __future__ import annotations

import enum
from typing import FrozenSet, Mapping, TypeVar


class State(enum.Enum):
    """Where a worker, or a slot that waits for one, stands."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    EXITED = "exited"
    BACKOFF = "backoff"
    FATAL = "fatal"


class EdgeTpuState(enum.Enum):
    """Where an agent's Edge TPU stands, with its worker.

    ABSENT: none there for us. FOUND: there, and locked. STARTING, PROVING, SERVING: its worker loads, is held
    against the CPU's answers, may serve. BACKOFF: it failed. RECOVERING: a rung of the ladder is under way.
    """

    ABSENT = "absent"
    FOUND = "found"
    STARTING = "starting"
    PROVING = "proving"
    SERVING = "serving"
    BACKOFF = "backoff"
    RECOVERING = "recovering"


AnyState = TypeVar("AnyState", State, EdgeTpuState)

LEGAL: Mapping[enum.Enum, FrozenSet[enum.Enum]] = {
    State.STARTING: frozenset({State.READY, State.STOPPING, State.EXITED}),
    State.READY: frozenset({State.STOPPING, State.EXITED}),
    State.STOPPING: frozenset({State.EXITED}),
    State.EXITED: frozenset({State.BACKOFF, State.FATAL, State.STARTING}),
    State.BACKOFF: frozenset({State.STARTING, State.FATAL}),
    State.FATAL: frozenset({State.STARTING}),
    EdgeTpuState.ABSENT: frozenset({EdgeTpuState.FOUND, EdgeTpuState.RECOVERING}),
    EdgeTpuState.FOUND: frozenset({EdgeTpuState.STARTING, EdgeTpuState.ABSENT, EdgeTpuState.BACKOFF}),
    EdgeTpuState.STARTING: frozenset({EdgeTpuState.PROVING, EdgeTpuState.BACKOFF, EdgeTpuState.FOUND}),
    EdgeTpuState.PROVING: frozenset({EdgeTpuState.SERVING, EdgeTpuState.BACKOFF, EdgeTpuState.FOUND}),
    EdgeTpuState.SERVING: frozenset({EdgeTpuState.BACKOFF, EdgeTpuState.FOUND}),
    EdgeTpuState.BACKOFF: frozenset({EdgeTpuState.FOUND, EdgeTpuState.ABSENT, EdgeTpuState.RECOVERING}),
    EdgeTpuState.RECOVERING: frozenset({EdgeTpuState.BACKOFF}),
}


class IllegalTransitionError(RuntimeError):
    """A fault of this program: a state was left in a way that must not happen."""


def transition(old: AnyState, new: AnyState) -> AnyState:
    """The one door: ``new`` where the step is legal.

    Raises IllegalTransitionError.
    """
    if new not in LEGAL[old]:
        raise IllegalTransitionError(f"{old.name} -> {new.name}")
    return new
