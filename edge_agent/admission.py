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
from edge_agent.errors import (
    BundleError,
    DamagedVersionError,
    EdgeAgentError,
    RepositoryError,
    UnprovenError,
    UnsuitableError,
    one_line,
)
from edge_agent.ledger import Ledger
from edge_agent.repository import Repository
from edge_agent.sealed import SealedFile
from edge_agent.signature import verify
from edge_agent.vetting import VettedBundle, vet
from edge_agent.watcher import read_unchanged
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
    """Nothing is to be done about an offer, and why; ``serves``: it does so already.

    ``digest`` (12 hex digits) names it where it is known.
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

    @property
    def ledger(self) -> Ledger:
        """What is known of bundles, and written down."""
        return Ledger(self.slot, self.repository, self.settings, self.public_key)

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
            self.ledger.refuse(files, error, offer.way, offer.origin)
            raise
        progress("installing", "installing")
        self.ledger.install(files, offer.origin, serving)
        self.ledger.remember(vetted)
        return vetted

    def prove(self, files: BundleFiles, progress: Progress = untold, seen: Seen = unseen) -> VettedBundle:
        """The bundle, once it is known that it may serve here.

        Raises BundleError, WorkerStartError, and ConfigError where the public key cannot be used.
        """
        if self.public_key is not None:
            verify(files, self.public_key)
        progress("vetting", f"proving {files.name} {files.short}")
        seen(files)
        known = self.ledger.verdict(files.digest)
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
        while (digest := self.ledger.last(tried)) is not None:
            tried.add(digest)
            try:
                return self.installed(digest)
            except DamagedVersionError as error:
                logger.error("slot %s: %s", self.slot, error)  # noqa: TRY400  one line
            except (BundleError, RepositoryError) as error:
                logger.error("slot %s: model %s: %s", self.slot, digest[:12], error)  # noqa: TRY400
                if isinstance(error, BundleError) and error.lasting:
                    self.ledger.drop(digest, str(error))
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
        self.ledger.remember(vetted)
        return vetted

    def refuse(self, vetted: VettedBundle, reason: str) -> None:
        """Write down why a version that was installed may not serve."""
        self.ledger.refuse_installed(vetted.bundle.digest, reason)

    def note(self, offer: Offer, digest: str) -> None:
        """What came this way last: once is enough, now that it serves or was refused."""
        self.ledger.note(offer.way, digest)

    def pass_by(self, offer: Offer) -> None:
        """Where nothing came this way yet, what lies there is no news: somebody has chosen what serves."""
        if self.repository is None or self.ledger.offered(offer.way) is not None:
            return
        try:
            self.note(offer, read_bundle(offer.path).digest)
        except BundleError as error:
            logger.info("slot %s: %s", self.slot, error)

    def _read(self, offer: Offer) -> BundleFiles | Passed:
        """Passed where it does not stand still. Raises BundleError."""
        if offer.packed is not None:
            return unpack(offer.packed, offer.path)
        why = "it was changed while it was read: it is looked at again when it stands still"
        return read_unchanged(offer.path) or Passed(why)

    def _known(self, offer: Offer, files: BundleFiles, serving: str | None) -> Passed | None:
        """Why nothing is to be done about it."""
        ledger, digest = self.ledger, files.digest
        if digest == serving:
            if self.repository is not None and not ledger.keeps(digest):
                return None  # there was no room for it when it began to serve
            self.note(offer, digest)
            return Passed(f"{files.short} serves already", serves=True, digest=files.short)
        if offer.asked:
            return None
        refusal = ledger.refusal(files)
        if ledger.is_held(digest):
            self.note(offer, digest)
            return Passed(f"{files.short} was rolled back from; `edge-agent models activate` brings it back")
        if refusal is not None:
            return Passed(f"{files.short} was refused before: {refusal.reason}", digest=files.short)
        if serving is not None and ledger.offered(offer.way) == digest:
            return Passed(f"{files.short} was offered this way before")
        return None
