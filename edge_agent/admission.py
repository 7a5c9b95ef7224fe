"""How a bundle that came some way becomes a version that may serve: read, known?, signed, vetted, installed.

All of it is slow; it runs beside the main loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.bundle.packing import unpack
from edge_agent.clock import Clock
from edge_agent.errors import (
    BundleError,
    DamagedVersionError,
    EdgeAgentError,
    RepositoryError,
    SignatureError,
    UnprovenError,
    UnsuitableError,
)
from edge_agent.repository import Rejection, Repository
from edge_agent.sealed import SealedFile
from edge_agent.signature import verify
from edge_agent.verdict import Verdict
from edge_agent.vetting import VettedBundle, verdict_key, vet
from edge_agent.watcher import fingerprint
from edge_agent.worker_process import WorkerSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """A bundle at ``path`` that came some ``way`` ("path", "inbox:new.zip", "control"), ``origin`` in words.

    One that was ``asked`` for by a person is taken though it was refused or rolled back from before. What was
    handed over is ``packed``; ``path`` is where it was read then.
    """

    way: str
    path: Path
    origin: str
    asked: bool = False
    packed: SealedFile | None = None


@dataclass(frozen=True)
class Passed:
    """Nothing is to be done about an offer, and why; ``serves``: it does so already. ``digest`` (12 hex digits)
    names it where it is known.
    """

    why: str
    serves: bool = False
    digest: str | None = None


Progress = Callable[[Literal["vetting", "installing", "swapping"], str], None]
"""Called with each step, and what it is in words; from any thread."""


def untold(_step: str, _text: str) -> None:
    """Nobody looks on."""


Seen = Callable[[BundleFiles], None]
"""Called with what is about to be vetted, from the thread that does it."""


def unseen(_files: BundleFiles) -> None:
    """Nobody wants to know."""


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

    def admit(
        self, offer: Offer, serving: str | None, progress: Progress = untold, seen: Seen = unseen
    ) -> VettedBundle | Passed:
        """The bundle, vetted and installed; Passed where it is what serves, or was turned away before.

        Raises BundleError where it is refused, which is written down where it is lasting; RepositoryError,
        WorkerStartError, ConfigError where the public key cannot be used.
        """
        files = self._read(offer)
        if isinstance(files, Passed):
            return files
        known = self._known(offer, files, serving)
        if known is not None:
            logger.info("slot %s: %s: %s", self.slot, offer.origin, known.why)
            return known
        try:
            vetted = self.prove(files, progress, seen)
        except BundleError as error:
            error.digest = files.short
            self._refuse(offer, files, error)
            raise
        progress("installing", "installing")
        self._keep(offer, files, vetted, must=serving is not None)
        return vetted

    def prove(self, files: BundleFiles, progress: Progress = untold, seen: Seen = unseen) -> VettedBundle:
        """The bundle, once it is known that it may serve here.

        Raises BundleError, WorkerStartError, and ConfigError where the public key cannot be used.
        """
        if self.public_key is not None:
            verify(files, self.public_key)
        progress("vetting", f"proving {files.name} {files.short}")
        seen(files)
        known = self._verdict(files.digest)
        try:
            vetted = vet(files, self.settings, self.clock, known)
        except UnprovenError as error:  # it may have been for want of memory, or killed from outside
            logger.info("slot %s: %s; it is tried once more", self.slot, error.what)
            vetted = vet(files, self.settings, self.clock, known)
        if self.cpu_only:
            vetted.for_cpu()
        if self.budget_ms and vetted.typical_ms > self.budget_ms:
            raise UnsuitableError(
                f"{files.path}: an inference takes {vetted.typical_ms:.1f} ms, more than the budget of "
                f"{self.budget_ms:g} ms",
                "take a smaller model, or raise budget_ms",
            )
        return vetted

    def current(self) -> VettedBundle | None:
        """What the repository says should serve, vetted again where nothing is known of it; the one before
        where it is damaged or does not pass any more. None where there is none that nothing is held against.

        Raises why where it does not suit what is configured, could not be tried or not be read: that is held
        against none, for it may be otherwise at the next start.
        """
        failure: EdgeAgentError | None = None
        tried: set[str] = set()
        while (digest := self._next(tried)) is not None:
            tried.add(digest)
            try:
                return self.installed(digest)
            except DamagedVersionError as error:
                logger.error("slot %s: %s", self.slot, error)  # noqa: TRY400  one line
            except (BundleError, RepositoryError) as error:
                logger.error("slot %s: model %s: %s", self.slot, digest[:12], error)  # noqa: TRY400
                if isinstance(error, BundleError) and error.lasting:
                    self._drop(digest, str(error))
                else:
                    failure = failure or error
        if failure is not None:
            raise failure
        return None

    def last_resort(self) -> VettedBundle | None:
        """What is installed whole, where nothing else can serve: the newest that nothing is held against,
        else what was left or refused. None where that does not pass either.
        """
        repository = self.repository
        found = [] if repository is None else [repository.newest_good, repository.current]
        for digest in dict.fromkeys(each for each in found if each is not None):
            try:
                return self.installed(digest)
            except (BundleError, RepositoryError) as error:
                logger.warning("slot %s: model %s: %s", self.slot, digest[:12], error)
        return None

    def installed(self, digest: str, progress: Progress = untold, seen: Seen = unseen) -> VettedBundle:
        """An installed version; what is found is remembered. Raises BundleError, RepositoryError."""
        assert self.repository is not None
        vetted = self.prove(self.repository.read(digest), progress, seen)
        self._remember(vetted)
        return vetted

    def refuse(self, vetted: VettedBundle, reason: str) -> None:
        """Write down why a version that was installed may not serve."""
        self._attempt(lambda kept: self._reject(kept, vetted.bundle.digest, reason))

    def is_doubted(self, vetted: VettedBundle) -> bool:
        """Whether it was left or refused."""
        return self.repository is not None and self.repository.is_doubted(vetted.bundle.digest)

    def pass_by(self, offer: Offer) -> None:
        """Where nothing came this way yet, what lies there is no news: somebody has chosen what serves."""
        if self.repository is None or self.repository.offered(offer.way) is not None:
            return
        try:
            self.note(offer, read_bundle(offer.path).digest)
        except BundleError as error:
            logger.info("slot %s: %s", self.slot, error)

    def _next(self, tried: Collection[str]) -> str | None:
        """Of what served last, that which nothing is held against and that was not tried yet."""
        repository = self.repository
        if repository is None:
            return None
        lasts = [digest for digest in (repository.current, repository.previous) if digest is not None]
        return next((each for each in lasts if each not in tried and not repository.is_doubted(each)), None)

    def _drop(self, digest: str, reason: str) -> None:
        """One that served does not pass any more."""
        repository = self.repository
        assert repository is not None
        before = repository.previous
        self._attempt(lambda kept: self._reject(kept, digest, reason))
        self._attempt(lambda kept: kept.take_back(digest, before))

    def _reject(self, repository: Repository, digest: str, reason: str) -> None:
        version = repository.version(digest)
        conditions = verdict_key(self.settings)
        repository.reject(digest, version.name, reason, version.origin, conditions=conditions)

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
        if files.digest == serving and (repository is None or self._is_kept(files.digest)):
            self.note(offer, files.digest)
            return Passed(f"{files.short} serves already", serves=True, digest=files.short)
        if repository is None or offer.asked or files.digest == serving:
            return None
        refusal = self._refusal(repository, files)
        if repository.is_held(files.digest):
            self.note(offer, files.digest)
            return Passed(f"{files.short} was rolled back from; `edge-agent models activate` brings it back")
        if refusal is not None:
            return Passed(f"{files.short} was refused before: {refusal.reason}", digest=files.short)
        if serving is not None and repository.offered(offer.way) == files.digest:
            return Passed(f"{files.short} was offered this way before")
        return None

    def _refusal(self, repository: Repository, files: BundleFiles) -> Rejection | None:
        """Why it was refused, where that still holds. Raises ConfigError where the key cannot be used."""
        refusal = repository.rejection(files.digest)
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

    def _is_kept(self, digest: str) -> bool:
        try:
            return self.repository is not None and self.repository.version(digest) is not None
        except RepositoryError:
            return False

    def _keep(self, offer: Offer, files: BundleFiles, vetted: VettedBundle, *, must: bool) -> None:
        """Install it. Raises RepositoryError where it ``must`` be: what serves already outlives a restart."""
        if self.repository is None:
            return
        try:
            self.repository.install(files, offer.origin)
        except RepositoryError as error:
            if must:
                raise
            logger.warning("slot %s: %s %s is not kept: %s", self.slot, files.name, files.short, error)
            return
        self._remember(vetted)

    def _verdict(self, digest: str) -> Verdict | None:
        """What is known of it; None where it is not installed."""
        key = verdict_key(self.settings)
        if self.repository is None or key is None:
            return None
        try:
            return self.repository.verdict(digest, key)
        except RepositoryError:
            return None

    def _remember(self, vetted: VettedBundle) -> None:
        """What was found of an installed version, for the next start."""
        digest, key = vetted.bundle.digest, verdict_key(self.settings)
        if key is not None and self._verdict(digest) is None:
            self._attempt(lambda kept: kept.remember_verdict(digest, key, vetted.verdict))

    def _refuse(self, offer: Offer, files: BundleFiles, error: BundleError) -> None:
        """Write it down, but for what may be otherwise the next time; it is told all the same."""
        unsigned = isinstance(error, SignatureError)
        unproven = isinstance(error, UnprovenError) and not self._is_kept(files.digest)
        if not (error.lasting or unsigned or unproven):
            return
        conditions = None if unsigned else verdict_key(self.settings)
        told = (files.digest, files.name, str(error), offer.origin)
        self._attempt(lambda kept: kept.reject(*told, unsigned=unsigned, conditions=conditions))
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
