"""What a slot's repository knows of bundles that come in, and what is written down of them.

What was found out holds though it could not be written down: only an installation may fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from edge_agent.bundle import BundleFiles
from edge_agent.errors import BundleError, RepositoryError, SignatureError, UnprovenError
from edge_agent.repository import Rejection, Repository
from edge_agent.signature import verify
from edge_agent.verdict import Verdict
from edge_agent.vetting import VettedBundle, verdict_key
from edge_agent.worker_process import WorkerSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ledger:
    """One slot's. ``settings`` name the runtime, which verdicts and refusals are of."""

    slot: str
    repository: Repository | None
    settings: WorkerSettings
    public_key: Path | None = None

    def keeps(self, digest: str) -> bool:
        """Whether it is installed."""
        try:
            return self.repository is not None and self.repository.version(digest) is not None
        except RepositoryError:
            return False

    def is_held(self, digest: str) -> bool:
        """Whether somebody has left it."""
        return self.repository is not None and self.repository.is_held(digest)

    def is_doubted(self, digest: str) -> bool:
        """Whether it was left or refused. Raises RepositoryError."""
        return self.repository is not None and self.repository.is_doubted(digest)

    def offered(self, way: str) -> str | None:
        """The last digest that came this way."""
        return None if self.repository is None else self.repository.offered(way)

    def refusal(self, files: BundleFiles) -> Rejection | None:
        """Why it was refused, where that still holds: by this runtime, and for want of a signature that is
        trusted where it has none yet.

        Raises RepositoryError, and ConfigError where the key cannot be used.
        """
        refusal = None if self.repository is None else self.repository.rejection(files.digest)
        if refusal is None or refusal.conditions not in (None, verdict_key(self.settings)):
            return None
        if not refusal.unsigned:
            return refusal
        try:
            if self.public_key is not None:
                verify(files, self.public_key)
        except SignatureError:
            return refusal
        return None

    def last(self, tried: Collection[str]) -> str | None:
        """Of what served last, that which nothing is held against and that was not tried yet.

        Raises RepositoryError.
        """
        repository = self.repository
        if repository is None:
            return None
        lasts = [digest for digest in (repository.current, repository.previous) if digest is not None]
        return next((each for each in lasts if each not in tried and not repository.is_doubted(each)), None)

    def install(self, files: BundleFiles, origin: str, serving: str | None) -> None:
        """Raises RepositoryError where something is ``serving``: that outlives a restart already."""
        if self.repository is None:
            return
        try:
            self.repository.install(files, origin, serving)
        except RepositoryError as error:
            if serving is not None:
                raise
            logger.warning("slot %s: %s %s is not kept: %s", self.slot, files.name, files.short, error)

    def verdict(self, digest: str) -> Verdict | None:
        """What is known of it; None where it is not installed."""
        key = verdict_key(self.settings)
        if self.repository is None or key is None:
            return None
        try:
            return self.repository.verdict(digest, key)
        except RepositoryError:
            return None

    def remember(self, vetted: VettedBundle) -> None:
        """What was found of it, for the next start."""
        digest, key = vetted.bundle.digest, verdict_key(self.settings)
        if key is not None and self.keeps(digest) and self.verdict(digest) is None:
            self._attempt(lambda kept: kept.remember_verdict(digest, key, vetted.verdict))

    def note(self, way: str, digest: str) -> None:
        """What came this way last: once is enough."""
        self._attempt(lambda kept: kept.note_offered(way, digest))

    def refuse(self, files: BundleFiles, error: BundleError, way: str, origin: str) -> None:
        """Of what came in; not what may be otherwise the next time: that is told, and asked again."""
        unsigned = isinstance(error, SignatureError)
        unproven = isinstance(error, UnprovenError) and not self.keeps(files.digest)
        if not (error.lasting or unsigned or unproven):
            return
        conditions = None if unsigned else verdict_key(self.settings)
        told = (files.digest, files.name, str(error), origin)
        self._attempt(lambda kept: kept.reject(*told, unsigned=unsigned, conditions=conditions))
        if not unsigned:  # the same digest may come this way again, signed
            self.note(way, files.digest)

    def refuse_installed(self, digest: str, reason: str) -> None:
        """Of what is installed, under the name that it has there."""
        self._attempt(lambda kept: self._reject(kept, digest, reason))

    def drop(self, digest: str, reason: str) -> None:
        """What was to serve does not pass any more: another one is current then."""
        self.refuse_installed(digest, reason)
        self._attempt(lambda kept: kept.take_back(digest, kept.previous))

    def _reject(self, repository: Repository, digest: str, reason: str) -> None:
        version = repository.version(digest)
        conditions = verdict_key(self.settings)
        repository.reject(digest, version.name, reason, version.origin, conditions=conditions)

    def _attempt(self, write: Callable[[Repository], object]) -> None:
        if self.repository is None:
            return
        try:
            write(self.repository)
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)
