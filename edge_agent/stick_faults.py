"""What is remembered of an Edge TPU's failures: how often in a row, with which models, and what is next."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from edge_agent.errors import DisagreementError, EdgeAgentError, WorkerDiedError, WorkerError
from edge_agent.recovery import Ladder, Rung, delay_s, rung_for

logger = logging.getLogger(__name__)

MAX_STICK_FAILURES = 2
"""Workers that a model may cost before it is refused, taken back or left out: one may be by the stick."""


class Faults:
    """Of one Edge TPU. Times are monotonic seconds.

    ``refused`` says of digests why they never run there. ``failed_with`` counts how often in a row a worker
    with a digest failed before it served, from a first time on before which the stick was sound. ``rung`` is
    due before the next look, and that after ``retry_at``; ``rungs`` counts those taken. ``cycled``: its port
    was switched since it served last. ``was_killed``: the last worker that failed was ended by somebody else.
    """

    def __init__(self, ladder: Ladder, runtimes: Sequence[str]) -> None:
        self.refused: dict[str, str] = {}
        self.failed_with: Counter[str] = Counter()
        self.in_a_row = 0
        self.rung = Rung.RESPAWN
        self.rungs: Counter[Rung] = Counter()
        self.retry_at = 0.0
        self.cycled = self.was_killed = False
        self._ladder = ladder
        self._runtimes = runtimes
        self._turn_of = 0
        self._misfits: dict[str, WorkerError] = {}
        self._is_sound = True
        self._starts = 0
        self._proven: set[str] = set()
        self._left_out: dict[str, str] = {}
        self._suspects: list[str] = []
        self._suspect: str | None = None

    # How often, and what is done next

    def count(self, now_s: float) -> float:
        """One more failure in a row: longer pauses, higher rungs. The pause in seconds."""
        self.in_a_row += 1
        self._is_sound = False
        self.rung = rung_for(self.in_a_row - 1, self._ladder)
        wait_s = delay_s(self.in_a_row, self._ladder, random.random())  # noqa: S311  spread, not secrecy
        self.retry_at = now_s + wait_s
        return wait_s

    def lost(self, served_s: float) -> None:
        """It was lost after so long a service, which may make what was before that forgotten."""
        if served_s >= self._ladder.stable_s:
            self.in_a_row = 0

    def left_the_bus(self) -> None:
        """One that failed and is gone comes back, if at all, with the power of its port: tried once."""
        if self.in_a_row and not self.cycled:
            self.rung = Rung.POWER_CYCLE if self._ladder.power_cycles else Rung.RESPAWN

    def climbing(self) -> Rung:
        """The rung that was due is being taken."""
        rung, self.rung = self.rung, Rung.RESPAWN
        self.cycled |= rung is Rung.POWER_CYCLE
        self.rungs[rung] += 1
        return rung

    def served(self, networks: Iterable[str]) -> None:
        """A worker with these networks was proven: what was held against stick and models is settled."""
        if self._suspect is not None:
            why = f"{self._starts} workers of the Edge TPU failed with this model, and none without it"
            logger.warning("model %s is left out on the Edge TPU: %s", self._suspect[:12], why)
            self._left_out[self._suspect] = f"{why}; plug the stick in again to have it tried"
        self.settle()
        self._is_sound, self.cycled = True, False
        self._proven.update(networks)
        self.failed_with.clear()
        self._misfits.clear()

    # Which model it was

    def objection(self, digest: str) -> str | None:
        """Why a compiled model does not run there now."""
        if digest == self._suspect:
            return "the Edge TPU is tried without this model, for its workers fail"
        return self.refused.get(digest) or self._left_out.get(digest)

    def refuse(self, digest: str, why: str) -> None:
        """These bytes do not run there, however often they are tried."""
        self.refused[digest] = why
        logger.warning("model %s does not run on the Edge TPU: %s", digest[:12], why)

    def blame(self, networks: Iterable[str], error: EdgeAgentError) -> None:
        """A worker with these networks failed before it served; the error may know which of them it was.

        Where that goes on, each of several is left out in turn, to find the one that keeps the stick from the
        others: those first that never served there.
        """
        culprit = error.digest if isinstance(error, DisagreementError) else None
        self.was_killed = isinstance(error, WorkerDiedError) and error.was_killed
        for digest in networks if culprit is None else [culprit]:
            if self._is_sound or self.failed_with[digest]:
                self.failed_with[digest] += 1
        self._starts += 1
        if self._starts < MAX_STICK_FAILURES:
            return
        together = sorted(networks, key=lambda digest: digest in self._proven)
        if self._suspect is None and len(together) > 1:
            self._suspects = together
        self._suspect = self._suspects.pop(0) if self._suspects else None

    def forgive(self, digest: str) -> None:
        """The model is wanted anew: what its workers did before says nothing of the next ones."""
        del self.failed_with[digest]
        self._left_out.pop(digest, None)

    def settle(self) -> None:
        """It is known now whose fault it was: nobody else is suspected."""
        self._suspects, self._suspect, self._starts = [], None, 0

    def forget_suspects(self) -> None:
        """It was plugged in again, or given back: every model is tried anew."""
        self._left_out.clear()
        self.settle()

    # Which runtime it was

    @property
    def runtime(self) -> str:
        """The one whose turn it is."""
        return self._runtimes[self._turn_of]

    def misfit(self, error: WorkerError) -> Mapping[str, WorkerError] | None:
        """The runtime does not go with this libedgetpu: it is the next one's turn; once each had its turn,
        what became of them.
        """
        self._misfits[self.runtime] = error
        self._turn_of = (self._turn_of + 1) % len(self._runtimes)
        if self._turn_of:
            return None
        misfits, self._misfits = self._misfits, {}
        return misfits

    def pause(self, now_s: float) -> None:
        """Nothing will change soon: the longest pause."""
        self.retry_at = now_s + self._ladder.backoff_max_s
