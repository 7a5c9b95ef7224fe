"""Models that are to take a slot over: how the plan sees them, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from edge_agent.errors import WorkerDiedError, WorkerError, WorkerStartError, WorkerStuckError
from edge_agent.planning import Candidate
from edge_agent.slot import Slot
from edge_agent.stick import Stick
from edge_agent.stick_faults import MAX_STICK_FAILURES
from edge_agent.vetting import VettedBundle


class Blame(Enum):
    """Whose fault it is that a candidate does not take over."""

    MODEL = "the same bytes would be refused again"
    OUTSIDE = "its worker was killed by somebody else, or for want of memory"
    MACHINE = "this machine lacks something for now, or is held up"


@dataclass(frozen=True)
class Refused:
    """Why a candidate does not take over."""

    reason: str
    blame: Blame = Blame.MODEL


@dataclass(frozen=True)
class News:
    """What became of a slot's candidate: it serves from now on, or there is a ``refusal``."""

    slot: str
    digest: str
    refusal: Refused | None = None


def refused(error: WorkerError) -> Refused:
    """For what befell its worker on the CPU, which a throw-away one has shown to be able to run it."""
    match error:
        case WorkerDiedError(was_killed=True):
            return Refused(error.what, Blame.OUTSIDE)
        case WorkerStartError() | WorkerStuckError():
            return Refused(error.what, Blame.MACHINE)
    return Refused(error.what)


class Candidates:
    """Of all slots; ``stick`` is None where everything runs on the CPU."""

    def __init__(self, stick: Stick | None) -> None:
        self._stick = stick
        self._news: list[News] = []

    def news(self) -> list[News]:
        """What became of candidates since the last call."""
        news, self._news = self._news, []
        return news

    def seen(self, slot: Slot, *, on_edgetpu: bool) -> Candidate | None:
        """The slot's, as the plan sees it; ``on_edgetpu``: nothing speaks against its compiled model."""
        if slot.candidate is None:
            return None
        digest = slot.candidate.bundle.digest
        return Candidate(
            digest,
            on_cpu=slot.candidate.model is not None,
            on_edgetpu=on_edgetpu,
            tried=self._stick is not None and self._stick.faults.failed_with[digest] > 0,
        )

    def forgive(self, vetted: VettedBundle) -> None:
        """What the model's workers on the Edge TPU cost before says nothing of the next ones."""
        if self._stick is not None:
            self._stick.faults.forgive(vetted.bundle.digest)

    def judge(self, slots: Iterable[Slot]) -> None:
        """Refuse those that the Edge TPU refused, or that its worker did not survive twice: the first time
        may have been the stick's fault.
        """
        stick = self._stick
        if stick is None:
            return
        for slot in slots:
            digest = slot.candidate.bundle.digest if slot.candidate else ""
            if digest in stick.faults.refused:
                self.refuse(slot, Refused(stick.faults.refused[digest]))
            elif stick.faults.failed_with[digest] >= MAX_STICK_FAILURES:
                stick.faults.settle()
                blame = Blame.OUTSIDE if stick.faults.was_killed else Blame.MODEL
                self.refuse(slot, Refused(f"on the Edge TPU: {stick.status().trouble}", blame))

    def refuse(self, slot: Slot, refusal: Refused) -> None:
        """It does not take over; what serves goes on."""
        assert slot.candidate is not None
        self._news.append(News(slot.name, slot.candidate.bundle.digest, refusal))
        slot.candidate = None

    def refuse_out_of_reach(self, slot: Slot) -> None:
        """Only an Edge TPU could run it, and none is there, or to be used."""
        trouble = self._stick.status().trouble if self._stick else None
        why = f"it has no model for the CPU, and needs an Edge TPU: {trouble or 'none is to be used'}"
        self.refuse(slot, Refused(why, Blame.MACHINE))

    def promote(self, slot: Slot) -> None:
        """It serves."""
        slot.promote()
        self._news.append(News(slot.name, slot.digest))
