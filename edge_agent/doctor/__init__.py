"""What is wrong on this machine, and the exact fix.

Each module looks at one thing and gives findings; `examine` is their order. Nothing is changed, and nothing
that another process uses is opened.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.clock import Clock
from edge_agent.doctor import edgetpu, heat, packages, power, python, service, storage, times, wheels
from edge_agent.doctor.edgetpu import Setup
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.installation import Installation
from edge_agent.doctor.machine import Machine, User

__all__ = ["Finding", "Installation", "Machine", "Setup", "User", "examine"]


def examine(
    machine: Machine, setup: Setup, clock: Clock, installation: Installation | None = None
) -> Iterator[Finding]:
    """Look at everything, a finding as soon as it is had; without an ``installation`` neither at cameras nor
    at the broker.
    """
    yield python.look()
    yield from wheels.look()
    yield from packages.look(setup.worker)
    unit = service.ask(machine)
    user = service.user_of(machine, unit)
    yield service.look(unit)
    yield power.look(machine)
    yield heat.look(machine)
    yield times.look(machine, clock)
    yield from storage.look(machine, user, installation.state_dir if installation else None)
    if installation is not None:
        serviced, hides_home = unit is not None, service.hides_home(unit)
        yield from installation.look(machine, user, clock, serviced=serviced, hides_home=hides_home)
    yield from edgetpu.look(machine, setup, clock)
