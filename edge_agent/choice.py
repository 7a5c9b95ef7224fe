"""What is to serve in a slot: at the start, when it is down, by digest, or as it was before.

All of it is slow and runs beside the main loop, one at a time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_agent.admission import Admission, Offer, Passed, Progress
from edge_agent.bundle import BundleFiles
from edge_agent.chronicle import Chronicle
from edge_agent.errors import BundleError, EdgeAgentError, RepositoryError
from edge_agent.repository import Repository
from edge_agent.trial import Trial
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Coming:
    """What is vetted or swapped to; ``labels`` is their number, None where it is not known yet."""

    name: str
    short: str
    iteration: str | None
    labels: int | None


@dataclass(frozen=True)
class First:
    """What serves at the start, ``before`` it where it is on trial; ``chosen``: the disk does not say so."""

    vetted: VettedBundle
    before: VettedBundle | None = None
    chosen: bool = False


class Choice:
    """One slot's. ``coming`` is what is being vetted."""

    def __init__(self, admission: Admission, chronicle: Chronicle, trial: Trial) -> None:
        self._slot = admission.slot
        self._admission = admission
        self._chronicle = chronicle
        self._trial = trial
        self.coming: Coming | None = None

    def offered(self, offer: Offer, progress: Progress, serving: str | None) -> VettedBundle | Passed:
        """What came some way. Raises as Admission.admit."""
        return self._admission.admit(offer, serving, progress, self._see)

    def first(self, offer: Offer) -> First:
        """What is to serve at the start. Raises as Admission.admit."""
        admission = self._admission
        self._trial.count_start()
        failure: EdgeAgentError | None = None
        try:
            current = admission.current()
        except EdgeAgentError as error:
            current, failure = None, error
        if current is not None:
            admission.pass_by(offer)
            return First(current, self._fallback(current))
        admitted = self._offered_first(offer)
        if isinstance(admitted, VettedBundle):
            return First(admitted, chosen=failure is None)  # else the installed one may suit again
        failure = failure or admitted
        resort = admission.last_resort()
        if resort is None:
            raise failure
        logger.warning(
            "slot %s: %s serves, for there is nothing better: %s", self._slot, resort.bundle.short, failure
        )
        return First(resort, chosen=not admission.ledger.is_doubted(resort.bundle.digest))

    def _offered_first(self, offer: Offer) -> VettedBundle | EdgeAgentError:
        """What lies there, or why it does not serve."""
        try:
            admitted = self._admission.admit(offer, None, seen=self._see)
        except EdgeAgentError as error:
            return error.with_traceback(None)  # which holds the bundle
        if isinstance(admitted, Passed):
            refusal = BundleError(admitted.why)
            refusal.digest = admitted.digest
            return refusal
        self._admission.note(offer, admitted.bundle.digest)
        return admitted

    def _fallback(self, current: VettedBundle) -> VettedBundle | None:
        """What served before, where the current one is on trial: it goes back to that at once, if need be."""
        repository = self._admission.repository
        assert repository is not None
        trial, previous = repository.probation, repository.previous
        if trial is None or previous is None or trial.digest != current.bundle.digest:
            return None
        try:
            return self._admission.installed(previous)
        except EdgeAgentError as error:
            logger.warning("slot %s: nothing to go back to: model %s: %s", self._slot, previous[:12], error)
            return None

    def missing(self, digest: str) -> RepositoryError | None:
        """Why it cannot be had, where it is not installed."""
        try:
            self._kept().version(digest)
        except RepositoryError as error:
            return error
        return None

    def installed(self, digest: str, progress: Progress, _serving: str | None) -> VettedBundle:
        """An installed version. Raises BundleError, RepositoryError."""
        self._kept()
        return self._admission.installed(digest, progress, self._see)

    def rolled_back(self, progress: Progress, serving: str | None) -> VettedBundle:
        """What served before, as it is when its turn has come. Raises BundleError, RepositoryError."""
        return self.installed(self.before(serving), progress, serving)

    def revived(self, offer: Offer, _serving: str | None) -> VettedBundle | Passed:
        """Raises as Admission.admit."""
        try:
            current = self._admission.current()
        except EdgeAgentError as error:
            logger.warning("slot %s: %s", self._slot, error)
            current = None
        return current or self._admission.admit(offer, None, seen=self._see)

    def before(self, serving: str | None) -> str:
        """The digest of what served before ``serving``, also where that could not be written down.

        Raises RepositoryError: there is none.
        """
        digest = self._chronicle.before(serving)
        if digest is None:
            raise RepositoryError(
                "there is no previous model to roll back to",
                "`edge-agent models list` shows what can be activated",
            )
        return digest

    def _kept(self) -> Repository:
        """Raises RepositoryError where nothing can be kept."""
        if self._admission.repository is None:
            raise RepositoryError("no model is installed", "give the agent a state_dir that it may write to")
        return self._admission.repository

    def _see(self, files: BundleFiles) -> None:
        labels = None if files.labels is None else len(files.labels)
        self.coming = Coming(files.name, files.short, files.iteration, labels)
