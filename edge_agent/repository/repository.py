"""The bundles that are installed for one slot, which of them is to serve, and what is remembered of them."""

from __future__ import annotations

import logging
import re
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from edge_agent.bundle import BundleFiles
from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import DamagedVersionError, RepositoryError, UnknownVersionError
from edge_agent.repository.disk import DISCARDED, Disk
from edge_agent.repository.lock import RepositoryLock
from edge_agent.repository.records import State, Version
from edge_agent.repository.refusing import Refusing
from edge_agent.repository.remembering import checked
from edge_agent.repository.versions import Versions
from edge_agent.verdict import Verdict

SLOT_PATTERN = "^[A-Za-z0-9_-]{1,64}$"

_KINDS = {
    **dict.fromkeys(("versions", "staging", "damaged", "rejected", DISCARDED), stat.S_IFDIR),
    **dict.fromkeys(("memory.json", "memory.json.new", "lock"), stat.S_IFREG),
    **dict.fromkeys(("current", "current.new", "previous", "previous.new"), stat.S_IFLNK),
}
"""What each name of ours is."""

logger = logging.getLogger(__name__)


class Repository(Refusing):
    """``state_dir/models/<slot>/``, for one process at a time; any of its threads may call any method.

    A kill or a power cut at any instant leaves the state before a call or the one after it. Every method
    raises RepositoryError where the disk refuses: then what was to serve still is; those that take the digest
    of a version raise UnknownVersionError where it is not installed.
    """

    def __init__(
        self,
        state_dir: Path,
        slot: str,
        keep: int = 3,
        clock: Clock | None = None,
        *,
        to_read: bool = False,
    ) -> None:
        """Open it, made where it is missing, and mend what was interrupted; ``keep`` is for :meth:`prune`.
        ``to_read``: one that may not be written to will do.

        Raises RepositoryBusyError where another process has it open, RepositoryError.
        """
        if not re.fullmatch(SLOT_PATTERN, slot):
            raise RepositoryError(f"{slot!r} is no name of a slot", "use one that stands in [models]")
        self.slot = slot
        self._keep = keep
        self._root = state_dir / "models" / slot
        super().__init__(Disk(state_dir, self._root), clock or SystemClock())
        self._versions = Versions(self._disk, self._clock.wall_ns)
        self._installing = threading.Lock()
        self._on_its_way: str | None = None
        with self._disk.refusing(f"open the models of slot {slot}"):
            self._disk.folder(self._root)
            self._attempt("tidy up", partial(self._disk.straighten, _KINDS))
            self._lock = RepositoryLock(self._root, to_read=to_read)
            self._recall()
        self._attempt("tidy up", self._versions.tidy)
        self._relink()
        self._attempt("go on with a trial", self._put_on_trial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    # What is installed

    def install(self, files: BundleFiles, origin: str, serving: str | None = None) -> Version:
        """Install a bundle, or do nothing where it is; a damaged copy is replaced. It does not serve yet.

        ``origin`` says in words where it came from. What :meth:`prune` would remove is removed, except for
        this one, and for what is ``serving``.
        """
        needed = sum(len(part.content) for part in files.parts)
        with self._installing, self._disk.refusing(f"install model {files.short}", needed):
            if not self._versions.holds(files):
                self._versions.install(files, origin)
                with self._mutex:
                    self._versions.admit(files.digest)
            self._on_its_way = files.digest
            self._attempt("remove old models", partial(self._prune, serving))
            return self._version(files.digest)

    def read(self, digest: str) -> BundleFiles:
        """The bundle, its digest proven.

        Raises DamagedVersionError for one that is not what it was, which is then installed no more: where it
        was :attr:`current` or :attr:`previous`, another is in its place. One that may not be read is passed
        over in the same way for as long as this repository is open.
        """
        with self._installing, self._disk.refusing(f"read model {digest[:12]}"):
            self._version(digest)
            self._on_its_way = digest
            try:
                return self._versions.read(digest)
            except DamagedVersionError as error:
                self._attempt(f"set model {digest[:12]} aside", partial(self._set_aside, digest, str(error)))
                raise

    def version(self, digest: str) -> Version:
        """What is known of an installed version."""
        return self._version(digest)

    def versions(self) -> list[Version]:
        """What is installed, newest first."""
        with self._doing("list the models"):
            states = self._states()
            return [
                version.model_copy(update={"state": states.get(version.digest, "installed")})
                for version in self._versions.all()
            ]

    def prune(self, serving: str | None = None) -> list[str]:
        """Remove the oldest versions, until ``keep`` are left; never the current or the previous one, nor the
        newest of the others, nor what was installed or read last, for it may be about to serve, nor what is
        ``serving``, which need not be current.

        Their digests.
        """
        with self._installing, self._doing("remove old models"):
            return self._prune(serving)

    # Which is to serve

    @property
    def current(self) -> str | None:
        """The digest of what is to serve; it is installed, and its files were whole when last looked at.

        Where the one that was activated is gone, the previous one; else the newest, those that are held or
        rejected last.
        """
        with self._doing("look for the model that serves"):
            return self._standing()

    @property
    def previous(self) -> str | None:
        """The digest of what served before, where it is still installed."""
        with self._doing("look for the model that served"):
            previous = self._linked("previous")
            return None if previous == self._standing() else previous

    @property
    def newest_good(self) -> str | None:
        """The digest of the newest version that nothing is held against, be it current or not."""
        with self._doing("look for a model that could serve"):
            return next(
                (each.digest for each in self._versions.all() if not self._is_doubted(each.digest)), None
            )

    def activate(
        self, digest: str, *, after: str | None = None, on_trial: bool = False, running: bool = True
    ) -> None:
        """Have a version be current, and what it follows the previous one: what was current, or ``after``
        where that has served instead. While that is on trial, the previous one stays what it is. One that is
        held or rejected is nothing to go back to.

        What is activated is held and rejected no more. ``on_trial``: that is written down before it is
        current, for it may take the machine down at once; what is on trial until then stays so. ``running``:
        an agent runs; should it end without a word, that will be counted.
        """
        with self._doing(f"activate model {digest[:12]}"):
            self._version(digest)
            standing = self._standing()
            before = None if standing in (None, digest) else self._proven(standing, after)
            memory, now_ns = self._memory.releasing(digest), self._clock.wall_ns()
            self._remember(
                memory.trying(digest, now_ns, running=running) if on_trial else memory.untried(digest)
            )
            self._rejections.remove(digest)
            if before is not None:
                self._precede(before)
            if self._linked("current") != digest:
                self._point("current", digest)
            if on_trial:
                self._attempt(f"put model {digest[:12]} on trial", self._put_on_trial)

    def rollback(self) -> str:
        """Have the previous version be current, and its digest; what was current is held.

        Raises RepositoryError where there is none.
        """
        with self._doing("roll back"):
            left, target = self._standing(), self.previous
            if left is None or target is None:
                raise RepositoryError(
                    "there is no previous model to roll back to",
                    "`edge-agent models list` shows what can be activated",
                )
            memory = self._memory.releasing(target).holding(left)
            self._remember(memory.model_copy(update={"left": left}))  # from here on it is done
            self._attempt(f"activate model {target[:12]}", partial(self._point, "current", target))
            return target

    def take_back(self, failed: str, before: str | None) -> None:
        """Hold a version that has failed; where it is current, have ``before`` be that, or what there is.

        Doing it again changes nothing. Its trial is over. Raises UnknownVersionError where ``before`` would
        have to be current and is not installed: then nothing has changed.
        """
        with self._doing(f"take model {failed[:12]} back"):
            memory, standing = self._memory.holding(checked(failed)), self._standing()
            if standing == failed:
                if before is not None:
                    self._version(before)
                memory = memory if before is None else memory.releasing(before)
                memory = memory.model_copy(update={"left": failed})
            if memory.probation is not None and memory.probation.digest == failed:
                memory = memory.model_copy(update={"probation": None})
            self._remember(memory)  # from here on it is done
            if standing == failed and before is not None:
                self._attempt(f"activate model {before[:12]}", partial(self._point, "current", before))

    # What was found of it

    def verdict(self, digest: str, key: str) -> Verdict | None:
        """What vetting found of a version, under the conditions that ``key`` names."""
        self._version(digest)
        return self._versions.verdict(digest, key)

    def remember_verdict(self, digest: str, key: str, verdict: Verdict) -> None:
        """Keep it for as long as the version."""
        with self._doing(f"note what was found of model {digest[:12]}"):
            self._version(digest)
            self._versions.remember_verdict(digest, key, verdict)

    # Within

    def _version(self, digest: str) -> Version:
        with self._doing(f"look for model {digest[:12]}"):
            version = self._versions.find(checked(digest))
            if version is None:
                raise UnknownVersionError(
                    f"model {digest[:12]} is not installed", "see `edge-agent models list`"
                )
            return version.model_copy(update={"state": self._states().get(digest, "installed")})

    def _states(self) -> dict[str, State]:
        states: dict[str, State] = dict.fromkeys(self._memory.held, "held")
        previous, standing = self._linked("previous"), self._standing()
        if previous is not None:
            states[previous] = "previous"
        if standing is not None:
            states[standing] = "current"
        return states

    def _standing(self) -> str | None:
        """See :attr:`current`. What was left by a rollback is the last choice, whatever the link says."""
        if not any((self._root / link).is_symlink() for link in ("current", "previous")):
            return None
        newest = [version.digest for version in self._versions.all()]
        linked = [digest for link in ("current", "previous") if (digest := self._linked(link)) is not None]
        order = [*linked, *sorted(newest, key=self._is_doubted)]
        return next((digest for digest in order if digest != self._memory.left), next(iter(order), None))

    def _linked(self, link: str) -> str | None:
        """The digest of the whole version that ``current`` or ``previous`` leads to."""
        try:
            digest = (self._root / link).readlink().name
        except OSError:
            return None
        return None if self._versions.find(digest) is None else digest

    def _set_aside(self, digest: str, reason: str) -> None:
        """Take a damaged version out of its place, and out of the links, for good."""
        self._versions.set_aside(digest, reason)
        self._relink()
        for link in (self._root / "current", self._root / "previous"):
            if link.is_symlink() and link.readlink().name == digest:
                link.unlink()

    def _put_on_trial(self) -> None:
        """What was about to serve so, once it is current: that takes the place of another trial."""
        self._remember(self._memory.proving(self._standing()))

    def _proven(self, standing: str, after: str | None) -> str:
        """Of what another one follows, that which may be gone back to: what is on trial only for want of one
        before it.
        """
        served = standing if after is None or self._versions.find(after) is None else after
        trial = self._memory.probation
        is_on_trial = trial is not None and trial.digest == served
        return (self._linked("previous") if is_on_trial else None) or served

    def _precede(self, digest: str) -> None:
        """It is the previous one, where it may be gone back to."""
        if self._is_doubted(digest):
            (self._root / "previous").unlink(missing_ok=True)
        elif self._linked("previous") != digest:
            self._point("previous", digest)

    def _point(self, link: str, digest: str) -> None:
        self._disk.point(self._root / link, self._versions.folder / digest)

    def _prune(self, serving: str | None) -> list[str]:
        fixed = {self._linked("previous"), self._standing()} - {None}
        others = [each.digest for each in self._versions.all() if each.digest not in fixed]
        surplus = others[max(self._keep - len(fixed), 1) :]
        removed = [digest for digest in surplus if digest not in (self._on_its_way, serving)]
        for digest in removed:
            self._versions.remove(digest)
        return removed

    def _relink(self) -> None:
        """Have the link ``current`` lead where :attr:`current` says."""
        with self._mutex:
            standing = self._standing()
            if standing is not None and standing != self._linked("current"):
                said = "slot %s: model %s is to serve in place of the last one"
                logger.warning(said, self.slot, standing[:12])
                self._attempt(f"activate model {standing[:12]}", partial(self._point, "current", standing))

    def _attempt(self, task: str, step: Callable[[], object]) -> None:
        """Do what can wait: a disk that refuses is told, and nothing more."""
        try:
            with self._doing(task):
                step()
        except RepositoryError as error:
            logger.warning("slot %s: %s", self.slot, error)
