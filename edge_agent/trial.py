"""The trial of what has just taken over in a slot: over restarts, until it has passed or failed."""

from __future__ import annotations

import contextlib
import logging

from edge_agent.chronicle import Chronicle
from edge_agent.clock import Clock
from edge_agent.errors import RepositoryError, UnknownVersionError
from edge_agent.predictions import Prediction
from edge_agent.probation import Probation, ProbationRules
from edge_agent.repository import Repository
from edge_agent.slot import SlotStatus
from edge_agent.stick_faults import MAX_STICK_FAILURES
from edge_agent.supervisor import Supervisor
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)

MAX_UNCLEAN_STARTS = 2
"""Starts on probation, or with a candidate, without an end before them: a power cut at night is one, a model
that takes the machine down soon makes two.
"""

WRITE_EVERY_S = 60.0
"""So much of a trial a power cut undoes; a card bears a small file a minute for as long as a trial lasts."""

STEADY_S = 600.0
"""A model that takes the machine down does so before: after this an end without a word is a power cut."""


class Trial:
    """One slot's. ``observe`` may be called from any thread, the rest belongs to the main one."""

    def __init__(
        self,
        slot: str,
        repository: Repository | None,
        chronicle: Chronicle,
        supervisor: Supervisor,
        rules: ProbationRules,
        clock: Clock,
    ) -> None:
        self._slot = slot
        self._repository = repository
        self._chronicle = chronicle
        self._supervisor = supervisor
        self._rules = rules
        self._clock = clock
        self._probation: Probation | None = None
        self._stick_losses = 0
        self._began_s = self._written_s = 0.0

    @property
    def digest(self) -> str | None:
        """Of what is on trial."""
        probation = self._probation
        return None if probation is None else probation.digest

    def announce(self, vetted: VettedBundle) -> None:
        """It is about to take over, and may take the machine down before it does."""
        self._chronicle.attempt(lambda kept: kept.note_candidate(vetted.bundle.digest))

    def withdraw(self) -> None:
        """What was announced does not take over, and nothing went down with it."""
        self._chronicle.attempt(lambda kept: kept.end_candidacy())

    def begin(self, vetted: VettedBundle) -> None:
        """Put what serves on trial, in place of another: it is written down with that."""
        self._start(vetted, 0, 0.0)

    def resume(self, vetted: VettedBundle) -> None:
        """Where what serves was on trial before the agent was started, go on with that."""
        record = None if self._repository is None else self._repository.probation
        if record is not None and record.digest == vetted.bundle.digest:
            self._start(vetted, record.frames, record.seconds)

    def end(self) -> None:
        """It has passed, or another one serves."""
        self.forget()
        self._chronicle.trial_over()

    def forget(self) -> None:
        """It is not looked at any more; what is written down of it stays."""
        self._probation = None

    def observe(self, prediction: Prediction) -> None:
        """On a lane's thread: it was made."""
        probation = self._probation
        if probation is not None and probation.digest.startswith(prediction.model.digest):
            probation.observe(prediction.inference_ms)

    def judge(self) -> str | None:
        """Why what is on trial may not stay, if so; it ends here where it has passed."""
        probation = self._probation
        if probation is None:
            return None
        now_s = self._now_s()
        losses, reason = self._losses()
        verdict = probation.verdict(losses, reason, now_s)
        if verdict is True:
            logger.info("slot %s: %s has passed its probation", self._slot, probation.digest[:12])
            self.end()
        elif not verdict and now_s >= self._written_s + WRITE_EVERY_S:
            self._write(running=True)
        return verdict if isinstance(verdict, str) else None

    def stop(self) -> None:
        """A clean end: what is on trial has not failed by it, also where it did not serve yet."""
        candidate = None if self._repository is None else self._repository.candidate
        if candidate is not None:
            self._chronicle.attempt(lambda kept: kept.note_candidate(candidate.digest, running=False))
        record = None if self._repository is None else self._repository.probation
        if self._probation is not None:
            self._write(running=False)
        elif record is not None:
            self._chronicle.attempt(
                lambda kept: kept.note_trial(record.frames, record.seconds, running=False)
            )

    def count_start(self) -> None:
        """Beside, at the start: what was on trial when the agent ended twice in a row without a word is taken
        back, and what was about to be is refused.
        """
        repository = self._repository
        if repository is None:
            return
        try:
            record = repository.note_start()
            if record is not None and record.digest != repository.current:
                repository.end_probation()
            elif record is not None and record.unclean_starts >= MAX_UNCLEAN_STARTS:
                self._give_up(repository, record.digest)
            candidate = repository.candidate
            if candidate is not None and candidate.unclean_starts >= MAX_UNCLEAN_STARTS:
                self._refuse(repository, candidate.digest, "it was swapped to")
                repository.end_candidacy()
        except RepositoryError as error:
            logger.warning("slot %s: %s", self._slot, error)

    def _give_up(self, repository: Repository, digest: str) -> None:
        logger.warning("slot %s: another model than %s is to serve", self._slot, digest[:12])
        repository.take_back(digest, repository.previous)
        self._refuse(repository, digest, "it was on probation")

    def _refuse(self, repository: Repository, digest: str, when: str) -> None:
        reason = f"the agent ended {MAX_UNCLEAN_STARTS} times without a word while {when}"
        logger.warning("slot %s: model %s: %s", self._slot, digest[:12], reason)
        with contextlib.suppress(UnknownVersionError):  # it is gone, and cannot do so again
            version = repository.version(digest)
            repository.reject(digest, version.name, reason, version.origin)

    def _start(self, vetted: VettedBundle, frames: int, seconds: float) -> None:
        self._stick_losses = self._status().stick_losses
        losses, _ = self._losses()
        self._began_s = self._written_s = self._now_s()
        self._probation = Probation(
            vetted.bundle.digest,
            self._rules,
            vetted.inference_ms,
            losses,
            self._began_s,
            frames=frames,
            served_s=seconds,
        )

    def _write(self, *, running: bool) -> None:
        probation = self._probation
        record = None if self._repository is None else self._repository.probation
        now_s = self._now_s()
        self._written_s = now_s
        if probation is None or record is None or record.digest != probation.digest:
            return  # it is not written down yet that it is on trial
        steady = now_s - self._began_s >= STEADY_S
        frames, served_s = probation.frames, probation.served_s(now_s)
        self._chronicle.attempt(
            lambda kept: kept.note_trial(frames, served_s, running=running, steady=steady)
        )

    def _losses(self) -> tuple[int, str | None]:
        """Workers lost that ran this slot's model, and why the last one was.

        Of the Edge TPU's a single one says nothing: somebody may have pulled it.
        """
        status = self._status()
        on_stick = status.stick_losses - self._stick_losses
        reason = status.reason or self._supervisor.device().trouble
        return status.losses + on_stick // MAX_STICK_FAILURES, reason

    def _status(self) -> SlotStatus:
        return next(each for each in self._supervisor.status() if each.slot == self._slot)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
