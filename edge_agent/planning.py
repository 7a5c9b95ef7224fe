"""What to do next about the workers: a pure function of what is desired and what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

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
    SlotAction,
    Start,
    StartEdgeTpu,
    StickAction,
)
from edge_agent.states import EdgeTpuState, State

GIVE_UP_DEATHS = 5
"""Deaths within the window that end a slot: a model that kills its worker on every frame reaches it in
some 4 s, while one bad frame, tried three times, does not.
"""

WINDOW_S = 300.0
"""How long a death is remembered: long enough for five starts that hang for their 30 s each."""

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0


@dataclass(frozen=True)
class Candidate:
    """A model that is to take a slot over once it has shown that it can: on the CPU, then on the Edge TPU.

    ``tried``: the Edge TPU's worker failed once with it, which may have been the stick's fault.
    """

    digest: str
    on_cpu: bool = True
    on_edgetpu: bool = False
    tried: bool = False


@dataclass(frozen=True)
class Aspired:
    """What a slot should serve: ``digest``, of which there is a model for the CPU (``on_cpu``) and one that
    may run on the Edge TPU (``on_edgetpu``). No worker on the CPU is started before ``retry_at`` (monotonic
    s); ``deaths`` of those within the window. A ``candidate`` waits to take its place.
    """

    digest: str
    deaths: int = 0
    retry_at: float = 0.0
    given_up: bool = False
    on_cpu: bool = True
    on_edgetpu: bool = False
    candidate: Candidate | None = None


@dataclass(frozen=True)
class WorkerView:
    """What the plan sees of a worker on the CPU."""

    key: int
    slot: str
    digest: str
    state: State
    serving: bool = False


@dataclass(frozen=True)
class StickView:
    """What the plan sees of the Edge TPU. Times are monotonic seconds.

    ``networks`` are the digests that its worker holds, ``serves`` what it serves: digests by slot; ``busy``:
    a look, a rung or a proof is under way, or a worker is ending; ``rung_due``: one is to be climbed before
    the next look; ``hold``: a slot's model is still being vetted, and would have the worker replaced.
    """

    state: EdgeTpuState = EdgeTpuState.ABSENT
    networks: frozenset[str] = frozenset()
    serves: Mapping[str, str] = field(default_factory=dict)
    busy: bool = False
    look_at: float = 0.0
    retry_at: float = 0.0
    rung_due: bool = False
    hold: bool = False


def plan(
    desired: Mapping[str, Aspired],
    workers: Iterable[WorkerView],
    now: float,
    stick: StickView | None = None,
    *,
    standby: bool = True,
) -> Action | None:
    """The one step that brings the workers nearer to what is desired, or None.

    ``now`` is monotonic seconds; without a ``stick`` everything runs on the CPU; with ``standby`` a slot that
    the Edge TPU serves keeps its worker on the CPU. A worker that serves is retired only once another serves.
    """
    alive = [worker for worker in workers if worker.state in (State.STARTING, State.READY)]
    ready = {(worker.slot, worker.digest) for worker in alive if worker.state is State.READY}
    networks = _networks(desired, ready, stick)
    leaving = stick is not None and _is_wrong(stick, networks)
    serves = {} if stick is None or leaving else stick.serves
    for slot, aspired in desired.items():
        mine = [worker for worker in alive if worker.slot == slot]
        wanted = aspired.on_cpu and (standby or serves.get(slot) != aspired.digest)
        action = _plan_slot(slot, aspired, mine, now, wanted=wanted, on_stick=serves.get(slot))
        if action is not None:
            return action
        if aspired.candidate is not None:
            if _has_shown(slot, aspired.candidate, ready, stick, networks):
                return Promote(slot)
            if not aspired.candidate.on_cpu and _is_out_of_reach(aspired.candidate, stick, now):
                return Refuse(slot)
    for worker in alive:
        if worker.slot not in desired:
            return Retire(worker.key)
    return None if stick is None else _plan_stick(stick, desired, networks, now)


def _plan_slot(
    slot: str, aspired: Aspired, mine: Sequence[WorkerView], now: float, *, wanted: bool, on_stick: str | None
) -> SlotAction | None:
    """The next step for one slot's workers on the CPU; ``on_stick``: what the Edge TPU serves of it, and may
    go on with.
    """
    fitting = [worker for worker in mine if worker.digest == aspired.digest]
    ready = [worker for worker in fitting if worker.state is State.READY]
    serving = [worker for worker in ready if worker.serving]
    if ready and not serving and on_stick != aspired.digest:
        return Flip(ready[0].key)
    if wanted and not fitting and not aspired.given_up:
        if aspired.deaths >= GIVE_UP_DEATHS:
            return GiveUp(slot)
        if now >= aspired.retry_at:
            return Start(slot, aspired.digest)
    kept = (serving or ready or fitting)[:1] if wanted else []
    if on_stick is not None and not ready:
        # The standby of the model that the Edge TPU still serves stays until there is another.
        kept += [worker for worker in mine if worker.state is State.READY]
    candidate = aspired.candidate
    if candidate is not None and candidate.on_cpu:
        coming = [worker for worker in mine if worker.digest == candidate.digest]
        if not coming and candidate.digest != aspired.digest:
            return Start(slot, candidate.digest)
        kept += coming[:1]
    return next((Retire(each.key) for each in mine if each not in kept and not each.serving), None)


Ready = AbstractSet[tuple[str, str]]
"""Slot and digest of every READY worker on the CPU."""


def _networks(desired: Mapping[str, Aspired], ready: Ready, stick: StickView | None) -> Mapping[str, str]:
    """What the Edge TPU's worker should hold, by slot. Of the candidates that the CPU has taken one alone,
    for a worker that does not survive says nothing of which network it was; the one that it holds first.
    """
    eligible = {
        slot: candidate.digest
        for slot, aspired in desired.items()
        if (candidate := aspired.candidate) is not None
        and candidate.on_edgetpu
        and (not candidate.on_cpu or (slot, candidate.digest) in ready)
    }
    held = stick.networks if stick is not None else frozenset()
    chosen = max(eligible.values(), key=lambda digest: digest in held, default=None)
    networks = {}
    for slot, aspired in desired.items():
        if chosen is not None and eligible.get(slot) == chosen:
            networks[slot] = chosen
        elif aspired.on_edgetpu:
            networks[slot] = aspired.digest
    return networks


def _has_shown(
    slot: str, candidate: Candidate, ready: Ready, stick: StickView | None, networks: Mapping[str, str]
) -> bool:
    """Whether the candidate may serve: READY on the CPU, proven on the Edge TPU where there is one."""
    if candidate.on_cpu and (slot, candidate.digest) not in ready:
        return False
    if stick is None or not candidate.on_edgetpu:
        return candidate.on_cpu
    if stick.state is EdgeTpuState.SERVING:
        return networks.get(slot) == candidate.digest and not _is_wrong(stick, networks)
    gone = (EdgeTpuState.ABSENT,) if candidate.tried else _NOT_THERE
    return candidate.on_cpu and stick.state in gone


_NOT_THERE = (EdgeTpuState.ABSENT, EdgeTpuState.BACKOFF, EdgeTpuState.RECOVERING)
"""Where no Edge TPU could show anything: the CPU's word is enough for now."""


def _is_out_of_reach(candidate: Candidate, stick: StickView | None, now: float) -> bool:
    """Whether the Edge TPU that a candidate needs was looked for and is not there, or fails without it."""
    if stick is None:
        return True
    if stick.state is EdgeTpuState.ABSENT:
        return now < stick.look_at
    return stick.state is EdgeTpuState.BACKOFF and not candidate.tried and now < stick.retry_at


def _is_wrong(stick: StickView, networks: Mapping[str, str]) -> bool:
    """Whether the worker of the Edge TPU must go, for it holds other networks than those that should run."""
    has_worker = stick.state in (EdgeTpuState.STARTING, EdgeTpuState.PROVING, EdgeTpuState.SERVING)
    return has_worker and stick.networks != frozenset(networks.values())


def _plan_stick(
    stick: StickView, desired: Mapping[str, Aspired], networks: Mapping[str, str], now: float
) -> StickAction | None:
    """The next step for the Edge TPU and its one worker, which holds the networks of all slots."""
    if stick.busy:
        return None
    if _is_wrong(stick, networks):
        slots = [slot for slot in stick.serves if slot in desired]
        # Its slots are flipped to the CPU first; one that the CPU will not serve is not waited for.
        coming = [slot for slot in slots if desired[slot].on_cpu and not desired[slot].given_up]
        return None if coming else RetireEdgeTpu()
    match stick.state:
        case EdgeTpuState.ABSENT | EdgeTpuState.BACKOFF if networks:
            return _plan_search(stick, now)
        case EdgeTpuState.FOUND | EdgeTpuState.BACKOFF if not networks:
            return Release()
        case EdgeTpuState.FOUND if not stick.hold and now >= stick.retry_at:
            return StartEdgeTpu(dict(networks))
        case EdgeTpuState.PROVING:
            return Prove()
        case EdgeTpuState.SERVING:
            # A candidate's slot goes there with its promotion.
            due = [slot for slot, digest in networks.items() if digest == desired[slot].digest]
            return next(
                (FlipToEdgeTpu(slot) for slot in due if stick.serves.get(slot) != networks[slot]), None
            )
    return None


def _plan_search(stick: StickView, now: float) -> StickAction | None:
    """A rung, then a look; both wait for the backoff, and a look for its turn."""
    if stick.rung_due and now >= stick.retry_at:
        return Climb()
    due = stick.look_at if stick.state is EdgeTpuState.ABSENT else stick.retry_at
    return Look() if now >= due else None


def backoff_s(deaths: int, jitter: float) -> float:
    """How long to wait after the ``deaths``-th death in the window: none after the first, then doubling
    to a cap; ``jitter`` in 0..1 spreads it over 80 to 120 %.
    """
    if deaths <= 1:
        return 0.0
    # 2 ** 10 times the base is over any cap already.
    return min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(deaths - 2, 10)) * (0.8 + 0.4 * jitter)
