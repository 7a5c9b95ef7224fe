"""classifier.py: a frame in, a prediction out, and the two places that frames are prepared in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge_agent.classifier import IN_FLIGHT, Classifier, RankingRule
from edge_agent.clock import SystemClock
from edge_agent.errors import ImageError
from edge_agent.frames import Frame
from edge_agent.runner import Runner
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests.places import FINISHES

CLOCK = SystemClock()
SETTINGS = WorkerSettings(threads=1)


@pytest.fixture(scope="module")
def vetted() -> VettedBundle:
    """The bundled model."""
    return vet_bundle(FINISHES, SETTINGS, CLOCK)


@pytest.fixture
def classifier(vetted: VettedBundle) -> Iterator[Classifier]:
    """On a worker of its own."""
    assert vetted.model is not None
    runner = Runner({vetted.bundle.digest: vetted.model}, SETTINGS, CLOCK)
    runner.wait_ready()
    yield Classifier.build("default", vetted, runner, RankingRule(top_k=1), 5.0, CLOCK)
    runner.retire()


def frame(value: int) -> Frame:
    """A picture of one grey."""
    return Frame(np.full((48, 64, 3), value, np.uint8), 1, CLOCK.monotonic_ns(), CLOCK.wall_ns())


def scores(classifier: Classifier, values: tuple[int, int]) -> list[float]:
    """Of two frames, both with the worker at a time."""
    tickets = [classifier.begin(frame(value)) for value in values]
    return [classifier.finish(ticket).ranking[0].score for ticket in tickets]


def test_two_frames_in_flight_do_not_meet(classifier: Classifier) -> None:
    """Each is prepared in a place of its own, whatever was in it before."""
    dark, light = (classifier.classify(frame(value)).ranking[0].score for value in (0, 255))
    assert dark != light
    assert [dark, light] == scores(classifier, (0, 255))
    assert [light, dark] == scores(classifier, (255, 0))


def test_a_ticket_that_comes_to_nothing_gives_its_place_back(classifier: Classifier) -> None:
    """A frame that is no picture, and one whose answer nobody wants any more."""
    expected = scores(classifier, (0, 255))
    for _ in range(IN_FLIGHT + 1):
        classifier.abandon(classifier.begin(frame(9)))
        with pytest.raises(ImageError):
            classifier.begin(Frame(np.zeros((4, 4), np.uint8), 1, 0, 0))
    assert expected == scores(classifier, (0, 255))


def test_another_rule_shares_the_places(classifier: Classifier) -> None:
    """A ticket begun under one rule is finished under it; no more places are taken for the next."""
    other = classifier.with_rule(RankingRule(top_k=2)).with_degraded(True)
    tickets = [classifier.begin(frame(0)), other.begin(frame(0))]
    first, second = (ticket.classifier.finish(ticket) for ticket in tickets)
    assert (1, 2) == (len(first.ranking), len(second.ranking))
    assert (False, True) == (first.degraded, second.degraded)
    assert len(classifier.places) == len(other.places) == IN_FLIGHT


def test_the_deadline_is_ten_inferences_on_its_device(vetted: VettedBundle) -> None:
    """What vetting saw on the CPU says nothing of an Edge TPU: there the worker's first inferences count, of
    all its networks, for a slow one must not have a quick one's frames taken for stuck.
    """
    model = vetted.for_cpu()
    runner = Runner({vetted.bundle.digest: model, "another": model}, SETTINGS, CLOCK)
    try:
        networks = runner.wait_ready().networks
        warm_ms = networks[vetted.bundle.digest].warm_ms + networks["another"].warm_ms
        for device, seen_ms in (("cpu", vetted.inference_ms), ("edgetpu", warm_ms)):
            built = Classifier.build("default", vetted, runner, RankingRule(), 0.0, CLOCK, device=device)
            assert (device, 10 * seen_ms / 1e3) == (built.device, built.timeout_s)
    finally:
        runner.retire()
