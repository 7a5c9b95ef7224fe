"""What a slot's repository is told of how its models follow one another, and what is told of it.

Whatever the disk says, what serves goes on: what could not be written down is a fault, and is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.errors import BundleError, EdgeAgentError, RepositoryError, UnknownVersionError
from edge_agent.journal import Entry, Follows, Returns, TrialOver
from edge_agent.repository import Repository, Version

logger = logging.getLogger(__name__)

REFUSALS = 10
"""Of the newest refusals that a slot tells."""

AGAIN_S = 60.0
"""A try costs a few small files."""


@dataclass(frozen=True)
class Refusal:
    """Why a bundle may not serve; ``at_ns`` is Unix time; one that could not be read has no digest."""

    digest: str | None
    at_ns: int
    reason: str


class Chronicle:
    """One slot's; without a ``repository`` nothing is kept. Of the main thread, but for ``before``."""

    def __init__(self, slot: str, repository: Repository | None, clock: Clock) -> None:
        self._slot = slot
        self._repository = repository
        self._clock = clock
        self._unwritten: tuple[Entry, ...] = ()
        self._again_s = 0.0
        self._unread: Refusal | None = None
        self._refused: tuple[Refusal, ...] = ()
        self.previous: Version | None = None
        self.available: Version | None = None
        self.fault: str | None = None

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Newest first, what has no digest to be written down by included."""
        unread = self._unread
        if unread is None or unread.digest in {each.digest for each in self._refused}:
            return self._refused
        return (unread, *self._refused)

    def follows(
        self, digest: str, left: str | None = None, *, holds: str | None = None, on_trial: bool = False
    ) -> bool:
        """It serves: have it do so after a restart too; see Follows. Whether that is written down."""
        return self._note(Follows(digest, None if left == digest else left, holds, on_trial))

    def returns(self, digest: str, left: str) -> bool:
        """It serves again; see Returns. Whether that is written down."""
        return self._note(Returns(digest, left))

    def trial_over(self) -> None:
        """What serves is not on trial, or no more."""
        self._note(TrialOver())

    def before(self, serving: str | None) -> str | None:
        """The digest of what served before ``serving``, written down or not; from any thread.

        Raises RepositoryError.
        """
        repository, unwritten = self._repository, self._unwritten
        if repository is None or unwritten:
            return _before(repository, unwritten)
        current = repository.current
        is_another = serving is not None and current not in (None, serving)
        return current if is_another else repository.previous

    def step(self) -> None:
        """Try again, now and then, what could not be written down."""
        if self._now_s() >= self._again_s:
            self.catch_up()

    def catch_up(self) -> None:
        """Try again at once."""
        if self._unwritten and self._write():
            self.read()

    def unread(self, error: EdgeAgentError) -> None:
        """Tell what is not written down: it could not be read, or may be otherwise the next time."""
        digest = error.digest if isinstance(error, BundleError) else None
        self._unread = Refusal(digest, self._clock.wall_ns(), str(error))

    def forget_unread(self) -> None:
        """Something could be read since."""
        self._unread = None

    def read(self) -> None:
        """What the repository knows has changed: read it once rather than in each turn."""
        repository = self._repository
        if repository is None:
            return
        try:
            previous = _before(repository, self._unwritten)
            versions, refused = repository.versions(), repository.rejections()
        except RepositoryError as error:
            logger.warning("slot %s: %s", self._slot, error)
            return
        self.previous = next((each for each in versions if each.digest == previous), None)
        self.available = _newer(versions, {each.digest for each in refused})
        newest = refused[:REFUSALS]
        self._refused = tuple(Refusal(each.short, each.at_ns, each.reason) for each in newest)

    def attempt(self, write: Callable[[Repository], object]) -> None:
        """What serves goes on, though it could not be written down."""
        if self._repository is None:
            return
        try:
            write(self._repository)
        except RepositoryError as error:
            logger.warning("slot %s: %s", self._slot, error)

    def _note(self, entry: Entry) -> bool:
        if self._repository is None:
            return True
        self._unwritten = (*self._unwritten, entry)
        return self._write()

    def _write(self) -> bool:
        what = next((each for each in reversed(self._unwritten) if not isinstance(each, TrialOver)), None)
        told = (what or self._unwritten[-1]).told
        try:
            while self._unwritten:
                self._put_down(self._unwritten[0], self._unwritten[1:])
                self._unwritten = self._unwritten[1:]
        except RepositoryError as error:
            fault = f"{told}, but a restart would undo it: {error}"
            level = logging.DEBUG if self.fault else logging.WARNING
            logger.log(level, "slot %s: %s", self._slot, fault)
            self.fault = f"slot {self._slot}: {fault}"
            self._again_s = self._now_s() + AGAIN_S
            return False
        if self.fault is not None:
            logger.info("slot %s: it is written down that %s", self._slot, told)
        self.fault = None
        return True

    def _put_down(self, entry: Entry, later: Sequence[Entry]) -> None:
        """Raises RepositoryError; not for a version that is gone, where another serves since."""
        assert self._repository is not None
        try:
            entry.write(self._repository)
        except UnknownVersionError:
            if isinstance(entry, TrialOver) or all(isinstance(each, TrialOver) for each in later):
                raise
            entry.pass_over(self._repository)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def _newer(versions: Sequence[Version], refused: Collection[str]) -> Version | None:
    """The newest of the versions, which are newest first, unless it is what is to serve or was refused."""
    may_serve = (each for each in versions if each.state == "current" or each.digest not in refused)
    newest = next(may_serve, None)
    return None if newest is None or newest.state == "current" else newest


def _before(repository: Repository | None, unwritten: Sequence[Entry]) -> str | None:
    """What may be gone back to, once all is written down. Raises RepositoryError."""
    for entry in reversed(unwritten):
        match entry:
            case Returns():
                return None
            case Follows(left=str(left)):
                return left
    return None if repository is None else repository.previous
