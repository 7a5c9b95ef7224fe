"""succession.py where there is an Edge TPU: a new model must show on both devices that it can.

Stood in for: libedgetpu with its stick (`tests.edgetpu`).
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

import edge_agent.stick
import edge_agent.turns
from edge_agent.admission import Passed
from edge_agent.bundle import read_bundle
from edge_agent.clock import Clock
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import EdgeAgentError
from edge_agent.probation import ProbationRules
from edge_agent.recovery import Ladder
from edge_agent.runner import Runner
from edge_agent.sealed import SealedFile
from edge_agent.states import EdgeTpuState
from edge_agent.turns import Serves
from edge_agent.worker_process import WorkerSettings
from tests.edgetpu import Stick, libedgetpu
from tests.places import need_data
from tests.stages import LONG, Stage, bundle, offer, outcome
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
def ash(tmp_path: Path) -> Path:
    """A bundle for both devices."""
    return bundle(tmp_path / "bundles", "ash", CPU_SMALL, SMALL)


def begin(folder: Path, first: Path, *slots: str, rules: ProbationRules = LONG) -> Stage:
    """A stage with an Edge TPU, if there is one."""
    settings = EdgeTpuSettings(library=str(libedgetpu()), recovery=QUICK, look_every_s=0.05, threads=1)
    return Stage(folder / "state", first, slots=slots or ("default",), edgetpu=settings, rules=rules)


@pytest.fixture
def stage(tmp_path: Path, stick: Stick, ash: Path) -> Iterator[Stage]:  # noqa: ARG001  it must be there
    """With ash on the Edge TPU."""
    with begin(tmp_path, ash) as stage:
        until_on(stage, "edgetpu", "ash")
        yield stage


@pytest.fixture
def birch(tmp_path: Path) -> Path:
    """A bundle for both devices."""
    return bundle(tmp_path / "bundles", "birch", CPU_SMALL, SMALL)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A bundle for the CPU."""
    return bundle(tmp_path / "bundles", "plain")


@pytest.fixture
def only(tmp_path: Path) -> Path:
    """A bundle for the Edge TPU alone."""
    return bundle(tmp_path / "bundles", "only", SMALL)


def until_on(stage: Stage, device: str, name: str, slot: str | None = None) -> None:
    """Turn the loop until this bundle serves there."""

    def serves() -> bool:
        classifier = stage.classifier(slot)
        return classifier is not None and (device, name) == (classifier.device, classifier.identity.name)

    stage.until(serves)
    if slot is None:
        assert device == stage.look().device


def until_absent(stage: Stage) -> None:
    """Turn the loop until the stick was seen to be gone."""

    def absent() -> bool:
        stick = stage.supervisor.device().stick
        return stick is not None and stick.state is EdgeTpuState.ABSENT

    stage.until(absent)


def note(told: dict[str, str], slot: str, what: Serves | Passed | EdgeAgentError) -> None:
    """Keep what became of an offer."""
    told[slot] = outcome(what)


def kills_its_workers(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    by: signal.Signals = signal.SIGABRT,
    most: int = 1000,
) -> list[int]:
    """No worker of the Edge TPU survives this bundle's network, of so many at ``most``: the list in which
    their numbers are.
    """
    digest, born = read_bundle(path).digest, list[int]()

    class Fragile(Runner):
        def __init__(self, models: Mapping[str, SealedFile], settings: WorkerSettings, clock: Clock) -> None:
            super().__init__(models, settings, clock)
            if digest in models:
                born.append(self.pid)
                if len(born) <= most:
                    os.kill(self.pid, by)

    monkeypatch.setattr(edge_agent.stick, "Runner", Fragile)
    return born


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
        # Named, so that no frame is looked at: the stick may be back by then.
        until_on(stage, "cpu", "birch" if not lost else "ash", stage.succession.slot)
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


def test_only_for_an_edge_tpu_that_is_not_there(stage: Stage, stick: Stick, only: Path, plain: Path) -> None:
    """It is refused for now, and what comes after it is not held up; once there is one it may serve."""
    stick.pull()
    stage.look()
    until_absent(stage)
    told = stage.offers(only, "inbox:only")
    assert "it has no model for the CPU, and needs an Edge TPU: " in told
    assert "no Edge TPU is there" in stage.succession.report().refusals[0].reason
    assert "serves" == stage.offers(plain)
    stick.plug()
    assert "serves" == stage.offers(only, "inbox:only")
    until_on(stage, "edgetpu", "only")


def test_what_goes_on_missing_is_told_once(
    stage: Stage,
    stick: Stick,
    only: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A model for a stick that nobody plugs in is tried again and again, and an error in the log once."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(edge_agent.turns, "AGAIN_S", 0.0)
    stick.pull()
    stage.look()
    until_absent(stage)
    stage.succession.offer(offer(only, "inbox:only"))

    def levels() -> list[int]:
        told = [each for each in caplog.records if each.name == "edge_agent.succession"]
        return [each.levelno for each in told if "needs an Edge TPU" in each.getMessage()]

    stage.until(lambda: len(levels()) == 3)
    assert [logging.ERROR, logging.DEBUG, logging.DEBUG] == levels()


def test_one_whose_workers_there_are_killed_from_outside(
    stage: Stage, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried once more, as on the CPU; two workers, for the first one may be the stick's fault."""
    born = kills_its_workers(monkeypatch, birch, signal.SIGKILL, 2)
    assert "serves" == stage.offers(birch)
    until_on(stage, "edgetpu", "birch")
    assert 3 == len(born)
    assert [] == stage.repository.rejections()


def test_a_rollback_does_not_wait_for_what_is_coming(stage: Stage, birch: Path, only: Path) -> None:
    """What was to take over is withdrawn, and the model before what serves does."""
    assert "serves" == stage.offers(birch)
    until_on(stage, "edgetpu", "birch")
    told: list[str] = []
    stage.succession.offer(offer(only, "inbox:only"), lambda what: told.append(outcome(what)))
    stage.until(lambda: stage.state == "swapping")
    assert "serves" == stage.hears(stage.succession.roll_back)
    assert "ash" == stage.serving
    assert ["a newer one took its place"] == told


@pytest.mark.usefixtures("stick")
def test_two_that_come_at_once(
    tmp_path: Path,
    ash: Path,
    birch: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of them kills its workers: the other is not blamed for that."""
    killer = bundle(tmp_path / "bundles", "killer", CPU_SMALL, SMALL)
    with begin(tmp_path, ash, "left", "right") as stage:
        until_on(stage, "edgetpu", "ash", "left")
        until_on(stage, "edgetpu", "ash", "right")
        kills_its_workers(monkeypatch, killer)
        told: dict[str, str] = {}
        for slot, path in (("left", killer), ("right", birch)):
            stage.successions[slot].offer(offer(path), partial(note, told, slot))
        stage.until(lambda: len(told) == 2)
        assert "on the Edge TPU: " in told["left"]
        assert "serves" == told["right"]
        until_on(stage, "edgetpu", "ash", "left")
        until_on(stage, "edgetpu", "birch", "right")


def test_a_stick_that_failed_before_condemns_nothing(stage: Stage, stick: Stick, birch: Path) -> None:
    """The new one serves on the CPU, as the old one did, and goes to the Edge TPU once that is well."""
    stick.always("abort")
    stage.crash()
    until_on(stage, "cpu", "ash")
    assert "serves" == stage.offers(birch)
    assert "birch" == stage.serving
    stick.heal()
    until_on(stage, "edgetpu", "birch")


def test_asked_again_it_is_tried_again(stage: Stage, stick: Stick, birch: Path) -> None:
    """What it once did to its workers is not held against it; without a stick the CPU's word is enough."""
    stick.always("abort")
    assert "on the Edge TPU: " in stage.offers(birch)
    stick.pull()
    stick.heal()
    until_absent(stage)
    assert "serves" == stage.offers(birch, asked=True)


def test_one_that_keeps_the_stick_from_the_others(
    tmp_path: Path, stick: Stick, ash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took over while the stick was away, and no worker there survives it: the others go back alone."""
    killer = bundle(tmp_path / "bundles", "killer", CPU_SMALL, SMALL)
    with begin(tmp_path, ash, "left", "right") as stage:
        until_on(stage, "edgetpu", "ash", "left")
        until_on(stage, "edgetpu", "ash", "right")
        stick.pull()
        stage.look()
        until_absent(stage)
        kills_its_workers(monkeypatch, killer)
        assert "serves" == stage.offers(killer)
        stick.plug()
        until_on(stage, "edgetpu", "ash", "right")
        until_on(stage, "cpu", "killer", "left")
        assert "failed with this model" in str(stage.supervisor.device().reason)


@pytest.mark.usefixtures("stick")
def test_the_losses_of_another_slot(tmp_path: Path, ash: Path, plain: Path) -> None:
    """A model on trial on the CPU is not taken back for what befell the stick."""
    with begin(tmp_path, ash, "left", "right") as stage:
        until_on(stage, "edgetpu", "ash", "right")
        assert "serves" == stage.offers(plain)
        assert "probation" == stage.state
        for _ in range(2):
            until_on(stage, "edgetpu", "ash", "right")
            classifier = stage.classifier("right")
            assert classifier is not None
            os.kill(classifier.runner.pid, signal.SIGSEGV)
            until_on(stage, "cpu", "ash", "right")
        until_on(stage, "edgetpu", "ash", "right")
        assert ("plain", "probation") == (stage.serving, stage.state)


@pytest.mark.usefixtures("stick")
def test_one_of_two_slots_leaves_a_shared_network(tmp_path: Path, ash: Path, plain: Path) -> None:
    """It is told to serve once it does, though the worker with the old network goes on."""
    with begin(tmp_path, ash, "left", "right") as stage:
        until_on(stage, "edgetpu", "ash", "left")
        until_on(stage, "edgetpu", "ash", "right")
        assert "serves" == stage.offers(plain)
        assert "plain" == stage.look().model.name
        until_on(stage, "edgetpu", "ash", "right")


@pytest.mark.usefixtures("stick")
def test_one_for_the_edge_tpu_alone_follows_another(tmp_path: Path, only: Path) -> None:
    """What is told to serve does, without a frame in between."""
    other = bundle(tmp_path / "bundles", "other", SMALL)
    with begin(tmp_path, only) as stage:
        until_on(stage, "edgetpu", "only")
        assert "serves" == stage.offers(other)
        assert "other" == stage.serving
        until_on(stage, "edgetpu", "other")
