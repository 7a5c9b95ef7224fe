"""How a bundle that came some way becomes a version that may serve: read, known?, signed, vetted, installed.

All of it is slow; it runs beside the main loop.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, DamagedVersionError, RepositoryError
from edge_agent.repository import Repository
from edge_agent.signature import verify
from edge_agent.vetting import VettedBundle, verdict_key, vet
from edge_agent.watcher import fingerprint
from edge_agent.worker_process import WorkerSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """A bundle at ``path`` that came some ``way`` ("path", "inbox:new.zip", "control"), ``origin`` in words.

    One that was ``asked`` for by a person is taken though it was refused or rolled back from before.
    """

    way: str
    path: Path
    origin: str
    asked: bool = False


@dataclass(frozen=True)
class Passed:
    """Nothing is to be done about an offer, and why."""

    why: str


@dataclass(frozen=True)
class Admission:
    """One slot's door. ``repository`` is None where nothing can be kept; with a ``public_key`` only what is
    signed by it may enter; ``budget_ms`` (0: none) is the most that an inference may take on the CPU.
    """

    slot: str
    repository: Repository | None
    settings: WorkerSettings
    clock: Clock
    public_key: Path | None = None
    budget_ms: float = 0.0

    def admit(self, offer: Offer, serving: str | None) -> VettedBundle | Passed:
        """The bundle, vetted and installed; Passed where it is what serves, or was turned away before.

        Raises BundleError where it is refused, which is written down; RepositoryError, WorkerStartError.
        """
        before = fingerprint(offer.path)
        try:
            files = read_bundle(offer.path)
        except BundleError:
            if fingerprint(offer.path) != before:
                return Passed("it was changed while it was read: it is looked at again when it stands still")
            raise
        if fingerprint(offer.path) != before:
            return Passed("it was changed while it was read: it is looked at again when it stands still")
        known = self._known(offer, files, serving)
        if known is not None:
            return known
        try:
            vetted = self._vet(files)
        except BundleError as error:
            self._refuse(offer, files, str(error))
            raise
        self._keep(offer, files, vetted)
        return vetted

    def current(self) -> VettedBundle | None:
        """What the repository says should serve, vetted again where nothing is known of it; the one before
        where it is damaged or does not pass any more. None where there is none.
        """
        repository = self.repository
        while repository is not None and (digest := repository.current) is not None:
            try:
                return self.installed(digest)
            except DamagedVersionError as error:
                logger.error("slot %s: %s", self.slot, error)  # noqa: TRY400  one line
            except BundleError as error:
                logger.error("slot %s: model %s: %s", self.slot, digest[:12], error)  # noqa: TRY400
                repository.reject(digest, digest[:12], str(error), "installed")
                if repository.previous is None:
                    return None
                repository.rollback()
        return None

    def installed(self, digest: str) -> VettedBundle:
        """An installed version. Raises BundleError, RepositoryError."""
        assert self.repository is not None
        return self._vet(self.repository.read(digest))

    def refuse(self, vetted: VettedBundle, reason: str) -> None:
        """Write down why a version that was installed may not serve."""
        if self.repository is not None:
            bundle = vetted.bundle
            self._attempt_reject(bundle.digest, bundle.name, reason, "installed")

    def _known(self, offer: Offer, files: BundleFiles, serving: str | None) -> Passed | None:
        """Why nothing is to be done about it."""
        repository = self.repository
        if files.digest == serving:
            self._note(offer, files)
            return Passed(f"{files.short} serves already")
        if repository is None or offer.asked:
            return None
        if repository.offered(offer.way) == files.digest:
            return Passed(f"{files.short} was offered this way before")
        if repository.is_held(files.digest):
            self._note(offer, files)
            return Passed(f"{files.short} was rolled back from; `edge-agent models activate` brings it back")
        refusal = repository.rejection(files.digest)
        return None if refusal is None else Passed(f"{files.short} was refused before: {refusal.reason}")

    def _vet(self, files: BundleFiles) -> VettedBundle:
        if self.public_key is not None:
            verify(files, self.public_key)
        key = verdict_key(self.settings)
        known = None
        if self.repository is not None and key is not None:
            try:
                known = self.repository.verdict(files.digest, key)
            except RepositoryError:
                known = None  # not installed yet
        vetted = vet(files, self.settings, self.clock, known)
        if self.budget_ms and vetted.inference_ms > self.budget_ms:
            raise BundleError(
                f"{files.path}: an inference takes {vetted.inference_ms:.1f} ms, more than the budget of "
                f"{self.budget_ms:g} ms",
                "take a smaller model, or raise budget_ms",
            )
        return vetted

    def _keep(self, offer: Offer, files: BundleFiles, vetted: VettedBundle) -> None:
        """Install it. Raises RepositoryError: then it does not serve, for it could not outlive a restart."""
        if self.repository is None:
            return
        self.repository.install(files, offer.origin)
        key = verdict_key(self.settings)
        if key is not None:
            self.repository.remember_verdict(files.digest, key, vetted.verdict)
        self._note(offer, files)

    def _refuse(self, offer: Offer, files: BundleFiles, reason: str) -> None:
        self._attempt_reject(files.digest, files.name, reason, offer.origin)
        self._note(offer, files)

    def _attempt_reject(self, digest: str, name: str, reason: str, origin: str) -> None:
        if self.repository is None:
            return
        try:
            self.repository.reject(digest, name, reason, origin)
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)

    def _note(self, offer: Offer, files: BundleFiles) -> None:
        """What came this way last: once is enough."""
        if self.repository is None:
            return
        try:
            self.repository.note_offered(offer.way, files.digest)
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)
