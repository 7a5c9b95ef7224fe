"""The agent, its slots and its cameras as they stand, for whoever tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.cameras import CameraStatus
from edge_agent.canary import CanaryStatus
from edge_agent.cross_check import CrossCheckStatus
from edge_agent.facts import EndReason
from edge_agent.outbox import OutboxStatus
from edge_agent.power import Power
from edge_agent.slot import SlotStatus
from edge_agent.standing import DeviceStatus
from edge_agent.states import State
from edge_agent.succession import SuccessionReport


@dataclass(frozen=True)
class SlotReport:
    """A slot as ``model/<slot>`` tells it; ``status`` is None before anything could serve."""

    slot: str
    status: SlotStatus | None
    succession: SuccessionReport

    @property
    def state(self) -> Literal["serving", "vetting", "swapping", "probation"]:
        """Of its model message: vetting also while what was vetted waits for a worker."""
        status = self.status
        waits = status is not None and status.classifier is None and not status.is_down
        return "vetting" if waits else self.succession.state

    @property
    def fault(self) -> str | None:
        """Why it does not serve, if it will not without help, or could not for long: nothing stands by."""
        status = self.status
        if status is not None and status.reason:
            if status.classifier is None:
                next_step = "" if status.state is State.FATAL else "; a new worker is on its way"
                return f"slot {self.slot}: {status.reason}{next_step}"
            if status.state is State.FATAL:
                return f"slot {self.slot}: the CPU does not stand by: {status.reason}"
        refusals = self.succession.refusals
        return f"slot {self.slot}: {refusals[0].reason}" if refusals and status is None else None


@dataclass(frozen=True)
class CameraReport:
    """A camera as its topics tell it; ``blind``: why nothing of it is looked at, if so."""

    name: str
    threshold: float
    status: CameraStatus
    blind: EndReason | None = None

    @property
    def paused(self) -> bool:
        """Nobody is to look."""
        return self.blind == "paused"


@dataclass(frozen=True)
class Report:
    """The agent as it stands; ``stuck`` are those of the ``faults`` that only a restart heals."""

    device: DeviceStatus
    slots: Sequence[SlotReport]
    cameras: Sequence[CameraReport]
    cross_checks: Mapping[str, CrossCheckStatus]
    faults: Sequence[str]
    dropped: int
    outbox: OutboxStatus = field(default_factory=OutboxStatus)
    power: Power | None = None
    stuck: Sequence[str] = ()
    connected: bool = False
    canaries: Mapping[str, CanaryStatus] = field(default_factory=dict)

    @property
    def losses(self) -> int:
        """Workers that were lost, on the CPU and on the Edge TPU."""
        stick = self.device.stick
        return sum(slot.status.losses for slot in self.slots if slot.status) + (stick.losses if stick else 0)

    @property
    def recoveries(self) -> int:
        """How often another one took over."""
        stick = self.device.stick
        of_slots = sum(slot.status.recoveries for slot in self.slots if slot.status)
        return of_slots + (stick.recoveries if stick else 0)
