"""canary.py: what is shown to the model, when, and what is said of its answer; with a real worker.

A stick that begins to lie is in test_stick.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.canary import Canary, CanaryRule, judge
from edge_agent.classifier import Classifier, RankingRule
from edge_agent.errors import SlotDownError, WorkerStuckError
from edge_agent.frames import Frame
from edge_agent.predictions import Prediction
from edge_agent.runner import Runner
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests.desks import CLOCK, Desk
from tests.fakes.clock import FakeClock
from tests.places import FINISHES

SETTINGS = WorkerSettings(threads=1)
RED = FINISHES / "golden" / "fiesta-red.jpg"


@pytest.fixture(scope="module")
def vetted() -> VettedBundle:
    """The bundled model, which has three golden images."""
    return vet_bundle(FINISHES, SETTINGS, CLOCK)


@pytest.fixture
def classifier(vetted: VettedBundle) -> Iterator[Classifier]:
    """It, on a worker of its own."""
    runner = Runner({vetted.bundle.digest: vetted.for_cpu()}, SETTINGS, CLOCK)
    try:
        runner.wait_ready()
        yield Classifier.build("default", vetted, runner, RankingRule(threshold=0.99), 20.0, CLOCK)
    finally:
        runner.retire()


class Shown:
    """A canary and its time."""

    def __init__(self, classifier: Classifier, image: Path | None = None, label: str = "") -> None:
        self.clock = FakeClock()
        self.canary = Canary("default", CanaryRule(60.0, image, label), self.clock)
        self.classifier = classifier

    def take(self) -> Frame | None:
        """What is shown next, once it is decoded."""
        taken = self.canary.take(self.classifier)
        decoding = self.canary._decoding
        if taken is None and decoding is not None:
            decoding.join(30)
            taken = self.canary.take(self.classifier)
        return taken

    def answer(self) -> Prediction:
        """What the model says of the next one."""
        self.clock.advance(60.0)
        frame = self.take()
        assert frame is not None
        return self.classifier.classify(frame)

    def turn(self) -> str | None:
        """The fault after the next one."""
        self.canary.hear(self.answer())
        return self.canary.status.fault


def test_golden_images_are_shown_in_turn(classifier: Classifier) -> None:
    """Without any configuration: each in its time, none before; whatever the threshold of the ranking."""
    shown = Shown(classifier)
    assert shown.take() is None
    names = []
    for _ in range(4):
        prediction = shown.answer()
        shown.canary.hear(prediction)
        names.append(Path(str(prediction.frame.source)).stem)
        assert shown.take() is None
    assert ["dakota-red", "fiesta-red", "tobacco-sunburst", "dakota-red"] == names
    assert (4, 0, None) == dataclasses.astuple(shown.canary.status)


def test_a_wrong_label_is_a_fault_until_it_is_right_again(classifier: Classifier) -> None:
    """It names the picture, both labels, the model and where it runs."""
    shown = Shown(classifier, RED, "fiesta red")
    prediction = shown.answer()
    lie = dataclasses.replace(prediction, scores=np.roll(prediction.scores, 1), device="edgetpu")
    shown.canary.hear(lie)
    fault = str(shown.canary.status.fault)
    assert fault.startswith("canary fiesta-red.jpg should be fiesta red, is ")
    assert f"(finishes {prediction.model.digest} on edgetpu); plug the stick in again" in fault
    assert shown.turn() is None
    assert (2, 1) == (shown.canary.status.checks, shown.canary.status.wrong)


def test_a_label_that_the_model_lacks_is_told(classifier: Classifier) -> None:
    """The remedy names some that it has."""
    fault = str(Shown(classifier, RED, "a unicorn").turn())
    assert "set canary_label to one of the model's: black, " in fault


def test_a_picture_that_cannot_be_read_is_told(classifier: Classifier, tmp_path: Path) -> None:
    """Once per turn, and the model is shown nothing."""
    shown = Shown(classifier, tmp_path / "none.jpg", "fiesta red")
    shown.clock.advance(60.0)
    assert shown.take() is None
    fault = str(shown.canary.status.fault)
    assert fault.startswith(f"canary: cannot read the picture {tmp_path}/none.jpg: No such file")
    assert (1, 1) == (shown.canary.status.checks, shown.canary.status.wrong)


def test_the_next_model_is_not_held_against_the_picture_of_this_one(classifier: Classifier) -> None:
    """Where it changes while the picture is on its way, the answer says nothing; faults go with theirs."""
    shown = Shown(classifier, RED, "burgundy mist")
    shown.turn()
    prediction = shown.answer()
    other = dataclasses.replace(prediction.model, digest="0" * 12)
    shown.canary.hear(dataclasses.replace(prediction, model=other))
    assert 1 == shown.canary.status.checks
    bundle = classifier.vetted.bundle
    renamed = dataclasses.replace(bundle, files=dataclasses.replace(bundle.files, digest="f" * 64))
    shown.classifier = dataclasses.replace(
        classifier, vetted=dataclasses.replace(classifier.vetted, bundle=renamed)
    )
    shown.take()
    assert shown.canary.status.fault is None


def test_no_answer_is_a_fault_but_not_of_a_slot_that_is_down(classifier: Classifier) -> None:
    """That one is told already, with its reason; nobody has seen that the canary is well again."""
    shown = Shown(classifier, RED, "fiesta red")
    shown.answer()
    shown.canary.failed(SlotDownError("slot default is down"))
    assert (0, 0, None) == dataclasses.astuple(shown.canary.status)
    shown.answer()
    shown.canary.failed(WorkerStuckError(4711, 2.0))
    assert str(shown.canary.status.fault).startswith("canary fiesta-red.jpg got no answer: ")
    before = shown.canary.status
    shown.answer()
    shown.canary.failed(SlotDownError("slot default is down"))
    assert before == shown.canary.status


def test_a_model_without_golden_images_is_left_alone(classifier: Classifier) -> None:
    """Nothing is known of it."""
    bundle = classifier.vetted.bundle
    bare = dataclasses.replace(bundle, files=dataclasses.replace(bundle.files, golden=()))
    vetted = dataclasses.replace(classifier.vetted, bundle=bare)
    shown = Shown(dataclasses.replace(classifier, vetted=vetted))
    shown.clock.advance(60.0)
    assert shown.take() is None
    assert 0 == shown.canary.status.checks


def test_a_score_below_the_golden_one_is_wrong(classifier: Classifier) -> None:
    """The right label is not enough."""
    prediction = Shown(classifier, RED, "fiesta red").answer()
    assert judge(prediction, "fiesta red", 0.5) is None
    said = str(judge(prediction, "fiesta red", 1.1))
    assert said.startswith("should be fiesta red >= 1.1, is fiesta red 0.")


def test_frames_do_not_notice_it(vetted: VettedBundle) -> None:
    """Through a real lane: each frame is predicted once and in order, the canary's appear nowhere."""
    desk = Desk(vetted, SETTINGS)
    try:
        canary = desk.lane.canary = Canary("default", CanaryRule(0.001), CLOCK)
        desk.start()
        shown = 0
        while not shown or canary.status.checks < 5:
            shown += len(desk.show(20))
        assert list(range(1, shown + 1)) == desk.done
        assert [] == desk.failed
        assert (0, None) == (canary.status.wrong, canary.status.fault)
    finally:
        desk.close()
