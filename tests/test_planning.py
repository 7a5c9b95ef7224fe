"""planning.py: the table of what to do next."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.planning import (
    BACKOFF_CAP_S,
    GIVE_UP_DEATHS,
    Aspired,
    Flip,
    GiveUp,
    Retire,
    Start,
    WorkerView,
    backoff_s,
    plan,
)
from edge_agent.states import LEGAL, IllegalTransitionError, State, transition

A = Aspired("a")
STARTING_A = WorkerView(1, "default", "a", State.STARTING)
READY_A = WorkerView(1, "default", "a", State.READY)
SERVING_A = dataclasses.replace(READY_A, serving=True)


def test_nothing_to_start_when_no_worker_fits() -> None:
    """A slot without a worker gets one."""
    assert Start("default") == plan({"default": A}, [], 0.0)


def test_starting_to_waiting_when_not_ready() -> None:
    """One starting worker is enough."""
    assert plan({"default": A}, [STARTING_A], 0.0) is None


def test_ready_to_serving_when_none_serves() -> None:
    """A READY worker is flipped to."""
    assert Flip(1) == plan({"default": A}, [READY_A], 0.0)


def test_serving_to_rest_when_all_is_as_desired() -> None:
    """Nothing to do is None."""
    assert plan({"default": A}, [SERVING_A], 0.0) is None


def test_exited_to_backoff_when_it_died() -> None:
    """No worker is started before the backoff is over, and one is after it."""
    held = Aspired("a", deaths=2, retry_at=10.0)
    assert plan({"default": held}, [], 9.9) is None
    assert Start("default") == plan({"default": held}, [], 10.0)


def test_backoff_to_fatal_when_deaths_reach_the_limit() -> None:
    """A model that keeps killing its workers is given up, whatever the backoff says."""
    dying = Aspired("a", deaths=GIVE_UP_DEATHS, retry_at=10.0)
    assert GiveUp("default") == plan({"default": dying}, [], 0.0)


def test_fatal_to_rest_when_given_up() -> None:
    """Nothing is started for a slot that was given up."""
    assert plan({"default": Aspired("a", deaths=9, given_up=True)}, [], 1e9) is None


def test_serving_to_starting_when_another_digest_is_desired() -> None:
    """The new model's worker starts beside the one that serves."""
    assert Start("default") == plan({"default": Aspired("b")}, [SERVING_A], 0.0)


def test_serving_to_retired_only_when_the_new_one_serves() -> None:
    """The old worker serves until the flip, and is retired after it."""
    ready_b = WorkerView(2, "default", "b", State.READY)
    assert Flip(2) == plan({"default": Aspired("b")}, [SERVING_A, ready_b], 0.0)
    serving_b = dataclasses.replace(ready_b, serving=True)
    assert Retire(1) == plan({"default": Aspired("b")}, [READY_A, serving_b], 0.0)


def test_serving_to_retired_when_the_slot_is_gone() -> None:
    """Workers of slots that nobody desires end."""
    assert Retire(1) == plan({}, [SERVING_A], 0.0)


_VIEWS = st.builds(
    WorkerView,
    key=st.integers(0, 99),
    slot=st.sampled_from(["default", "other"]),
    digest=st.sampled_from("ab"),
    state=st.sampled_from(State),
    serving=st.booleans(),
)
_ASPIRED = st.builds(
    Aspired,
    digest=st.sampled_from("ab"),
    deaths=st.integers(0, 9),
    retry_at=st.floats(0, 10),
    given_up=st.booleans(),
)


@given(
    st.dictionaries(st.sampled_from(["default", "other"]), _ASPIRED),
    st.lists(_VIEWS, unique_by=lambda view: view.key),
    st.floats(0, 20),
)
def test_a_desired_slot_never_loses_the_worker_that_serves(
    desired: dict[str, Aspired], views: list[WorkerView], now: float
) -> None:
    """Whatever the state: what serves a desired slot is never retired, only what is there is touched."""
    action = plan(desired, views, now)
    if isinstance(action, (Flip, Retire)):
        touched = next(view for view in views if view.key == action.key)
        assert touched.state in (State.STARTING, State.READY)
        if isinstance(action, Retire):
            assert not (touched.serving and touched.slot in desired)
    if isinstance(action, (Start, GiveUp)):
        assert not desired[action.slot].given_up


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_backoff_is_capped_and_spread(deaths: int, jitter: float) -> None:
    """However many deaths: from none to a fifth over the cap."""
    assert 0.0 <= backoff_s(deaths, jitter) <= 1.2 * BACKOFF_CAP_S + 1e-9


def test_backoff_grows_from_nothing() -> None:
    """The first replacement starts at once, the next ones after a doubling wait."""
    assert [0.0, 0.5, 1.0, 2.0] == [backoff_s(deaths, 0.5) for deaths in (1, 2, 3, 4)]


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_only_legal_transitions_pass_the_door(old: State, new: State) -> None:
    """The door lets the table's steps through and raises for every other."""
    if new in LEGAL[old]:
        assert new is transition(old, new)
    else:
        with pytest.raises(IllegalTransitionError, match=f"{old.name} -> {new.name}"):
            transition(old, new)
