"""succession.py where there is an Edge TPU: a new model must show on both devices that it can.

Stood in for: libedgetpu with its stick (`tests.edgetpu`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.recovery import Ladder
from tests.edgetpu import Stick, libedgetpu
from tests.places import need_data
from tests.stages import Stage, bundle
from tests.sticks import CPU_SMALL, LARGE, SMALL, own_stick

pytestmark = need_data

QUICK = Ladder(
    respawns=1, usb_resets=0, power_cycles=0, backoff_s=0.001, backoff_max_s=0.002, stable_s=3600.0
)
"""No pauses worth the name, and nothing that needs hardware."""


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stick]:
    """The one on the bus."""
    with own_stick(tmp_path, monkeypatch) as (_, stick):
        yield stick


@pytest.fixture
def stage(tmp_path: Path, stick: Stick) -> Iterator[Stage]:  # noqa: ARG001  it must be there
    """With ash on the Edge TPU."""
    first = bundle(tmp_path / "bundles", "ash", CPU_SMALL, SMALL)
    settings = EdgeTpuSettings(library=str(libedgetpu()), recovery=QUICK, look_every_s=0.05, threads=1)
    with Stage(tmp_path / "state", first, edgetpu=settings) as stage:
        until_on(stage, "edgetpu", "ash")
        yield stage


@pytest.fixture
def birch(tmp_path: Path) -> Path:
    """A bundle for both devices."""
    return bundle(tmp_path / "bundles", "birch", CPU_SMALL, SMALL)


def until_on(stage: Stage, device: str, name: str) -> None:
    """Turn the loop until this bundle serves there."""

    def serves() -> bool:
        classifier = stage.classifier()
        return classifier is not None and (device, name) == (classifier.device, classifier.identity.name)

    stage.until(serves)
    assert device == stage.look().device


def test_a_new_one_takes_over_on_the_edge_tpu(stage: Stage, birch: Path) -> None:
    """It is proven there before it serves, and its own worker on the CPU stands by."""
    assert "serves" == stage.offers(birch)
    until_on(stage, "edgetpu", "birch")
    standby = stage.supervisor.standby("default")
    assert standby is not None
    assert "birch" == standby.identity.name


def test_one_that_the_edge_tpu_refuses(stage: Stage, tmp_path: Path) -> None:
    """Its twins are not of the same network: the old one serves on, and goes back to the Edge TPU."""
    wrong = bundle(tmp_path / "bundles", "wrong", CPU_SMALL, LARGE)
    assert stage.offers(wrong).startswith("BundleError: ")
    until_on(stage, "edgetpu", "ash")
    assert "previous" not in {version.state for version in stage.repository.versions()}
    assert "was refused before" in stage.offers(wrong)


def test_one_that_kills_its_workers_there(stage: Stage, stick: Stick, birch: Path) -> None:
    """Twice, for once may have been the stick's fault."""
    stick.always("abort")
    assert "on the Edge TPU: " in stage.offers(birch)
    assert "ash" == stage.serving
    stick.heal()
    until_on(stage, "edgetpu", "ash")


def test_a_stick_that_is_pulled_on_trial(stage: Stage, stick: Stick, birch: Path) -> None:
    """Is not the model's fault: the CPU serves it."""
    stage.offers(birch)
    until_on(stage, "edgetpu", "birch")
    stick.pull()
    stage.look()
    until_on(stage, "cpu", "birch")
    stick.plug()
    until_on(stage, "edgetpu", "birch")
    assert "probation" == stage.state


def test_one_that_is_lost_twice_on_trial(stage: Stage, birch: Path) -> None:
    """The one before comes back to the Edge TPU by itself."""
    stage.offers(birch)
    for lost in range(2):
        until_on(stage, "edgetpu", "birch")
        stage.crash()
        until_on(stage, "cpu", "birch" if not lost else "ash")
    until_on(stage, "edgetpu", "ash")
    assert "lost on probation" in stage.succession.report().refusals[0].reason


def test_without_a_stick_the_cpu_says_enough(stage: Stage, stick: Stick, birch: Path) -> None:
    """A new one need not wait for an Edge TPU that nobody plugs in again."""
    stick.pull()
    stage.look()
    until_on(stage, "cpu", "ash")
    assert "serves" == stage.offers(birch)
    until_on(stage, "cpu", "birch")
    stick.plug()
    until_on(stage, "edgetpu", "birch")
