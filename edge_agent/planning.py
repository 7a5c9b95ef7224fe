"""What to do next about the workers: a pure function of what is desired and what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_agent.states import State

GIVE_UP_DEATHS = 5
"""Deaths within the window that end a slot: a model that kills its worker on every frame reaches it in
some 4 s, while one bad frame, tried three times, does not.
"""

WINDOW_S = 300.0
"""How long a death is remembered: long enough for five starts that hang for their 30 s each."""

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0


@dataclass(frozen=True)
class Aspired:
    """What a slot should serve: ``digest``; not started before ``retry_at`` (monotonic s); ``deaths`` of
    its workers within the window.
    """

    digest: str
    deaths: int = 0
    retry_at: float = 0.0
    given_up: bool = False


@dataclass(frozen=True)
class WorkerView:
    """What the plan sees of a worker."""

    key: int
    slot: str
    digest: str
    state: State
    serving: bool = False


@dataclass(frozen=True)
class Start:
    """Start a worker for the slot's aspired digest."""

    slot: str


@dataclass(frozen=True)
class Flip:
    """Let this READY worker serve its slot."""

    key: int


@dataclass(frozen=True)
class Retire:
    """End this worker."""

    key: int


@dataclass(frozen=True)
class GiveUp:
    """Stop trying: the slot's model keeps killing its workers."""

    slot: str


Action = Start | Flip | Retire | GiveUp


def plan(desired: Mapping[str, Aspired], workers: Iterable[WorkerView], now: float) -> Action | None:
    """The one step that brings the workers nearer to what is desired, or None.

    ``now`` is monotonic seconds. A worker that serves is retired only once another serves.
    """
    alive = [worker for worker in workers if worker.state in (State.STARTING, State.READY)]
    for slot, aspired in desired.items():
        mine = [worker for worker in alive if worker.slot == slot]
        fitting = [worker for worker in mine if worker.digest == aspired.digest]
        ready = [worker for worker in fitting if worker.state is State.READY]
        if ready and not any(worker.serving for worker in ready):
            return Flip(ready[0].key)
        if not fitting and not aspired.given_up:
            if aspired.deaths >= GIVE_UP_DEATHS:
                return GiveUp(slot)
            if now >= aspired.retry_at:
                return Start(slot)
        for worker in mine:
            if not worker.serving and (worker not in fitting or worker.state is State.READY):
                return Retire(worker.key)
    for worker in alive:
        if worker.slot not in desired:
            return Retire(worker.key)
    return None


def backoff_s(deaths: int, jitter: float) -> float:
    """How long to wait after the ``deaths``-th death in the window: none after the first, then doubling
    to a cap; ``jitter`` in 0..1 spreads it over 80 to 120 %.
    """
    if deaths <= 1:
        return 0.0
    # 2 ** 10 times the base is over any cap already.
    return min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(deaths - 2, 10)) * (0.8 + 0.4 * jitter)
