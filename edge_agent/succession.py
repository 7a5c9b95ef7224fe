"""How one model follows another in a slot: offered, vetted, promoted, on probation, rolled back from.

The slow parts run beside the main loop; everything here belongs to that loop, but for ``observe``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from edge_agent.admission import Admission, Offer, Passed, Progress, untold
from edge_agent.beside import Beside
from edge_agent.candidates import News
from edge_agent.classifier import RankingRule
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, EdgeAgentError, RepositoryError
from edge_agent.predictions import Prediction
from edge_agent.probation import Probation, ProbationRules
from edge_agent.repository import Repository, Version
from edge_agent.slot import SlotStatus
from edge_agent.stick_faults import MAX_STICK_FAILURES
from edge_agent.supervisor import Supervisor
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)

MAX_UNCLEAN_STARTS = 2
"""Starts on probation without an end before them: a power cut at night is one, a model that takes the
machine down soon makes two.
"""

REFUSALS = 10
"""Of the newest refusals that a slot tells."""


@dataclass(frozen=True)
class Serves:
    """What was asked for does, and did so before where it is ``unchanged``; ``left`` is the digest that was
    rolled back from.
    """

    vetted: VettedBundle
    unchanged: bool = False
    left: str | None = None


Told = Callable[[Serves | Passed | EdgeAgentError], None]
"""Called once, on the main thread, with what became of it."""


@dataclass(frozen=True)
class Refusal:
    """Why a bundle may not serve; ``at_ns`` is Unix time; one that could not be read has no digest."""

    digest: str | None
    at_ns: int
    reason: str


@dataclass(frozen=True)
class _Turn:
    """Something that waits to be looked at: ``look`` runs beside, with the digest of what serves."""

    look: Callable[[str | None], VettedBundle | Passed]
    told: Told
    progress: Progress = untold
    offer: Offer | None = None
    rolls_back: bool = False
    on_trial: bool = True


@dataclass(frozen=True)
class SuccessionReport:
    """What comes, what was there before, and what may not come."""

    state: Literal["serving", "vetting", "swapping", "probation"]
    candidate: VettedBundle | None
    previous: Version | None
    refusals: tuple[Refusal, ...]


class Succession:
    """One slot's. ``failure`` is why nothing serves, if nothing does."""

    def __init__(
        self,
        admission: Admission,
        supervisor: Supervisor,
        beside: Beside,
        rule: RankingRule,
        rules: ProbationRules,
        clock: Clock,
    ) -> None:
        self.slot = admission.slot
        self.failure: EdgeAgentError | None = None
        self._admission = admission
        self._repository = admission.repository
        self._supervisor = supervisor
        self._beside = beside
        self._rule = rule
        self._rules = rules
        self._clock = clock
        self._vetting = False
        self._booting = False
        self._serving: VettedBundle | None = None
        self._previous: VettedBundle | None = None
        self._candidate: VettedBundle | None = None
        self._turn: _Turn | None = None
        self._waiting: dict[str, _Turn] = {}
        self._probation: Probation | None = None
        self._stick_losses = 0
        self._unread: Refusal | None = None
        self._before: Version | None = None
        self._refused: tuple[Refusal, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether a bundle is being looked at, or one waits for that."""
        return self._vetting or bool(self._waiting)

    @property
    def booting(self) -> bool:
        """Whether it is not yet known what serves first."""
        return self._booting

    def boot(self, offer: Offer) -> None:
        """Let what is installed serve; where nothing is, what lies at ``offer``."""
        self._vetting = self._booting = True
        self._beside.start(f"boot-{self.slot}", lambda: self._first(offer), self._booted)

    def offer(self, offer: Offer, told: Told | None = None, progress: Progress = untold) -> None:
        """Look at this bundle when it is its turn; a newer one that came the same way takes its place."""
        look = partial(self._admission.admit, offer, progress=progress)
        self._wait(offer.way, _Turn(look, told or _nobody, progress, offer))

    def activate(self, digest: str, told: Told, progress: Progress = untold, *, force: bool = False) -> None:
        """Let an installed version serve, whatever was held against it; with ``force`` without probation.

        ``told`` hears RepositoryError where it is not installed.
        """
        look = partial(self._installed, digest, progress)
        self._wait("activate", _Turn(look, told, progress, on_trial=not force))

    def roll_back(self, told: Told, progress: Progress = untold) -> None:
        """Let the previous version serve, before anything else is looked at; what is left is held.

        Raises RepositoryError: there is none.
        """
        digest = None if self._repository is None else self._repository.previous
        if digest is None:
            raise RepositoryError(
                f"slot {self.slot}: there is no previous model to roll back to",
                "`edge-agent models list` shows what can be activated",
            )
        look = partial(self._installed, digest, progress)
        self._wait("rollback", _Turn(look, told, progress, rolls_back=True, on_trial=False))
        self._waiting = {"rollback": self._waiting["rollback"], **self._waiting}

    def observe(self, prediction: Prediction) -> None:
        """On a lane's thread: it was made."""
        probation = self._probation
        if probation is not None and probation.digest.startswith(prediction.model.digest):
            probation.observe(prediction.inference_ms)

    def heard(self, news: News) -> None:
        """What became of the candidate."""
        candidate = self._candidate
        if candidate is None or candidate.bundle.digest != news.digest:
            return
        self._candidate = None
        if news.reason is not None:
            error = BundleError(f"{candidate.bundle.name} {candidate.bundle.short}: {news.reason}")
            error.digest = candidate.bundle.short
            if news.lasting:
                self._admission.refuse(candidate, news.reason)
                self._note_offered(candidate)
            else:
                self._note_unread(error)
            self._tell(error)
            return
        before, self._serving = self._serving, candidate
        self._previous = before
        self._activated(candidate)
        logger.info("slot %s: %s %s has taken over", self.slot, candidate.bundle.name, candidate.bundle.short)
        left = before if self._turn is not None and self._turn.rolls_back else None
        self._tell(Serves(candidate, left=left.bundle.digest if left else None))

    def step(self) -> None:
        """Take the next offer, and look at the one on probation."""
        if not self._vetting and self._candidate is None and self._waiting:
            self._turn = self._waiting.pop(next(iter(self._waiting)))
            self._look(self._turn)
        if self._probation is not None:
            self._judge(self._probation)

    def stop(self) -> None:
        """A clean end: what is on probation has not failed by it."""
        if self._repository is None:
            return
        try:
            self._repository.note_clean_stop(self._probation.frames if self._probation else 0)
            self._repository.close()
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)

    def set_rule(self, rule: RankingRule) -> None:
        """Rank by another rule from the next frame on."""
        self._rule = rule
        if self._serving is not None:
            self._supervisor.set_rule(self.slot, rule)

    def report(self) -> SuccessionReport:
        """As it stands."""
        state: Literal["serving", "vetting", "swapping", "probation"] = "serving"
        if self._vetting:
            state = "vetting"
        elif self._candidate is not None:
            state = "swapping"
        elif self._probation is not None:
            state = "probation"
        unread = self._unread
        fresh = unread is not None and unread.digest not in {each.digest for each in self._refused}
        refusals = (unread, *self._refused) if unread is not None and fresh else self._refused
        return SuccessionReport(state, self._candidate, self._before, refusals)

    def _first(self, offer: Offer) -> VettedBundle | Passed:
        """Beside: what is to serve at the start. Raises as Admission.admit."""
        repository = self._repository
        if repository is not None:
            self._attempt(lambda: self._count_start(repository))
            current = self._admission.current()
            if current is not None:
                return current
        admitted = self._admission.admit(offer, None)
        if isinstance(admitted, VettedBundle):
            self._admission.note(offer, admitted.bundle.digest)
        return admitted

    def _count_start(self, repository: Repository) -> None:
        """Twice in a row the agent ended without a word while a model was on probation: it is taken back.

        Raises RepositoryError.
        """
        trial = repository.note_start()
        if trial is None or trial.unclean_starts < MAX_UNCLEAN_STARTS:
            return
        digest = trial.digest
        if repository.previous is not None and repository.current == digest:
            reason = f"the agent ended {MAX_UNCLEAN_STARTS} times without a word while it was on probation"
            logger.warning("slot %s: model %s: %s; the previous one serves", self.slot, digest[:12], reason)
            repository.rollback()
            repository.reject(digest, digest[:12], reason, "probation")
        repository.end_probation()

    def _booted(self, outcome: VettedBundle | Passed | EdgeAgentError) -> None:
        self._vetting = self._booting = False
        if isinstance(outcome, VettedBundle):
            self._aspire(outcome)
        else:
            self.failure = outcome if isinstance(outcome, EdgeAgentError) else BundleError(outcome.why)
            self._note_unread(self.failure)

    def _wait(self, way: str, turn: _Turn) -> None:
        replaced = self._waiting.pop(way, None)
        if replaced is not None:
            replaced.told(Passed("a newer one took its place"))
        self._waiting[way] = turn
        if self._candidate is not None and self._gives_way(turn) and self._supervisor.withdraw(self.slot):
            self._candidate = None
            self._tell(Passed("a newer one took its place"))

    def _gives_way(self, turn: _Turn) -> bool:
        """Whether what is coming does: to what was asked for since, and to what came the same way."""
        coming = self._turn.offer if self._turn is not None else None
        if coming is None or turn.offer is None:
            return turn.offer is None
        return turn.offer.asked or turn.offer.way == coming.way

    def _look(self, turn: _Turn) -> None:
        self._vetting = True
        if self._is_down():
            self._serving = None  # whatever comes now is better
        serving = self._serving.bundle.digest if self._serving else None
        self._beside.start(f"admit-{self.slot}", lambda: turn.look(serving), self._looked_at)

    def _installed(self, digest: str, progress: Progress, _serving: str | None) -> VettedBundle:
        """Beside: an installed version. Raises BundleError, RepositoryError."""
        if self._repository is None:
            raise RepositoryError(
                f"slot {self.slot}: no model is installed", "give the agent a state_dir that it may write to"
            )
        return self._admission.installed(digest, progress)

    def _is_down(self) -> bool:
        return any(each.is_down for each in self._supervisor.status() if each.slot == self.slot)

    def _looked_at(self, outcome: VettedBundle | Passed | EdgeAgentError) -> None:
        self._vetting = False
        match outcome:
            case VettedBundle():
                self._swap(outcome)
            case Passed(serves=serves):
                self._unread = None
                serving = self._serving
                self._tell(Serves(serving, unchanged=True) if serves and serving else outcome)
            case _:
                self._note_unread(outcome)
                self._tell(outcome)

    def _swap(self, vetted: VettedBundle) -> None:
        """Promote it, or let it serve at once where nothing does."""
        self._unread = None
        if self._serving is None:
            self._aspire(vetted)
            self._note_offered(vetted)
            self._tell(Serves(vetted))
            return
        if vetted.bundle.digest == self._serving.bundle.digest:
            if self._turn is not None and not self._turn.on_trial:
                self._end_probation()
            self._tell(Serves(vetted, unchanged=True))
            return
        if any(turn.rolls_back for turn in self._waiting.values()):
            self._tell(Passed("a rollback was asked for meanwhile"))  # to what is the previous one until now
            return
        if set(vetted.bundle.labels) != set(self._serving.bundle.labels):
            logger.warning("slot %s: %s has other labels than what serves", self.slot, vetted.bundle.short)
        if self._turn is not None:
            self._turn.progress("swapping", f"swapping to {vetted.bundle.name} {vetted.bundle.short}")
        self._candidate = vetted
        self._supervisor.offer(self.slot, vetted)

    def _aspire(self, vetted: VettedBundle) -> None:
        for warning in vetted.bundle.warnings:
            logger.warning("slot %s: %s", self.slot, warning)
        booted = self._turn is None
        self._serving, self._previous, self.failure = vetted, None, None
        self._read_again()
        self._supervisor.aspire(self.slot, vetted, self._rule)
        repository = self._repository
        if repository is None:
            return
        self._attempt(lambda: self._record(repository, vetted.bundle.digest))
        trial = repository.probation
        if booted and trial is not None and trial.digest == vetted.bundle.digest:
            self._begin_probation(vetted, resumed=True)

    def _activated(self, vetted: VettedBundle) -> None:
        """It serves: have it serve after a restart too, on probation unless it was there before."""
        repository, turn = self._repository, self._turn
        if repository is not None:
            self._attempt(lambda: self._record(repository, vetted.bundle.digest))
        self._note_offered(vetted)
        self._end_probation()
        if turn is not None and turn.rolls_back:
            self._previous = None
        if turn is None or turn.on_trial:
            self._begin_probation(vetted, resumed=False)
        self._read_again()

    def _record(self, repository: Repository, digest: str) -> None:
        """Have it serve after a restart too. Raises RepositoryError."""
        if self._turn is not None and self._turn.rolls_back and repository.previous == digest:
            repository.rollback()
        elif repository.current != digest:
            repository.activate(digest)

    def _note_offered(self, vetted: VettedBundle) -> None:
        """It serves or was refused: the same bytes need not be looked at again."""
        if self._turn is not None and self._turn.offer is not None:
            self._admission.note(self._turn.offer, vetted.bundle.digest)

    def _begin_probation(self, vetted: VettedBundle, *, resumed: bool) -> None:
        digest, now_s = vetted.bundle.digest, self._clock.monotonic_ns() / 1e9
        self._stick_losses = self._status().stick_losses
        losses, _ = self._losses()
        self._probation = Probation(digest, self._rules, vetted.inference_ms, losses, now_s)
        repository = self._repository
        if repository is not None and not resumed:
            self._attempt(lambda: repository.begin_probation(digest))

    def _judge(self, probation: Probation) -> None:
        losses, reason = self._losses()
        verdict = probation.verdict(losses, reason, self._clock.monotonic_ns() / 1e9)
        if verdict is True:
            logger.info("slot %s: %s has passed its probation", self.slot, probation.digest[:12])
            self._end_probation()
        elif verdict:
            self._fail(verdict)

    def _fail(self, why: str) -> None:
        """Back to what served before, held in memory for this, at once."""
        failed, before = self._serving, self._previous
        self._end_probation()
        if failed is None:
            return
        short = failed.bundle.short
        if before is None:
            self._fail_for_the_installed(failed, why)
            return
        logger.warning(
            "slot %s: %s is taken back, %s serves again: %s", self.slot, short, before.bundle.short, why
        )
        if self._repository is not None:
            self._attempt(self._repository.rollback)
        self._admission.refuse(failed, why)
        self._serving, self._previous = before, None
        self._supervisor.aspire(self.slot, before, self._rule)
        if self._candidate is not None:
            self._supervisor.offer(self.slot, self._candidate)
        self._read_again()

    def _fail_for_the_installed(self, failed: VettedBundle, why: str) -> None:
        """The agent was started on this trial: what served before is only on the disk."""
        try:
            self.roll_back(_nobody)
        except RepositoryError as error:
            logger.warning("slot %s: %s has failed: %s; %s", self.slot, failed.bundle.short, why, error.what)
            return
        logger.warning(
            "slot %s: %s is taken back, the previous one is to serve again: %s",
            self.slot,
            failed.bundle.short,
            why,
        )
        if self._repository is not None:
            self._attempt(self._repository.rollback)
        self._admission.refuse(failed, why)
        self._read_again()

    def _end_probation(self) -> None:
        self._probation = None
        if self._repository is not None:
            self._attempt(self._repository.end_probation)

    def _losses(self) -> tuple[int, str | None]:
        """Workers lost that ran this slot's model, and why the last one was.

        Of the Edge TPU's a single one says nothing: somebody may have pulled it.
        """
        status = self._status()
        on_stick = status.stick_losses - self._stick_losses
        reason = status.reason or self._supervisor.device().trouble
        return status.losses + on_stick // MAX_STICK_FAILURES, reason

    def _status(self) -> SlotStatus:
        return next(each for each in self._supervisor.status() if each.slot == self.slot)

    def _note_unread(self, error: EdgeAgentError) -> None:
        """What could not be read has no digest to be written down by."""
        digest = error.digest if isinstance(error, BundleError) else None
        self._unread = Refusal(digest, self._clock.wall_ns(), str(error))

    def _read_again(self) -> None:
        """What the repository knows has changed: read it once rather than in each turn."""
        repository = self._repository
        if repository is None:
            return
        try:
            previous = repository.previous
            self._before = next((each for each in repository.versions() if each.digest == previous), None)
            newest = repository.rejections()[:REFUSALS]
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)
            return
        self._refused = tuple(Refusal(each.short, each.at_ns, each.reason) for each in newest)

    def _tell(self, what: Serves | Passed | EdgeAgentError) -> None:
        if isinstance(what, EdgeAgentError):
            logger.error("slot %s: %s", self.slot, what)
        self._read_again()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.told(what)

    def _attempt(self, write: Callable[[], object]) -> None:
        """What serves goes on, though it could not be written down."""
        try:
            write()
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)


def _nobody(_what: Serves | Passed | EdgeAgentError) -> None:
    """Nobody asked."""
