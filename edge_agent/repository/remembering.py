"""What a slot remembers beside its files: what is held, what came in, and what serves on trial."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from edge_agent.clock import Clock
from edge_agent.errors import UnknownVersionError
from edge_agent.repository.disk import Disk, content_of
from edge_agent.repository.records import DIGEST_PATTERN, Memory, Probation

logger = logging.getLogger(__name__)


class Remembering:
    """The part of :class:`~edge_agent.repository.Repository` that ``memory.json`` is enough for."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self._memory_path = disk.root / "memory.json"
        self._memory = Memory()
        self._mutex = threading.RLock()

    # What no way in may bring back

    def hold(self, digest: str) -> None:
        """No way in may bring this digest back by itself."""
        with self._doing(f"hold model {digest[:12]}"):
            self._remember(self._memory.holding(checked(digest)))

    def is_held(self, digest: str) -> bool:
        """Whether it is."""
        return digest in self._memory.held

    # What came in

    def offered(self, way: str) -> str | None:
        """The last digest that came this way."""
        return self._memory.offered.get(way)

    def note_offered(self, way: str, digest: str) -> None:
        """Remember it, so that it is offered once."""
        with self._doing(f"note that model {digest[:12]} was offered"):
            self._remember(self._memory.offering(way, checked(digest)))

    # What serves on trial

    @property
    def probation(self) -> Probation | None:
        """The version that does."""
        return self._memory.probation

    def note_start(self) -> Probation | None:
        """The agent starts: a run before it without a clean stop is counted, against a candidate too.

        Returns what is on trial, if anything.
        """
        with self._doing("note the start"):
            self._remember(self._memory.started())
            return self._memory.probation

    def note_trial(self, frames: int, seconds: float, *, running: bool = True, steady: bool = False) -> None:
        """How much the one on trial has served in all; not ``running``: the agent stops as it should.

        One that has served ``steady`` is not to blame for ends long before.
        """
        with self._doing("note how a trial goes"):
            probation = self._memory.probation
            if probation is not None:
                update = {"frames": frames, "seconds": seconds, "running": running}
                forgiven = {"unclean_starts": 0} if steady else {}
                tried = probation.model_copy(update={**update, **forgiven})
                self._remember(self._memory.model_copy(update={"probation": tried}))

    def end_probation(self) -> None:
        """It has stood the trial, or serves no more."""
        with self._doing("end the trial of a model"):
            self._remember(self._memory.model_copy(update={"probation": None}))

    # What is about to serve on trial

    @property
    def candidate(self) -> Probation | None:
        """The version that is."""
        return self._memory.candidate

    def note_candidate(self, digest: str, *, running: bool = True) -> None:
        """It is about to serve on trial: should the agent end without a word, that is counted. Not
        ``running``: the agent stops as it should.
        """
        with self._doing(f"note that model {digest[:12]} is to serve"):
            self._remember(self._memory.trying(checked(digest), self._clock.wall_ns(), running=running))

    def end_candidacy(self) -> None:
        """It is not about to serve any more."""
        with self._doing("note that a model is not to serve"):
            self._remember(self._memory.model_copy(update={"candidate": None}))

    # Within

    @contextmanager
    def _doing(self, task: str) -> Iterator[None]:
        """One thread at a time, with what the disk says translated to RepositoryError."""
        with self._mutex, self._disk.refusing(task):
            yield

    def _remember(self, memory: Memory) -> None:
        if memory != self._memory:
            self._disk.replace(self._memory_path, memory.model_dump_json(indent=1).encode())
            self._memory = memory

    def _recall(self) -> None:
        """Read what was remembered. Raises OSError."""
        try:
            self._memory = Memory.model_validate_json(content_of(self._memory_path))
        except FileNotFoundError:
            return
        except ValidationError:
            logger.warning(
                "%s is damaged: which models are held, and what was offered, is forgotten", self._memory_path
            )


def checked(digest: str) -> str:
    """The digest. Raises UnknownVersionError for what is none."""
    if not re.fullmatch(DIGEST_PATTERN, digest):
        raise UnknownVersionError(f"{digest[:80]!r} is no digest", "give 64 hex digits")
    return digest
