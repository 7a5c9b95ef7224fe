"""planning.py: the table of what to do next."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.actions import (
    Action,
    Climb,
    Flip,
    FlipToEdgeTpu,
    GiveUp,
    Look,
    Promote,
    Prove,
    Refuse,
    Release,
    Retire,
    RetireEdgeTpu,
    Start,
    StartEdgeTpu,
)
from edge_agent.planning import (
    BACKOFF_CAP_S,
    GIVE_UP_DEATHS,
    Aspired,
    Candidate,
    StickView,
    WorkerView,
    backoff_s,
    plan,
)
from edge_agent.states import LEGAL, EdgeTpuState, IllegalTransitionError, State, transition

A = Aspired("a")
STARTING_A = WorkerView(1, "default", "a", State.STARTING)
READY_A = WorkerView(1, "default", "a", State.READY)
SERVING_A = dataclasses.replace(READY_A, serving=True)


def test_nothing_to_start_when_no_worker_fits() -> None:
    """A slot without a worker gets one."""
    assert Start("default", "a") == plan({"default": A}, [], 0.0)


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
    assert Start("default", "a") == plan({"default": held}, [], 10.0)


def test_backoff_to_fatal_when_deaths_reach_the_limit() -> None:
    """A model that keeps killing its workers is given up, whatever the backoff says."""
    dying = Aspired("a", deaths=GIVE_UP_DEATHS, retry_at=10.0)
    assert GiveUp("default") == plan({"default": dying}, [], 0.0)


def test_fatal_to_rest_when_given_up() -> None:
    """Nothing is started for a slot that was given up."""
    assert plan({"default": Aspired("a", deaths=9, given_up=True)}, [], 1e9) is None


def test_serving_to_starting_when_another_digest_is_desired() -> None:
    """The new model's worker starts beside the one that serves."""
    assert Start("default", "b") == plan({"default": Aspired("b")}, [SERVING_A], 0.0)


def test_serving_to_retired_only_when_the_new_one_serves() -> None:
    """The old worker serves until the flip, and is retired after it."""
    ready_b = WorkerView(2, "default", "b", State.READY)
    assert Flip(2) == plan({"default": Aspired("b")}, [SERVING_A, ready_b], 0.0)
    serving_b = dataclasses.replace(ready_b, serving=True)
    assert Retire(1) == plan({"default": Aspired("b")}, [READY_A, serving_b], 0.0)


def test_serving_to_retired_when_the_slot_is_gone() -> None:
    """Workers of slots that nobody desires end."""
    assert Retire(1) == plan({}, [SERVING_A], 0.0)


TWIN_A = dataclasses.replace(A, on_edgetpu=True)
ONLY_COMPILED_A = dataclasses.replace(TWIN_A, on_cpu=False)
FOUND = StickView(EdgeTpuState.FOUND)
PROVING_A = StickView(EdgeTpuState.PROVING, frozenset("a"))
PROVEN_A = StickView(EdgeTpuState.SERVING, frozenset("a"))
ON_STICK = dataclasses.replace(PROVEN_A, serves={"default": "a"})


def plan_stick(
    stick: StickView, aspired: Aspired = TWIN_A, *workers: WorkerView, now: float = 0.0, standby: bool = True
) -> Action | None:
    """The next step for one slot, whose CPU worker serves unless others are given."""
    return plan({"default": aspired}, workers or [SERVING_A], now, stick, standby=standby)


def test_absent_to_look_when_its_time_has_come() -> None:
    """An Edge TPU is looked for again and again, but not sooner than said."""
    absent = StickView(look_at=10.0)
    assert plan_stick(absent, now=9.9) is None
    assert Look() == plan_stick(absent, now=10.0)


def test_absent_to_rest_when_nothing_is_compiled() -> None:
    """Without a model for it nobody looks for an Edge TPU: it would cost a child each time."""
    assert plan_stick(StickView(), A) is None


def test_found_to_starting_when_the_backoff_is_over() -> None:
    """A device that was found gets its worker, with the networks of every slot that has one."""
    assert plan_stick(dataclasses.replace(FOUND, retry_at=1.0)) is None
    desired = {"default": TWIN_A, "plain": Aspired("p"), "other": Aspired("b", on_edgetpu=True)}
    views = [SERVING_A, WorkerView(2, "plain", "p", State.READY, serving=True)]
    views.append(WorkerView(3, "other", "b", State.READY, serving=True))
    assert StartEdgeTpu({"default": "a", "other": "b"}) == plan(desired, views, 0.0, FOUND)


def test_found_to_rest_when_a_model_is_still_vetted() -> None:
    """The one worker waits for the networks of all slots rather than be replaced at once."""
    assert plan_stick(dataclasses.replace(FOUND, hold=True)) is None


def test_found_to_absent_when_no_slot_has_a_use_for_it() -> None:
    """A device that is not needed is given back to others."""
    assert Release() == plan_stick(FOUND, A)


def test_backoff_to_absent_when_no_slot_has_a_use_for_it() -> None:
    """Nor is it kept from others, reset or tried again where it failed."""
    assert Release() == plan_stick(StickView(EdgeTpuState.BACKOFF, retry_at=9.0, rung_due=True), A)


def test_any_to_rest_when_something_is_under_way() -> None:
    """One thing at a time is done with the device."""
    for state in EdgeTpuState:
        networks = frozenset("a") if state in HAS_WORKER else frozenset()
        assert plan_stick(StickView(state, networks, busy=True, rung_due=True)) is None


def test_proving_to_proof_when_ready() -> None:
    """A new worker is held against the CPU before it serves anybody."""
    assert Prove() == plan_stick(PROVING_A)


def test_proven_to_serving_when_a_slot_is_on_the_cpu() -> None:
    """Once proven it is flipped to, though the CPU serves well."""
    assert FlipToEdgeTpu("default") == plan_stick(PROVEN_A)


def test_serving_to_rest_when_the_standby_is_warm() -> None:
    """The worker on the CPU stays, READY and idle."""
    assert plan_stick(ON_STICK, TWIN_A, READY_A) is None


def test_serving_to_standby_when_there_is_none() -> None:
    """A standby that died is replaced while the Edge TPU serves."""
    dead = dataclasses.replace(READY_A, state=State.EXITED)
    assert Start("default", "a") == plan_stick(ON_STICK, TWIN_A, dead)


def test_serving_to_alone_when_no_standby_is_wanted() -> None:
    """With standby off the worker on the CPU goes once the Edge TPU serves, and comes when that is lost."""
    assert Retire(1) == plan_stick(ON_STICK, TWIN_A, READY_A, standby=False)
    dead = dataclasses.replace(READY_A, state=State.EXITED)
    assert plan_stick(ON_STICK, TWIN_A, dead, standby=False) is None
    lost = StickView(EdgeTpuState.BACKOFF, retry_at=9.0)
    assert Start("default", "a") == plan_stick(lost, TWIN_A, dead, standby=False)


def test_serving_to_cpu_when_lost() -> None:
    """The standby takes over before anything else is done."""
    lost = StickView(EdgeTpuState.BACKOFF)
    assert Flip(1) == plan_stick(lost, TWIN_A, READY_A)


def test_backoff_to_look_when_it_is_over() -> None:
    """After the pause it is seen first whether the device is there at all."""
    waiting = StickView(EdgeTpuState.BACKOFF, retry_at=5.0)
    assert plan_stick(waiting, now=4.9) is None
    assert Look() == plan_stick(waiting, now=5.0)


def test_backoff_to_recovering_when_a_rung_is_due() -> None:
    """The rung comes after the pause and before the look; an absent one may need it too."""
    for state in (EdgeTpuState.BACKOFF, EdgeTpuState.ABSENT):
        waiting = StickView(state, look_at=9.0, retry_at=5.0, rung_due=True)
        assert plan_stick(waiting, now=4.9) is None
        assert Climb() == plan_stick(waiting, now=5.0)


def test_serving_to_found_only_when_the_cpu_has_taken_over() -> None:
    """A worker with the wrong networks goes when its slots are flipped away, and one by one they are."""
    aspired = dataclasses.replace(TWIN_A, digest="b")
    starting_b = WorkerView(2, "default", "b", State.STARTING)
    ready_b = dataclasses.replace(starting_b, state=State.READY)
    serving_b = dataclasses.replace(ready_b, serving=True)
    assert Start("default", "b") == plan_stick(ON_STICK, aspired, READY_A)
    assert Retire(1) == plan_stick(ON_STICK, aspired, READY_A, starting_b)
    assert plan_stick(ON_STICK, aspired, starting_b) is None
    assert Flip(2) == plan_stick(ON_STICK, aspired, ready_b)
    assert RetireEdgeTpu() == plan_stick(PROVEN_A, aspired, serving_b)


def test_serving_to_found_when_the_cpu_never_will() -> None:
    """What only the Edge TPU can run is replaced there, with the gap that this costs."""
    aspired = dataclasses.replace(ONLY_COMPILED_A, digest="b")
    assert RetireEdgeTpu() == plan_stick(ON_STICK, aspired, WorkerView(9, "default", "a", State.EXITED))


def test_nothing_to_rest_when_only_the_edge_tpu_could_run_it() -> None:
    """A slot without a model for the CPU never gets a worker there."""
    assert plan({"default": ONLY_COMPILED_A}, [], 0.0, StickView(look_at=1.0)) is None


def test_backoff_to_given_up_on_the_cpu_while_the_edge_tpu_serves() -> None:
    """A standby that keeps dying is given up; the Edge TPU goes on."""
    dying = dataclasses.replace(TWIN_A, deaths=GIVE_UP_DEATHS)
    dead = dataclasses.replace(READY_A, state=State.EXITED)
    assert GiveUp("default") == plan_stick(ON_STICK, dying, dead)
    assert plan_stick(ON_STICK, dataclasses.replace(dying, given_up=True), dead) is None


CANDIDATE_B = dataclasses.replace(A, candidate=Candidate("b"))
READY_B = WorkerView(2, "default", "b", State.READY)


def test_serving_to_starting_beside_when_a_candidate_comes() -> None:
    """The candidate's worker starts beside the one that serves, which stays."""
    assert Start("default", "b") == plan({"default": CANDIDATE_B}, [SERVING_A], 0.0)
    starting_b = dataclasses.replace(READY_B, state=State.STARTING)
    assert plan({"default": CANDIDATE_B}, [SERVING_A, starting_b], 0.0) is None


def test_candidate_to_aspired_when_the_cpu_has_it() -> None:
    """On the CPU being READY is all that it must show; then it is flipped to and the old one retired."""
    assert Promote("default") == plan({"default": CANDIDATE_B}, [SERVING_A, READY_B], 0.0)
    desired = {"default": Aspired("b")}
    assert Flip(2) == plan(desired, [SERVING_A, READY_B], 0.0)
    serving_b = dataclasses.replace(READY_B, serving=True)
    assert Retire(1) == plan(desired, [READY_A, serving_b], 0.0)


def test_candidate_to_retired_when_it_is_refused() -> None:
    """Without the candidate its worker has no place any more; what serves is not touched."""
    assert Retire(2) == plan({"default": A}, [SERVING_A, READY_B], 0.0)


def test_candidate_to_edge_tpu_in_the_swap_window() -> None:
    """On the Edge TPU: the old model falls to its standby, the worker is replaced, proven, then promoted."""
    both = Candidate("b", on_edgetpu=True)
    aspired = dataclasses.replace(TWIN_A, candidate=both)
    assert Flip(1) == plan_stick(ON_STICK, aspired, READY_A, READY_B)
    assert RetireEdgeTpu() == plan_stick(PROVEN_A, aspired, SERVING_A, READY_B)
    assert StartEdgeTpu({"default": "b"}) == plan_stick(FOUND, aspired, SERVING_A, READY_B)
    proving_b = StickView(EdgeTpuState.PROVING, frozenset("b"))
    assert Prove() == plan_stick(proving_b, aspired, SERVING_A, READY_B)
    proven_b = dataclasses.replace(proving_b, state=EdgeTpuState.SERVING)
    assert Promote("default") == plan_stick(proven_b, aspired, SERVING_A, READY_B)


def test_candidate_to_aspired_without_an_edge_tpu_that_is_gone() -> None:
    """Where there is no Edge TPU to prove it on, the CPU's word is enough; where it failed once, not yet."""
    aspired = dataclasses.replace(TWIN_A, candidate=Candidate("b", on_edgetpu=True))
    for state in (EdgeTpuState.ABSENT, EdgeTpuState.BACKOFF, EdgeTpuState.RECOVERING):
        waiting = StickView(state, look_at=9.0, retry_at=9.0)
        assert Promote("default") == plan_stick(waiting, aspired, SERVING_A, READY_B)
    tried = dataclasses.replace(aspired, candidate=Candidate("b", on_edgetpu=True, tried=True))
    failed = StickView(EdgeTpuState.BACKOFF, retry_at=9.0)
    assert plan_stick(failed, tried, SERVING_A, READY_B) is None


def test_swap_window_to_old_model_when_the_candidate_is_refused() -> None:
    """The Edge TPU gets the old network back."""
    with_b = StickView(EdgeTpuState.PROVING, frozenset("b"))
    assert Retire(2) == plan_stick(with_b, TWIN_A, SERVING_A, READY_B)
    assert RetireEdgeTpu() == plan_stick(with_b, TWIN_A, SERVING_A)
    assert StartEdgeTpu({"default": "a"}) == plan_stick(FOUND, TWIN_A, SERVING_A)


def test_serving_to_cpu_when_another_slot_keeps_its_network() -> None:
    """A slot that leaves a network is flipped away, though the worker goes on with it for another slot."""
    desired = {"left": Aspired("b"), "right": TWIN_A}
    workers = [WorkerView(1, "left", "b", State.READY), WorkerView(2, "right", "a", State.READY)]
    stick = dataclasses.replace(PROVEN_A, serves={"left": "a", "right": "a"})
    assert Flip(1) == plan(desired, workers, 0.0, stick)


def test_serving_to_another_network_that_the_edge_tpu_holds_already() -> None:
    """A slot that goes to what another slot has there needs no other worker: CPU first, then flipped."""
    twin_b = Aspired("b", on_edgetpu=True)
    desired = {"first": TWIN_A, "second": twin_b, "third": twin_b}
    workers = [
        WorkerView(number, slot, aspired.digest, State.READY)
        for number, (slot, aspired) in enumerate(desired.items())
    ]
    serves = {"first": "a", "second": "b", "third": "a"}
    stick = StickView(EdgeTpuState.SERVING, frozenset("ab"), serves)
    assert Flip(2) == plan(desired, workers, 0.0, stick)
    workers[2] = dataclasses.replace(workers[2], serving=True)
    stick = dataclasses.replace(stick, serves={"first": "a", "second": "b"})
    assert FlipToEdgeTpu("third") == plan(desired, workers, 0.0, stick)


def test_candidates_to_edge_tpu_one_at_a_time() -> None:
    """A worker that does not survive must say whose fault it was; the one that is there stays there."""
    other_c = Aspired("a", on_edgetpu=True, candidate=Candidate("c", on_edgetpu=True))
    desired = {
        "default": dataclasses.replace(TWIN_A, candidate=Candidate("b", on_edgetpu=True)),
        "other": other_c,
    }
    workers = [SERVING_A, READY_B, WorkerView(3, "other", "a", State.READY, serving=True)]
    ready_c = WorkerView(4, "other", "c", State.READY)
    both = StartEdgeTpu({"default": "b", "other": "a"})
    assert both == plan(desired, [*workers, ready_c], 0.0, FOUND)
    with_c = StickView(EdgeTpuState.SERVING, frozenset("ac"))
    assert Promote("other") == plan(desired, [*workers, ready_c], 0.0, with_c)


ONLY_B = dataclasses.replace(A, candidate=Candidate("b", on_cpu=False, on_edgetpu=True))


def test_candidate_to_refused_when_only_an_absent_edge_tpu_could_run_it() -> None:
    """It is looked for first; then the slot is free for the next one."""
    assert Look() == plan_stick(StickView(), ONLY_B)
    assert Refuse("default") == plan_stick(StickView(look_at=1.0), ONLY_B)
    assert Refuse("default") == plan({"default": ONLY_B}, [SERVING_A], 0.0)


def test_candidate_to_refused_when_the_edge_tpu_fails_without_it() -> None:
    """A pause that the candidate did not cause is not waited out; one that it did is its second chance."""
    pausing = StickView(EdgeTpuState.BACKOFF, retry_at=9.0)
    assert Refuse("default") == plan_stick(pausing, ONLY_B)
    tried = dataclasses.replace(ONLY_B, candidate=Candidate("b", on_cpu=False, on_edgetpu=True, tried=True))
    assert plan_stick(pausing, tried) is None


HAS_WORKER = (EdgeTpuState.STARTING, EdgeTpuState.PROVING, EdgeTpuState.SERVING)


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


class World:
    """Workers that obey the plan, for one or two slots and one device; a test says what befalls them."""

    def __init__(self, desired: dict[str, Aspired], *, standby: bool) -> None:
        self.desired = desired
        self.standby = standby
        self.workers: dict[int, WorkerView] = {}
        self.stick = StickView()
        self.plugged = False
        self.on_stick: dict[str, str] = {}
        self.keys = 0
        self.watch_for_gaps = False

    def settle(self) -> None:
        """Take steps until there is none, each as the supervisor would; starts and looks end well at once."""
        for _ in range(100):
            stick = dataclasses.replace(self.stick, serves=dict(self.on_stick))
            action = plan(self.desired, self.workers.values(), 1e6, stick, standby=self.standby)
            if action is None:
                return
            self.carry_out(action)
            self.check()
        pytest.fail(f"the plan never rests: {action}")

    def carry_out(self, action: Action) -> None:
        """As supervisor.py and stick.py do it."""
        match action:
            case Start(slot, digest):
                self.keys += 1
                self.workers[self.keys] = WorkerView(self.keys, slot, digest, State.READY)
            case Promote(slot):
                candidate = self.desired[slot].candidate
                assert candidate is not None
                self.desired[slot] = Aspired(
                    candidate.digest, on_cpu=candidate.on_cpu, on_edgetpu=candidate.on_edgetpu
                )
                self.serve_on_cpu(
                    next(each for each in self.workers.values() if each.digest == candidate.digest)
                )
            case Flip(key):
                self.serve_on_cpu(self.workers[key])
            case Retire(key):
                assert not self.workers[key].serving
                del self.workers[key]
            case FlipToEdgeTpu(slot):
                for key, worker in self.workers.items():
                    if worker.slot == slot:
                        self.workers[key] = dataclasses.replace(worker, serving=False)
                self.on_stick[slot] = self.desired[slot].digest
            case _:
                self.carry_out_on_stick(action)

    def carry_out_on_stick(self, action: Action) -> None:
        """The device's part."""
        match action:
            case Look():
                state = EdgeTpuState.FOUND if self.plugged else EdgeTpuState.ABSENT
                self.stick = StickView(state, look_at=0.0 if self.plugged else 1e9)
            case StartEdgeTpu(networks):
                self.stick = StickView(EdgeTpuState.PROVING, frozenset(networks.values()))
            case Prove():
                self.stick = dataclasses.replace(self.stick, state=EdgeTpuState.SERVING)
            case RetireEdgeTpu():
                self.on_stick.clear()
                self.stick = FOUND
            case Release():
                self.stick = StickView(look_at=1e9)
            case _:
                pytest.fail(f"not in this world: {action}")

    def serve_on_cpu(self, worker: WorkerView) -> None:
        """Flip to it, from wherever the slot was served."""
        self.on_stick.pop(worker.slot, None)
        for key, each in self.workers.items():
            if each.slot == worker.slot:
                self.workers[key] = dataclasses.replace(each, serving=key == worker.key)

    def lose_stick(self) -> None:
        """It is lost: what it served falls to the standby at once, where there is one."""
        lost, self.on_stick = self.on_stick, {}
        self.stick = StickView(EdgeTpuState.BACKOFF)
        for slot in lost:
            ready = [worker for worker in self.workers.values() if worker.slot == slot]
            if ready:
                self.serve_on_cpu(ready[0])
            assert ready or not self.standby, "no standby to fall back to"

    def check(self) -> None:
        """What must hold between any two steps."""
        for slot in self.desired:
            on_cpu = [worker for worker in self.workers.values() if worker.slot == slot and worker.serving]
            assert len(on_cpu) + (slot in self.on_stick) <= 1, "two serve one slot"
            assert on_cpu or slot in self.on_stick or not self.watch_for_gaps, "a swap left a gap"


_EVENTS = st.lists(
    st.sampled_from(
        [
            "plug",
            "pull",
            "lose",
            "kill standby",
            "kill serving",
            "new model",
            "uncompiled model",
            "offer",
            "offer uncompiled",
        ]
    ),
    max_size=12,
)


@given(_EVENTS, st.booleans())
def test_whatever_befalls_them_every_slot_is_served_again(events: list[str], standby: bool) -> None:
    """The plan comes to rest, nothing serves twice, a stick's loss finds its standby, and each slot ends up
    where it should: on the Edge TPU if that is there and its model is compiled, else on the CPU.
    """
    world = World({"default": TWIN_A, "other": Aspired("b")}, standby=standby)
    world.settle()
    for number, event in enumerate(events):
        world.watch_for_gaps = False
        befall(world, event, number)
        world.settle()
        for slot, aspired in world.desired.items():
            served = [each for each in world.workers.values() if each.slot == slot and each.serving]
            on_stick = aspired.on_edgetpu and world.stick.state is EdgeTpuState.SERVING
            assert (aspired.digest if on_stick else None) == world.on_stick.get(slot)
            assert [] == served if on_stick else [aspired.digest] == [each.digest for each in served]


def befall(world: World, event: str, number: int) -> None:
    """Let it happen."""
    match event:
        case "plug":
            world.plugged = True
            if world.stick.state is EdgeTpuState.ABSENT:
                world.stick = StickView()
        case "pull" | "lose":
            world.plugged &= event == "lose"
            if world.stick.state is EdgeTpuState.SERVING:
                world.lose_stick()
        case "kill standby" | "kill serving":
            for key, worker in list(world.workers.items()):
                if worker.serving == (event == "kill serving"):
                    del world.workers[key]
        case "new model" | "uncompiled model":
            compiled = event == "new model"
            world.desired["default"] = Aspired(f"a{number}", on_edgetpu=compiled)
        case _:
            candidate = Candidate(f"c{number}", on_edgetpu=event == "offer")
            world.desired["default"] = dataclasses.replace(world.desired["default"], candidate=candidate)
            world.watch_for_gaps = True


@pytest.mark.parametrize(
    ("old", "new"),
    [(old, new) for states in (State, EdgeTpuState) for old in states for new in states],
)
def test_only_legal_transitions_pass_the_door(old: State, new: State) -> None:
    """The door lets the table's steps through and raises for every other."""
    if new in LEGAL[old]:
        assert new is transition(old, new)
    else:
        with pytest.raises(IllegalTransitionError, match=f"{old.name} -> {new.name}"):
            transition(old, new)
