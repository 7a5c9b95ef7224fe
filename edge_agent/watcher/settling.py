"""When a candidate has stood still for long enough to be told: pure, it is given looks and the time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edge_agent.watcher.fingerprints import Fingerprint, Look

Candidate = tuple[str, Path]
"""A way in, and what lies at its end."""


@dataclass
class _Standing:
    """``told`` is what was last told of it."""

    look: Look
    since_s: float
    told: Fingerprint | None = None


class Settling:
    """Remembers of each candidate how long it has stood still, and what was told."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._standing: dict[Candidate, _Standing] = {}

    @property
    def is_restless(self) -> bool:
        """Whether there is something yet to be told."""
        return any(each.told != each.look.fingerprint for each in self._standing.values())

    def is_due(self, candidate: Candidate, look: Look, now_s: float) -> bool:
        """Take in a look; whether the candidate is new or changed, and has stood still since."""
        standing = self._standing.get(candidate)
        if standing is None:
            self._standing[candidate] = _Standing(look, now_s)
            return False
        if standing.look != look:
            standing.look, standing.since_s = look, now_s
            return False
        return look.fingerprint != standing.told and now_s - standing.since_s >= self._settle_s

    def tell(self, candidate: Candidate) -> None:
        """It has been told as it stands."""
        standing = self._standing[candidate]
        standing.told = standing.look.fingerprint

    def keep(self, candidates: Collection[Candidate]) -> None:
        """Forget all others: what went away and comes again is new."""
        for candidate in self._standing.keys() - set(candidates):
            del self._standing[candidate]
