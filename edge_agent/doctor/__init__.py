"""What is wrong on this machine, and the exact fix.

Each module looks at one thing and gives findings; `examine` is their order. Nothing is changed, and nothing
that another process uses is opened.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.clock import Clock
from edge_agent.doctor import edgetpu, packages, power
from edge_agent.doctor.edgetpu import Setup
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine, User

__all__ = ["Finding", "Machine", "Setup", "User", "examine"]


def examine(machine: Machine, setup: Setup, clock: Clock) -> Iterator[Finding]:
    """Look at everything, what costs least first; a finding as soon as it is had."""
    yield from packages.look(setup.worker)
    yield power.look(machine)
    yield from edgetpu.look(machine, setup, clock)
