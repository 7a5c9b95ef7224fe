"""What a slot's repository is told of how its models follow one another, and what is told of it.

Whatever the disk says, what serves goes on: what could not be written down is a fault, and is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.errors import BundleError, EdgeAgentError, RepositoryError
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


@dataclass(frozen=True)
class _Standing:
    """``digest`` serves; of ``held`` none may come back by itself. ``goes_back``: these have failed or were
    rolled back from, so that none of them is the one before.
    """

    digest: str
    held: frozenset[str]
    goes_back: bool


class Chronicle:
    """One slot's; without a ``repository`` nothing is kept. It belongs to the main thread."""

    def __init__(self, slot: str, repository: Repository | None, clock: Clock) -> None:
        self._slot = slot
        self._repository = repository
        self._clock = clock
        self._unwritten: _Standing | None = None
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

    def serves(self, digest: str, *, hold: str | None = None, goes_back: bool = False) -> bool:
        """Have it serve after a restart too, and ``hold`` not come back; whether that is written down."""
        if self._repository is None:
            return True
        before = self._unwritten.held if self._unwritten is not None else frozenset()
        held = (before | ({hold} if hold else set())) - {digest}
        self._unwritten = _Standing(digest, held, goes_back)
        return self._write()

    def step(self) -> None:
        """Try again what could not be written down."""
        if self._unwritten is not None and self._now_s() >= self._again_s:
            self._write()

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
            previous = repository.previous
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

    def _write(self) -> bool:
        repository, standing = self._repository, self._unwritten
        assert repository is not None
        assert standing is not None
        try:
            _put_down(repository, standing)
        except RepositoryError as error:
            what = f"model {standing.digest[:12]} serves, but a restart would undo it: {error}"
            level = logging.DEBUG if self.fault else logging.WARNING
            logger.log(level, "slot %s: %s", self._slot, what)
            self.fault = f"slot {self._slot}: {what}"
            self._again_s = self._now_s() + AGAIN_S
            return False
        if self.fault is not None:
            logger.info("slot %s: that model %s serves is written down", self._slot, standing.digest[:12])
        self._unwritten = self.fault = None
        return True

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def _newer(versions: Sequence[Version], refused: Collection[str]) -> Version | None:
    """The newest of the versions, which are newest first, unless it is what is to serve or was refused."""
    may_serve = (each for each in versions if each.state == "current" or each.digest not in refused)
    newest = next(may_serve, None)
    return None if newest is None or newest.state == "current" else newest


def _put_down(repository: Repository, standing: _Standing) -> None:
    """Raises RepositoryError."""
    if standing.goes_back:
        for held in standing.held:
            repository.take_back(held, standing.digest)
    if repository.current != standing.digest or repository.is_doubted(standing.digest):
        repository.activate(standing.digest)
    for held in standing.held:  # last: a power cut in between must not leave what is current held
        if not repository.is_held(held):
            repository.hold(held)
