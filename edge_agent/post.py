"""What serves a slot, and what did so before it, held in memory for as long as it may be gone back to."""

from __future__ import annotations

import logging

from edge_agent.classifier import RankingRule
from edge_agent.remarks import remarks
from edge_agent.supervisor import Supervisor
from edge_agent.vetting import VettedBundle

logger = logging.getLogger(__name__)


class Post:
    """One slot's. ``warnings`` are of what serves."""

    def __init__(self, slot: str, supervisor: Supervisor, rule: RankingRule) -> None:
        self._slot = slot
        self._supervisor = supervisor
        self._rule = rule
        self.serving: VettedBundle | None = None
        self.previous: VettedBundle | None = None
        self.warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str | None:
        """Of what serves, or is to."""
        return None if self.serving is None else self.serving.bundle.digest

    @property
    def is_vacant(self) -> bool:
        """Whether nothing serves, and nothing will by itself."""
        status = self._supervisor.status()
        return self.serving is None or any(each.is_down for each in status if each.slot == self._slot)

    def take(self, vetted: VettedBundle, before: VettedBundle | None = None) -> None:
        """Let it serve at once; ``before`` it did what may be gone back to."""
        self.serving, self.previous = vetted, before
        self._remark(vetted, None)
        self._supervisor.aspire(self._slot, vetted, self._rule)

    def follow(self, vetted: VettedBundle, *, trial: bool, returns: bool) -> None:
        """It has been promoted, and ``returns`` where that is no new model. During a ``trial`` of what served
        it is not that which may be gone back to, but what did before.
        """
        before = self.serving
        assert before is not None, "a candidate follows something"
        proven = (self.previous if trial else None) or before
        self.serving, self.previous = vetted, None if returns else proven
        self._remark(vetted, before)

    def set_rule(self, rule: RankingRule) -> None:
        """Rank by another rule from the next frame on."""
        self._rule = rule
        if self.serving is not None:
            self._supervisor.set_rule(self._slot, rule)

    def _remark(self, vetted: VettedBundle, before: VettedBundle | None) -> None:
        self.warnings = remarks(vetted, before)
        for warning in self.warnings:
            logger.warning("slot %s: %s", self._slot, warning)
