"""cross_check.py: frames that the CPU is asked about too, with real workers; one on the CPU is the stick's.

The whole of it, with a stick that begins to answer wrongly, is in test_stick.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edge_agent.cameras import Bell
from edge_agent.classifier import IN_FLIGHT, Classifier, RankingRule
from edge_agent.cross_check import CrossCheck
from edge_agent.errors import DisagreementError, WorkerError
from edge_agent.frames import Frame
from edge_agent.lane import Lane
from edge_agent.runner import Runner
from edge_agent.vetting import vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests.desks import CLOCK
from tests.fakes.clock import FakeClock
from tests.places import CORAL, FINISHES, need_data

SETTINGS = WorkerSettings(threads=1)

Build = Callable[[Path], Classifier]


@pytest.fixture
def build() -> Iterator[Build]:
    """Classifiers, each on a worker of its own."""
    with ExitStack() as stack:

        def start(path: Path) -> Classifier:
            vetted = vet_bundle(path, SETTINGS, CLOCK)
            runner = Runner({vetted.bundle.digest: vetted.for_cpu()}, SETTINGS, CLOCK)
            stack.callback(runner.retire)
            runner.wait_ready()
            return Classifier.build("default", vetted, runner, RankingRule(), 20.0, CLOCK)

        yield start


def frame() -> Frame:
    """A grey picture."""
    return Frame(np.full((48, 64, 3), 99, np.uint8), 1, CLOCK.monotonic_ns(), CLOCK.wall_ns())


def check(twin: Classifier, every: int = 1) -> CrossCheck:
    """One that fails the test where the CPU is told to be lost."""
    return CrossCheck(every, 0.875, lambda: twin, lambda _classifier, error: pytest.fail(str(error)))


def show(classifier: Classifier, checked: CrossCheck) -> tuple[Classifier, DisagreementError] | None:
    """One frame, as a lane has it answered and checked."""
    ticket = classifier.begin(frame())
    checked.ask(ticket)
    checked.hear(ticket, classifier.answer(ticket))
    return checked.settle()


def test_every_so_many_frames_are_compared(build: Build) -> None:
    """The rest cost nothing; two workers of one model agree to the last code."""
    classifier, twin = build(FINISHES), build(FINISHES)
    checked = check(twin, every=3)
    assert [None] * 7 == [show(classifier, checked) for _ in range(7)]
    assert (2, 0, 1.0) == (checked.status.checks, checked.status.disagreements, checked.status.least)


@need_data
def test_the_next_model_is_not_held_against_this_one(build: Build) -> None:
    """While a slot changes its model the CPU has the new one first: its answers are to another question."""
    checked = check(build(FINISHES))
    assert show(build(CORAL / "vww_96_int8.tflite"), checked) is None
    assert 0 == checked.status.checks


def test_a_check_that_is_dropped_gives_its_place_back(build: Build) -> None:
    """The frames of a lost Edge TPU need the places of the CPU."""
    classifier, twin = build(FINISHES), build(FINISHES)
    checked = check(twin)
    for ticket in [classifier.begin(frame()) for _ in range(IN_FLIGHT)]:
        checked.ask(ticket)
    assert 0 == len(twin.places)
    checked.drop()
    assert IN_FLIGHT == len(twin.places)


class One:
    """Shaped like a lane's supervisor, with one classifier that always serves."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def serving(self, slot: str, timeout_s: float) -> Classifier:  # noqa: ARG002  as the protocol has it
        """That one."""
        return self.classifier

    def lost(self, classifier: Classifier, error: WorkerError) -> None:
        """Never."""
        pytest.fail(f"{classifier}: {error}")


class SlowTwin(CrossCheck):
    """A check that waits for the CPU: ``waits()`` is called meanwhile."""

    waits: Callable[[], None]

    def settle(self) -> None:
        """Nothing is amiss."""
        self.waits()


def _nothing(*_: object) -> None:
    """No frame is shown."""


def test_a_lane_that_waits_for_the_cpu_is_not_overdue(build: Build) -> None:
    """A slow board takes a second for what the Edge TPU did at once: that is no fault of the lane's."""
    classifier = build(FINISHES)
    clock = FakeClock()
    slow = SlowTwin(1, 0.875, lambda: classifier, lambda *_: None)
    lane = Lane("default", Bell(), One(classifier), clock, _nothing, _nothing, cross_check=slow)
    overdue_s = []

    def waits() -> None:
        clock.advance(classifier.timeout_s)
        overdue_s.append(lane.overdue_s())
        lane.stop()

    slow.waits = waits
    lane.start()
    lane.join(30)
    assert [0.0] == overdue_s
    assert lane.crash is None
