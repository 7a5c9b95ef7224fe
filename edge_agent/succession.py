"""How one model follows another in a slot: offered, vetted, promoted, on probation, rolled back from.

The slow parts run beside the main loop; everything here belongs to that loop, but for ``observe``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Literal

from edge_agent.admission import Admission, Offer, Passed, Progress, untold
from edge_agent.beside import Beside
from edge_agent.candidates import Blame, News, Refused
from edge_agent.choice import Choice, Coming, First
from edge_agent.chronicle import Chronicle, Refusal
from edge_agent.classifier import RankingRule
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, EdgeAgentError, RepositoryError, UsageError, WorkerStartError
from edge_agent.post import Post
from edge_agent.predictions import Prediction
from edge_agent.probation import ProbationRules
from edge_agent.repository import Version
from edge_agent.supervisor import Supervisor
from edge_agent.trial import Trial
from edge_agent.turns import Serves, Told, Turn, Turns, nobody
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SuccessionReport:
    """What comes, what was there before, and what may not come; ``warnings`` are of what serves."""

    state: Literal["serving", "vetting", "swapping", "probation"]
    candidate: Coming | None
    previous: Version | None
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...] = ()
    available: Version | None = None


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
        self._supervisor = supervisor
        self._beside = beside
        self._post = Post(admission.slot, supervisor, rule)
        self._clock = clock
        repository = admission.repository
        self._chronicle = Chronicle(self.slot, repository, clock)
        self._trial = Trial(self.slot, repository, self._chronicle, supervisor, rules, clock)
        self._choice = Choice(admission, self._chronicle, self._trial)
        self._turns = Turns()
        self._turn: Turn | None = None
        self._vetting = False
        self._booting = False
        self._candidate: VettedBundle | None = None
        self._killed: str | None = None

    @property
    def busy(self) -> bool:
        """Whether a bundle is being looked at, or one waits for that."""
        return self._vetting or bool(self._turns)

    @property
    def booting(self) -> bool:
        """Whether it is not yet known what serves first."""
        return self._booting

    @property
    def serving(self) -> str | None:
        """The digest of what serves, or is to."""
        return self._post.digest

    @property
    def fault(self) -> str | None:
        """What a restart would undo."""
        return self._chronicle.fault

    def boot(self, offer: Offer) -> None:
        """Let what is installed serve; where nothing is, what lies at ``offer``."""
        self._vetting = self._booting = True
        self._beside.start(
            f"boot-{self.slot}", lambda: self._choice.first(offer), partial(self._booted, offer)
        )

    def offer(self, offer: Offer, told: Told = nobody, progress: Progress = untold) -> None:
        """Look at this bundle when it is its turn; a newer one that came the same way takes its place."""
        self._wait(offer.way, self._offered(offer, told, progress))

    def activate(self, digest: str, told: Told, progress: Progress = untold, *, force: bool = False) -> None:
        """Let an installed version serve, whatever was held against it; with ``force`` without probation.

        What is left is held. ``told`` hears RepositoryError where it is not installed: then what is coming
        still does.
        """
        missing = self._choice.missing(digest)
        if missing is not None:
            logger.warning("slot %s: %s", self.slot, missing)
            told(missing)
            return
        look = partial(self._choice.installed, digest, progress)
        self._wait("activate", Turn("activate", look, told, progress, on_trial=not force))

    def update(self, told: Told, progress: Progress = untold) -> None:
        """Let what is ``available`` serve; what serves is the previous one then, and not held.

        Raises UsageError: nothing is newer than what serves.
        """
        available = self._chronicle.available
        if available is None:
            raise UsageError(
                f"slot {self.slot}: no installed model is newer than what serves",
                "name a file in the inbox of the slot",
            )
        look = partial(self._choice.installed, available.digest, progress)
        self._wait("update", Turn("update", look, told, progress))

    def roll_back(self, told: Told, progress: Progress = untold) -> None:
        """Let the previous version serve, before anything else is looked at; what is left is held.

        Raises RepositoryError: there is none.
        """
        self._choice.before(self._post.digest)
        look = partial(self._choice.rolled_back, progress)
        self._wait("rollback", Turn("rollback", look, told, progress, on_trial=False))

    def revive(self, offer: Offer) -> None:
        """The slot is down: try what is installed once more, else what lies at ``offer``."""
        self._wait("revive", Turn("revive", partial(self._choice.revived, offer)))

    def observe(self, prediction: Prediction) -> None:
        """On a lane's thread: it was made."""
        self._trial.observe(prediction)

    def heard(self, news: News) -> None:
        """What became of the candidate."""
        candidate = self._candidate
        if candidate is None or candidate.bundle.digest != news.digest:
            return
        if news.refusal is not None and self._is_tried_again(news.refusal, news.digest):
            self._supervisor.offer(self.slot, candidate)
            return
        self._candidate = None
        if news.refusal is not None:
            self._trial.withdraw()
            self._refused(candidate, news.refusal)
            return
        left = self._post.digest
        self._activated(candidate)
        serves, named = self._serves(candidate, left), f"{candidate.bundle.name} {candidate.bundle.short}"
        held = "" if serves.left is None else f"; {serves.left[:12]} is held"
        logger.info("slot %s: %s has taken over%s", self.slot, named, held)
        self._tell(serves)

    def step(self) -> None:
        """Take the next offer, and look at the one on probation."""
        if not self._vetting and self._candidate is None:
            self._turn = self._turns.next(self._clock.monotonic_ns() / 1e9)
            if self._turn is not None:
                self._look(self._turn)
        why = self._trial.judge()
        if why is not None:
            self._fail(why)
        elif self._trial.digest is None:
            self._post.previous = None
        self._chronicle.step()

    def stop(self) -> None:
        """A clean end: what is on probation has not failed by it."""
        self._chronicle.catch_up()
        self._trial.stop()
        if self._admission.repository is not None:
            self._admission.repository.close()

    def set_rule(self, rule: RankingRule) -> None:
        """Rank by another rule from the next frame on."""
        self._post.set_rule(rule)

    def report(self) -> SuccessionReport:
        """As it stands."""
        state: Literal["serving", "vetting", "swapping", "probation"] = "serving"
        if self._vetting:
            state = "vetting"
        elif self._candidate is not None:
            state = "swapping"
        elif self._trial.digest is not None:
            state = "probation"
        chronicle = self._chronicle
        return SuccessionReport(
            state,
            self._coming(),
            chronicle.previous,
            chronicle.refusals,
            self._post.warnings,
            chronicle.available,
        )

    def _coming(self) -> Coming | None:
        if self._candidate is None:
            return self._choice.coming
        bundle = self._candidate.bundle
        return Coming(bundle.name, bundle.short, bundle.iteration, len(bundle.labels))

    def _offered(self, offer: Offer, told: Told = nobody, progress: Progress = untold) -> Turn:
        look = partial(self._choice.offered, offer, progress)
        return Turn("offer", look, told, progress, offer)

    def _booted(self, offer: Offer, outcome: First | EdgeAgentError) -> None:
        self._vetting = self._booting = False
        self._choice.coming = None
        if isinstance(outcome, EdgeAgentError):
            self.failure = outcome
            self._chronicle.unread(outcome)
            self._chronicle.read()
            return
        if outcome.chosen and not self._chronicle.follows(outcome.vetted.bundle.digest):
            self._turns.wait_again(self._offered(offer), self._clock.monotonic_ns() / 1e9)
        self._take(outcome.vetted, outcome.before)

    def _wait(self, way: str, turn: Turn) -> None:
        """What is coming may have to give way to it."""
        self._turns.wait(way, turn)
        if self._candidate is None or not turn.displaces(self._turn):
            return
        if self._supervisor.withdraw(self.slot):
            displaced, self._candidate = self._candidate, None
            self._trial.withdraw()
            self._displace(displaced, "a newer one took its place", for_good=turn.is_asked)

    def _displace(self, vetted: VettedBundle, why: str, *, for_good: bool) -> None:
        """Nothing is wrong with it; ``for_good``: a person wanted another, which a restart must not undo."""
        named = f"{vetted.bundle.name} {vetted.bundle.short}"
        remedy = "`edge-agent models activate` brings it back"
        logger.info("slot %s: %s does not take over: %s; %s", self.slot, named, why, remedy)
        if for_good:
            self._note_offered(vetted)
        self._tell(Passed(why))

    def _look(self, turn: Turn) -> None:
        self._vetting = True
        self._chronicle.catch_up()  # before an installation removes what it takes for an old model
        serving = None if self._post.is_vacant else self._post.digest
        self._beside.start(f"admit-{self.slot}", lambda: turn.look(serving), self._looked_at)

    def _looked_at(self, outcome: VettedBundle | Passed | EdgeAgentError) -> None:
        self._vetting = False
        self._choice.coming = None
        match outcome:
            case VettedBundle():
                self._swap(outcome)
            case Passed(serves=serves):
                self._chronicle.forget_unread()
                serving = self._post.serving
                if serves and serving is not None:
                    self._unchanged(serving)
                else:
                    self._tell(outcome)
            case _:
                if isinstance(outcome, BundleError) or self._turn is None or not self._turn.names_installed:
                    self._chronicle.unread(outcome)
                if self._turn is not None and isinstance(outcome, (RepositoryError, WorkerStartError)):
                    self._turns.wait_again(self._turn, self._clock.monotonic_ns() / 1e9, outcome)
                self._tell(outcome)

    def _swap(self, vetted: VettedBundle) -> None:
        """Promote it, or let it serve at once where nothing does: whatever comes then is better."""
        self._chronicle.forget_unread()
        turn, digest = self._turn, vetted.bundle.digest
        if self._post.is_vacant:
            self._revived(vetted)
            return
        if digest == self._post.digest:
            if turn is not None and turn.leaves and not turn.on_trial:
                self._trial.end()
            self._chronicle.follows(digest)
            self._tell(Serves(vetted, unchanged=True, unwritten=self._chronicle.fault))
            return
        if self._turns.rolls_back:  # to what is the previous one until now
            self._displace(vetted, "a rollback was asked for meanwhile", for_good=True)
            return
        if turn is not None:
            turn.progress("swapping", f"swapping to {vetted.bundle.name} {vetted.bundle.short}")
        if self._needs_trial(vetted):
            self._trial.announce(vetted)
        self._candidate = vetted
        self._supervisor.offer(self.slot, vetted)

    def _unchanged(self, serving: VettedBundle) -> None:
        """It serves already. What a person asked for does so after a restart too, and is held no more."""
        if self._turn is not None and self._turn.is_asked:
            self._chronicle.follows(serving.bundle.digest)
        self._tell(Serves(serving, unchanged=True, unwritten=self._chronicle.fault))

    def _revived(self, vetted: VettedBundle) -> None:
        """It serves at once, for nothing did; what somebody wanted to be rid of was down, and is left too."""
        turn, digest = self._turn, vetted.bundle.digest
        left = None if self._post.digest == digest else self._post.digest
        if turn is not None and turn.rolls_back and left is not None:
            self._chronicle.returns(digest, left)
        else:
            held = left if turn is not None and turn.leaves else None
            self._chronicle.follows(digest, left, holds=held)
        self._note_offered(vetted)
        self._trial.forget()
        self._take(vetted)
        self._tell(self._serves(vetted, left))

    def _refused(self, candidate: VettedBundle, refusal: Refused) -> None:
        """It does not take over; written down only where the same files would be refused again."""
        error = BundleError(f"{candidate.bundle.name} {candidate.bundle.short}: {refusal.reason}")
        error.digest = candidate.bundle.short
        if refusal.blame is not Blame.MACHINE:
            self._admission.refuse(candidate, refusal.reason)
            self._note_offered(candidate)
        else:
            self._chronicle.unread(error)
            if self._turn is not None:
                self._turns.wait_again(self._turn, self._clock.monotonic_ns() / 1e9, error)
        self._tell(error)

    def _is_tried_again(self, refusal: Refused, digest: str) -> bool:
        """Whether its worker was killed from outside, for the first time: that says nothing of it."""
        if refusal.blame is not Blame.OUTSIDE or self._killed == digest:
            return False
        logger.warning("slot %s: %s: %s; it is tried once more", self.slot, digest[:12], refusal.reason)
        self._killed = digest
        return True

    def _take(self, vetted: VettedBundle, before: VettedBundle | None = None) -> None:
        """Let it serve at once, on the trial that it was on before a restart."""
        self.failure = None
        self._post.take(vetted, before)
        self._trial.resume(vetted)
        self._chronicle.read()

    def _activated(self, vetted: VettedBundle) -> None:
        """It serves: have it serve after a restart too, on probation unless it was there before."""
        turn, returns, on_trial = self._turn, self._returns(vetted), self._needs_trial(vetted)
        digest, left = vetted.bundle.digest, self._post.digest
        assert left is not None, "a candidate follows something"
        self._post.follow(vetted, trial=self._trial.digest is not None, returns=returns)
        if returns:
            self._chronicle.returns(digest, left)
        else:
            before = self._post.previous
            held = left if turn is not None and turn.leaves else None
            proven = None if before is None else before.bundle.digest
            self._chronicle.follows(digest, proven, holds=held, on_trial=on_trial)
        self._note_offered(vetted)
        if on_trial:
            self._trial.begin(vetted)
        else:
            self._trial.end()
        self._chronicle.read()

    def _returns(self, vetted: VettedBundle) -> bool:
        """Whether it goes back to what has shown itself before: rolled back to, or activated during the trial
        of what followed it.
        """
        turn = self._turn
        return turn is not None and (turn.rolls_back or (turn.leaves and self._is_trusted(vetted)))

    def _needs_trial(self, vetted: VettedBundle) -> bool:
        """Whether it has yet to show that it may stay."""
        turn = self._turn
        return (turn is None or turn.on_trial) and not self._is_trusted(vetted)

    def _is_trusted(self, vetted: VettedBundle) -> bool:
        """Whether it is what the trial of what serves would go back to."""
        trusted = None if self._trial.digest is None else self._post.previous
        return trusted is not None and trusted.bundle.digest == vetted.bundle.digest

    def _note_offered(self, vetted: VettedBundle) -> None:
        """It serves or was refused: the same bytes need not be looked at again."""
        if self._turn is not None and self._turn.offer is not None:
            self._admission.note(self._turn.offer, vetted.bundle.digest)

    def _fail(self, why: str) -> None:
        """Back to what served before, held in memory for this, at once."""
        failed, before = self._post.serving, self._post.previous
        self._trial.forget()
        if failed is None or before is None:
            logger.warning("slot %s: it has failed, and there is nothing to go back to: %s", self.slot, why)
            return
        short, digest = failed.bundle.short, failed.bundle.digest
        logger.warning(
            "slot %s: %s is taken back, %s is to serve again: %s", self.slot, short, before.bundle.short, why
        )
        if self._chronicle.returns(before.bundle.digest, digest):
            self._admission.refuse(failed, why)
        else:
            refusal = BundleError(why)
            refusal.digest = short
            self._chronicle.unread(refusal)
        self._post.take(before)
        self._chronicle.read()
        if self._candidate is None:
            return
        if self._candidate.bundle.digest != before.bundle.digest:
            self._supervisor.offer(self.slot, self._candidate)
            return
        self._candidate = None  # what was asked for serves already
        self._trial.withdraw()
        self._note_offered(before)
        self._tell(self._serves(before, left=digest))

    def _serves(self, vetted: VettedBundle, left: str | None) -> Serves:
        """What is told of it; ``left`` was held where somebody wanted to be rid of it."""
        is_held = self._turn is not None and self._turn.leaves
        return Serves(vetted, left=left if is_held else None, unwritten=self._chronicle.fault)

    def _tell(self, what: Serves | Passed | EdgeAgentError) -> None:
        self._chronicle.read()
        turn, self._turn = self._turn, None
        if turn is not None and turn.is_asked and isinstance(what, Serves):
            self._turns.forget_later()
        if isinstance(what, EdgeAgentError):
            is_repeated = turn is not None and turn.failed is type(what)
            logger.log(logging.DEBUG if is_repeated else logging.ERROR, "slot %s: %s", self.slot, what)
        if turn is not None:
            turn.told(what)
