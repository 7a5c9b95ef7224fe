"""How a bundle that came some way becomes a version that may serve: read, known?, signed, vetted, installed.

All of it is slow; it runs beside the main loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.bundle.packing import unpack
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, RepositoryError, SignatureError, one_line
from edge_agent.repository import Rejection, Repository
from edge_agent.sealed import SealedFile
from edge_agent.signature import verify
from edge_agent.vetting import VettedBundle, verdict_key, vet
from edge_agent.watcher import fingerprint
from edge_agent.worker_process import WorkerSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """A bundle at ``path`` that came some ``way`` ("path", "inbox:new.zip", "control"), ``origin`` in words.

    One that was ``asked`` for by a person is taken though it was refused or rolled back from before. What was
    handed over is ``packed``; ``path`` is where it was read then. ``way`` and ``origin`` are written down:
    bytes of a file's name that are no UTF-8 stand in them as their escapes.
    """

    way: str
    path: Path
    origin: str
    asked: bool = False
    packed: SealedFile | None = None

    def __post_init__(self) -> None:
        for name in ("way", "origin"):
            object.__setattr__(self, name, one_line(getattr(self, name)))


@dataclass(frozen=True)
class Passed:
    """Nothing is to be done about an offer, and why; ``serves``: it does so already."""

    why: str
    serves: bool = False


Progress = Callable[[Literal["vetting", "installing", "swapping"], str], None]
"""Called with each step, and what it is in words; from any thread."""


def untold(_step: str, _text: str) -> None:
    """Nobody looks on."""


@dataclass(frozen=True)
class Admission:
    """One slot's door. ``repository`` is None where nothing can be kept; with a ``public_key`` only what is
    signed by it may enter; ``budget_ms`` (0: none) is the most that an inference may take on the CPU;
    ``cpu_only``: there is no Edge TPU that could run what the CPU cannot.
    """

    slot: str
    repository: Repository | None
    settings: WorkerSettings
    clock: Clock
    public_key: Path | None = None
    budget_ms: float = 0.0
    cpu_only: bool = False

    def admit(self, offer: Offer, serving: str | None, progress: Progress = untold) -> VettedBundle | Passed:
        """The bundle, vetted and installed; Passed where it is what serves, or was turned away before.

        Raises BundleError where it is refused, which is written down; RepositoryError, WorkerStartError,
        ConfigError where the public key cannot be used.
        """
        files = self._read(offer)
        if isinstance(files, Passed):
            return files
        known = self._known(offer, files, serving)
        if known is not None:
            logger.info("slot %s: %s: %s", self.slot, offer.origin, known.why)
            return known
        try:
            vetted = self.prove(files, progress)
        except BundleError as error:
            error.digest = files.short
            self._refuse(offer, files, error)
            raise
        progress("installing", "installing")
        self._keep(offer, files, vetted)
        return vetted

    def prove(self, files: BundleFiles, progress: Progress = untold) -> VettedBundle:
        """The bundle, once it is known that it may serve here.

        Raises BundleError, WorkerStartError, and ConfigError where the public key cannot be used.
        """
        if self.public_key is not None:
            verify(files, self.public_key)
        progress("vetting", f"proving {files.name} {files.short}")
        key = verdict_key(self.settings)
        known = None
        if self.repository is not None and key is not None:
            try:
                known = self.repository.verdict(files.digest, key)
            except RepositoryError:
                known = None  # not installed yet
        vetted = vet(files, self.settings, self.clock, known)
        if self.cpu_only:
            vetted.for_cpu()
        if self.budget_ms and vetted.inference_ms > self.budget_ms:
            raise BundleError(
                f"{files.path}: an inference takes {vetted.inference_ms:.1f} ms, more than the budget of "
                f"{self.budget_ms:g} ms",
                "take a smaller model, or raise budget_ms",
            )
        return vetted

    def current(self) -> VettedBundle | None:
        """What the repository says should serve, vetted again where nothing is known of it; the one before
        where it is damaged or does not pass any more. None where there is none.
        """
        repository = self.repository
        while repository is not None and (digest := repository.current) is not None:
            try:
                return self.installed(digest)
            except RepositoryError as error:
                if repository.current == digest:
                    raise
                logger.error("slot %s: %s", self.slot, error)  # noqa: TRY400  one line
            except BundleError as error:
                logger.error("slot %s: model %s: %s", self.slot, digest[:12], error)  # noqa: TRY400
                unsigned = isinstance(error, SignatureError)
                repository.reject(digest, digest[:12], str(error), "installed", unsigned=unsigned)
                if repository.previous is None:
                    return None
                repository.rollback()
        return None

    def installed(self, digest: str, progress: Progress = untold) -> VettedBundle:
        """An installed version. Raises BundleError, RepositoryError."""
        assert self.repository is not None
        return self.prove(self.repository.read(digest), progress)

    def refuse(self, vetted: VettedBundle, reason: str) -> None:
        """Write down why a version that was installed may not serve."""
        bundle = vetted.bundle
        self._attempt(lambda kept: kept.reject(bundle.digest, bundle.name, reason, "installed"))

    def _read(self, offer: Offer) -> BundleFiles | Passed:
        """Passed where it does not stand still. Raises BundleError."""
        if offer.packed is not None:
            return unpack(offer.packed, offer.path)
        before = fingerprint(offer.path)
        try:
            files = read_bundle(offer.path)
        except BundleError:
            if fingerprint(offer.path) != before:
                return Passed("it was changed while it was read: it is looked at again when it stands still")
            raise
        if fingerprint(offer.path) != before:
            return Passed("it was changed while it was read: it is looked at again when it stands still")
        return files

    def _known(self, offer: Offer, files: BundleFiles, serving: str | None) -> Passed | None:
        """Why nothing is to be done about it."""
        repository = self.repository
        if files.digest == serving:
            self.note(offer, files.digest)
            return Passed(f"{files.short} serves already", serves=True)
        if repository is None or offer.asked:
            return None
        refusal = self._refusal(repository, files)
        if repository.is_held(files.digest):
            self.note(offer, files.digest)
            return Passed(f"{files.short} was rolled back from; `edge-agent models activate` brings it back")
        if refusal is not None:
            return Passed(f"{files.short} was refused before: {refusal.reason}")
        if serving is not None and repository.offered(offer.way) == files.digest:
            return Passed(f"{files.short} was offered this way before")
        return None

    def _refusal(self, repository: Repository, files: BundleFiles) -> Rejection | None:
        """Why it was refused, where that still holds. Raises ConfigError where the key cannot be used."""
        refusal = repository.rejection(files.digest)
        if refusal is None or not refusal.unsigned:
            return refusal
        try:
            if self.public_key is not None:
                verify(files, self.public_key)
        except SignatureError:
            return refusal
        return None

    def _keep(self, offer: Offer, files: BundleFiles, vetted: VettedBundle) -> None:
        """Install it. Raises RepositoryError: then it does not serve, for it could not outlive a restart."""
        if self.repository is None:
            return
        self.repository.install(files, offer.origin)
        key = verdict_key(self.settings)
        if key is not None:
            self.repository.remember_verdict(files.digest, key, vetted.verdict)

    def _refuse(self, offer: Offer, files: BundleFiles, error: BundleError) -> None:
        unsigned = isinstance(error, SignatureError)
        self._attempt(
            lambda kept: kept.reject(files.digest, files.name, str(error), offer.origin, unsigned=unsigned)
        )
        if not unsigned:  # the same digest may come this way again, signed
            self.note(offer, files.digest)

    def note(self, offer: Offer, digest: str) -> None:
        """What came this way last: once is enough, now that it serves or was refused."""
        self._attempt(lambda kept: kept.note_offered(offer.way, digest))

    def _attempt(self, write: Callable[[Repository], object]) -> None:
        """What was found out holds, though it could not be written down."""
        if self.repository is None:
            return
        try:
            write(self.repository)
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)
