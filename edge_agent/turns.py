"""What waits to be looked at in a slot, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from edge_agent.admission import Offer, Passed, Progress, untold
from edge_agent.errors import EdgeAgentError
from edge_agent.vetting import VettedBundle

AGAIN_S = 300.0
"""A disk that is full or a machine without memory is seldom better sooner, and each try reads the bundle."""


@dataclass(frozen=True)
class Serves:
    """What was asked for does, and did so before where it is ``unchanged``; ``left`` is the digest that is
    held now; ``unwritten`` says why a restart would undo it.
    """

    vetted: VettedBundle
    unchanged: bool = False
    left: str | None = None
    unwritten: str | None = None


Told = Callable[[Serves | Passed | EdgeAgentError], None]
"""Called once, on the main thread, with what became of it."""


def nobody(_what: Serves | Passed | EdgeAgentError) -> None:
    """Nobody asked."""


@dataclass(frozen=True)
class Turn:
    """Something that waits to be looked at: ``look`` runs beside, with the digest of what serves. It is one
    that ``failed`` before with such an error.
    """

    kind: Literal["offer", "activate", "update", "rollback", "revive"]
    look: Callable[[str | None], VettedBundle | Passed]
    told: Told = nobody
    progress: Progress = untold
    offer: Offer | None = None
    on_trial: bool = True
    failed: type[EdgeAgentError] | None = None

    @property
    def rolls_back(self) -> bool:
        """Whether it goes back to what served before."""
        return self.kind == "rollback"

    @property
    def names_installed(self) -> bool:
        """Whether it asks for what is installed, and brings nothing."""
        return self.kind in ("activate", "update", "rollback")

    @property
    def leaves(self) -> bool:
        """Whether somebody wants to be rid of what serves, so that no way in may bring that back."""
        return self.kind in ("activate", "rollback")

    @property
    def is_asked(self) -> bool:
        """Whether a person wants it now."""
        return self.leaves or self.kind == "update" or (self.offer is not None and self.offer.asked)

    def displaces(self, coming: Turn | None) -> bool:
        """Whether what is coming gives way: to what was asked for since, and to what came the same way."""
        if coming is None or coming.offer is None or self.offer is None:
            return self.offer is None
        return self.offer.asked or self.offer.way == coming.offer.way


class Turns:
    """The turns of one slot, each under its way in."""

    def __init__(self) -> None:
        self._waiting: dict[str, Turn] = {}
        self._later: dict[str, tuple[float, Turn]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def rolls_back(self) -> bool:
        """Whether a rollback waits."""
        return any(turn.rolls_back for turn in self._waiting.values())

    def wait(self, way: str, turn: Turn) -> None:
        """A newer one takes the place of what came the same way; a rollback goes before all others."""
        self._later.pop(way, None)
        replaced = self._waiting.pop(way, None)
        if replaced is not None:
            replaced.told(Passed("a newer one took its place"))
        self._waiting = {way: turn, **self._waiting} if turn.rolls_back else {**self._waiting, way: turn}

    def wait_again(self, turn: Turn, now_s: float, error: EdgeAgentError | None = None) -> None:
        """It failed for what may pass: look at it some minutes later, if nothing else came the same way."""
        if turn.offer is not None and not turn.offer.asked:
            failed = None if error is None else type(error)
            self._later[turn.offer.way] = (now_s + AGAIN_S, replace(turn, failed=failed))

    def forget_later(self) -> None:
        """A person has what was asked for: what waits to be tried again must not undo that."""
        self._later.clear()

    def next(self, now_s: float) -> Turn | None:
        """The one whose turn it is; what is to be tried again comes after all that waits."""
        for way, (due_s, turn) in list(self._later.items()):
            if now_s >= due_s and not self._waiting:
                self.wait(way, turn)
        return self._waiting.pop(next(iter(self._waiting))) if self._waiting else None
