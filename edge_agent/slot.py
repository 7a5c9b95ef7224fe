"""What is remembered of one slot: the model that it should serve, and how that fares on the CPU."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field

from edge_agent.classifier import Classifier, RankingRule
from edge_agent.errors import ModelRefusedError, WorkerError
from edge_agent.planning import WINDOW_S, Aspired, Candidate, backoff_s
from edge_agent.states import State, transition
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlotStatus:
    """A slot as ``health`` and ``model/<slot>`` tell it; ``since_ns`` is Unix time of the last flip;
    ``losses``, ``recoveries`` and ``reason`` are those of its workers on the CPU, ``stick_losses`` says how
    often the Edge TPU was lost that served it; ``is_down``: nothing serves, and no worker will come by
    itself.
    """

    slot: str
    state: State
    classifier: Classifier | None
    losses: int
    recoveries: int
    since_ns: int
    reason: str | None
    is_down: bool
    stick_losses: int = 0


@dataclass
class Slot:
    """One slot's record; ``state`` is that of its worker on the CPU."""

    name: str
    vetted: VettedBundle
    rule: RankingRule
    losses: int = 0
    recoveries: int = 0
    stick_losses: int = 0
    since_ns: int = 0
    candidate: VettedBundle | None = None
    state: State = State.STARTING
    retry_at: float = 0.0
    reason: str | None = None
    _died_at: list[float] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Of the bundle that it should serve."""
        return self.vetted.bundle.digest

    def model(self, digest: str) -> VettedBundle:
        """What it serves, or its candidate, by digest."""
        candidate = self.candidate
        return candidate if candidate is not None and candidate.bundle.digest == digest else self.vetted

    def is_candidate(self, digest: str) -> bool:
        """Whether this is the digest of what waits to take its place."""
        return self.candidate is not None and self.candidate.bundle.digest == digest

    def aspired(self, now: float, *, on_edgetpu: bool, candidate: Candidate | None = None) -> Aspired:
        """As the plan sees it at ``now`` (monotonic s)."""
        self._died_at = [at for at in self._died_at if now - at < WINDOW_S]
        return Aspired(
            self.digest,
            len(self._died_at),
            self.retry_at,
            self.state is State.FATAL,
            on_cpu=self.vetted.model is not None,
            on_edgetpu=on_edgetpu,
            candidate=candidate,
        )

    def aspire(self, vetted: VettedBundle, rule: RankingRule) -> Slot:
        """The record of the same slot with another model: the counts go on, and what serves does for now."""
        return Slot(self.name, vetted, rule, self.losses, self.recoveries, self.stick_losses, self.since_ns)

    def promote(self) -> None:
        """The candidate is what it should serve now; how the one before fared says nothing of it."""
        assert self.candidate is not None
        self.vetted, self.candidate = self.candidate, None
        self.state, self.reason, self.retry_at = State.STARTING, None, 0.0
        self._died_at.clear()

    def starting(self) -> None:
        """A worker is being started."""
        if self.state is not State.STARTING:
            self.state = transition(self.state, State.STARTING)

    def ready(self) -> None:
        """Its worker is READY."""
        self.state = transition(self.state, State.READY)
        self.recoveries += self.reason is not None
        self.reason = None

    def died(self, error: WorkerError, now: float) -> None:
        """Its worker is dead or stuck, or could not be started."""
        self._died_at.append(now)
        self.losses += 1
        self.reason = error.what
        self.state = transition(self.state, State.EXITED)
        if isinstance(error, ModelRefusedError):
            self.give_up()
            return
        delay_s = backoff_s(len(self._died_at), random.random())  # noqa: S311  spread, not secrecy
        self.retry_at = now + delay_s
        self.state = transition(self.state, State.BACKOFF)
        logger.warning("slot %s: %s; a new worker starts in %.1f s", self.name, error.what, delay_s)

    def retired(self) -> None:
        """Its worker was told to leave."""
        self.state = transition(transition(self.state, State.STOPPING), State.EXITED)

    def give_up(self) -> None:
        """No more workers on the CPU."""
        self.state = transition(self.state, State.FATAL)
        self.reason = (
            f"no worker is started any more after {len(self._died_at)} deaths: {self.reason}; "
            "put another model in its place, or send SIGHUP to try again"
        )
        logger.error("slot %s: %s", self.name, self.reason)

    def forgive(self) -> None:
        """Where no more workers were to be started on the CPU, they are again: it is needed now."""
        if self.state is State.FATAL:
            self._died_at.clear()
            self.retry_at = 0.0
            self.state = transition(self.state, State.STARTING)

    def status(self, classifier: Classifier | None, *, is_down: bool) -> SlotStatus:
        """As it stands, with what serves it."""
        return SlotStatus(
            self.name,
            self.state,
            classifier,
            self.losses,
            self.recoveries,
            self.since_ns,
            self.reason,
            is_down,
            self.stick_losses,
        )
