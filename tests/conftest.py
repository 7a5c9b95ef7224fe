"""Fixtures that several rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.edgetpu import Bus, Stick
from tests.sticks import own_stick

# No example is wrong because the machine was busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def sticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bus, Stick]]:
    """The bus, and its one stick."""
    with own_stick(tmp_path, monkeypatch) as bus_and_stick:
        yield bus_and_stick


@pytest.fixture
def bus(sticks: tuple[Bus, Stick]) -> Bus:
    """What the stick is on."""
    return sticks[0]


@pytest.fixture
def stick(sticks: tuple[Bus, Stick]) -> Stick:
    """Gives the CPU twin's own answers."""
    return sticks[1]
