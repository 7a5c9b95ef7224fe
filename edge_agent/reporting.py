"""The agent as it stands, from what its rooms say of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from edge_agent.intake import Intake
from edge_agent.mqtt import PublisherStatus
from edge_agent.outbox import OutboxStatus
from edge_agent.reports import Report, SlotReport
from edge_agent.rig import Rig
from edge_agent.supervisor import Supervisor
from edge_agent.supply import Supply


class Faulty(Protocol):
    """A room that says what is wrong with it."""

    @property
    def fault(self) -> str | None:
        """One line with its remedy; None where nothing is."""
        ...


def report(
    supervisor: Supervisor,
    intake: Intake,
    rig: Rig,
    publisher: PublisherStatus,
    outbox: OutboxStatus,
    supply: Supply,
    others: Iterable[Faulty | None],
) -> Report:
    """All of one moment; ``others`` are asked for their faults alone."""
    known = {status.slot: status for status in supervisor.status()}
    successions = intake.successions
    slots = [SlotReport(slot, known.get(slot), each.report()) for slot, each in successions.items()]
    stuck = rig.stuck()
    faults = [fault for slot in slots if (fault := slot.fault)] + rig.faults() + stuck
    faults += [fault for each in successions.values() if (fault := each.fault)]
    if publisher.fault:
        faults.append(f"broker: {publisher.fault}")
    if outbox.fault:
        faults.append(f"outbox: {outbox.fault}")
    faults += [fault for each in (intake, supply, *others) if each and (fault := each.fault)]
    device = supervisor.device()
    if device.degraded:
        faults.append(f"not on the Edge TPU: {device.trouble}")
    return Report(
        device=device,
        slots=slots,
        cameras=rig.reports(intake.down()),
        cross_checks=rig.cross_checks(),
        faults=faults,
        stuck=stuck,
        connected=publisher.connected,
        canaries=rig.canaries(),
        dropped=publisher.dropped,
        outbox=outbox,
        power=supply.power,
    )
