"""How the agent is, for the service manager: what it is told, and when that is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from edge_agent.reports import Report, SlotReport
from edge_agent.systemd import ServiceManager

START_S = 60.0
"""While the first models are proven, each turn asks for so much more time to start in: nothing in a turn of
the main loop takes that long.
"""


class Liveness:
    """Tells it in turns. Nothing of it waits for cameras or the broker: their faults are ``health``'s."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._is_ready = False
        self._status = ""

    def turn(self, report: Report, down: Collection[str], *, hangs: bool) -> None:
        """At the end of each turn of the main loop. ``down``: slots that serve nothing, and that nothing is
        done about; ``hangs``: a lane is past its deadline, or has died.
        """
        line = status_line(report)
        if line != self._status and self._manager.status(line):
            self._status = line
        if not self._is_ready:
            if all(_is_decided(slot, down) for slot in report.slots):
                self._is_ready = self._manager.ready()
            else:
                self._manager.extend_start(START_S)
        if not hangs:
            self._manager.alive()

    def wait(self) -> None:
        """The main loop waits for the broker, and for nothing else."""
        self._manager.alive()

    def reloading(self) -> None:
        """What was true before READY is looked at again; ``reloaded`` ends it."""
        if self._is_ready:
            self._manager.reloading()

    def reloaded(self) -> None:
        """Readiness is told again."""
        if self._is_ready:
            self._is_ready = self._manager.ready()

    def stop(self, *, restarting: bool) -> None:
        """The end; a program that replaces itself in its process is to the service manager only busy."""
        if restarting:
            self.reloading()
        else:
            self._manager.stopping()


def status_line(report: Report) -> str:
    """One line for `systemctl status`: device, models, cameras, the first fault."""
    device: str = report.device.device or "nothing serves"
    if report.device.degraded:
        device += f", not {report.device.aspired}"
    parts = [device, *(_model(slot) for slot in report.slots), _cameras(report)]
    if report.faults:
        count = f"{len(report.faults)} faults, the first" if len(report.faults) > 1 else "fault"
        parts.append(f"{count}: {report.faults[0]}")
    return "; ".join(parts)


def _model(report: SlotReport) -> str:
    serving = report.status.classifier if report.status is not None else None
    if serving is None:
        return f"{report.slot}: no model"
    return f"{report.slot}: {serving.identity.name} {serving.identity.digest}"


def _cameras(report: Report) -> str:
    states = Counter("paused" if camera.paused else camera.status.state for camera in report.cameras)
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"cameras: {told or 'none'}"


def _is_decided(report: SlotReport, down: Collection[str]) -> bool:
    """A model serves the slot, or it is told why none does."""
    if report.status is None:
        return report.slot in down
    return report.status.classifier is not None or report.status.is_down or report.status.reason is not None
