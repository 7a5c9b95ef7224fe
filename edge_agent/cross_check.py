"""Every Nth frame that the Edge TPU answers, asked of the CPU twin too: a wrong one looks like any other."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_agent.classifier import Classifier, Ticket
from edge_agent.errors import DisagreementError, InferenceError, WorkerError
from edge_agent.proof import agreement
from edge_agent.runner import Answer
from edge_agent.tensors import Array


@dataclass(frozen=True)
class CrossCheckStatus:
    """How often frames were checked, and how often the two were further apart than allowed; ``agreement`` is
    the last check's, ``least`` the lowest since the start: 1 is the same to the last code, 0 the opposite.
    """

    checks: int = 0
    disagreements: int = 0
    agreement: float | None = None
    least: float | None = None


@dataclass
class _Check:
    """One frame that both are asked about; ``output`` is the Edge TPU's, once it is there."""

    ticket: Ticket
    twin: Ticket
    output: Array | None = None


class CrossCheck:
    """The checks of one slot. One thread, its lane's, uses it; ``status`` may be read by any.

    ``standby`` gives the slot's classifier on the CPU, if there is one; ``lost`` is told when that one fails.
    A check is asked for with its frame and settled before the next one is taken: that one waits for the CPU,
    the frame itself does not, and a wrong answer is found within ``every`` frames and one more.
    """

    def __init__(
        self,
        every: int,
        threshold: float,
        standby: Callable[[], Classifier | None],
        lost: Callable[[Classifier, WorkerError], None],
    ) -> None:
        self.status = CrossCheckStatus()
        self._every = every
        self._threshold = threshold
        self._standby = standby
        self._lost = lost
        self._frames = 0
        self._open: collections.deque[_Check] = collections.deque()

    def ask(self, ticket: Ticket) -> None:
        """The Edge TPU was given a frame: give it to the CPU too, if its turn has come."""
        self._frames += 1
        twin = self._standby() if self._frames % self._every == 0 else None
        if twin is None or twin.network != ticket.classifier.network or not twin.places:
            return  # no CPU, the next model's already, or it is still busy with frames of before the flip
        try:
            self._open.append(_Check(ticket, twin.begin_again(ticket)))
        except WorkerError as error:
            self._lost(twin, error)

    def hear(self, ticket: Ticket, answer: Answer) -> None:
        """The Edge TPU has answered."""
        for check in self._open:
            if check.ticket is ticket:
                check.output = answer.output

    def settle(self) -> tuple[Classifier, DisagreementError] | None:
        """Compare the Edge TPU's answers with the CPU's: the classifier that was wrong, and by how much."""
        while self._open and self._open[0].output is not None:
            check = self._open.popleft()
            try:
                answer = check.twin.classifier.answer(check.twin)
            except InferenceError:
                continue
            except WorkerError as error:
                self._lost(check.twin.classifier, error)
                continue
            disagreement = self._judge(check, answer)
            if disagreement is not None:
                return check.ticket.classifier, disagreement
        return None

    def drop(self) -> None:
        """The Edge TPU is lost: nothing is compared any more."""
        while self._open:
            check = self._open.popleft()
            check.twin.classifier.abandon(check.twin)

    def _judge(self, check: _Check, answer: Answer) -> DisagreementError | None:
        assert check.output is not None
        bundle = check.ticket.classifier.vetted.bundle
        found = agreement(check.output, answer.output, bundle.output)
        agrees = found >= self._threshold
        before = self.status
        self.status = replace(
            before,
            checks=before.checks + 1,
            disagreements=before.disagreements + (not agrees),
            agreement=found,
            least=found if before.least is None else min(found, before.least),
        )
        if agrees:
            return None
        what = f"frame {check.ticket.frame.number}: its answer agrees with the CPU's by {found:.3f}"
        return DisagreementError(f"{what}, not by {self._threshold:g}")
