"""edge_agent.workbench.evaluation and answering: stopped or killed, the answers are the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import WorkerDiedError, WorkerError
from edge_agent.frames import Frame
from edge_agent.predictions import Prediction
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.workbench.answering import TRIES, answer_images
from edge_agent.workbench.dataset import Dataset, read_dataset
from edge_agent.workbench.evaluation import Evaluated, Telling, evaluate
from edge_agent.workbench.journal import Answer, Journal
from edge_agent.workbench.one_shot import Asked, OneShot
from edge_agent.worker_process import WorkerSettings
from tests.evaluations import draw_images, kill_a_worker
from tests.places import FINISHES

IMAGES = 240
CPU = Asked("cpu", "", "auto")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn once, and only read."""
    return draw_images(tmp_path_factory.mktemp("images"), IMAGES)


@pytest.fixture(scope="module")
def vetted() -> VettedBundle:
    """The bundled model."""
    return vet_bundle(FINISHES, WorkerSettings(), SystemClock())


def run(
    dataset: Dataset,
    vetted: VettedBundle,
    journal: Journal,
    progress: Callable[[int, int], None],
    workers: int = 2,
) -> Evaluated:
    """An evaluation that tells of every image."""
    telling = Telling(progress, lambda warning: pytest.fail(warning))
    return evaluate(dataset, vetted, CPU, workers, journal, SystemClock(), telling)


def at(moment: int, act: Callable[[], None]) -> Callable[[int, int], None]:
    """A progress that acts once so many images are done."""

    def progress(done: int, total: int) -> None:  # noqa: ARG001
        if done == moment:
            act()

    return progress


def interrupt() -> None:
    """What Ctrl-C does to the main thread."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def untouched(images: Path, vetted: VettedBundle) -> Evaluated:
    """Answers of a run that nothing happens to."""
    with closing(Journal.temporary(len(vetted.bundle.labels))) as journal:
        return run(read_dataset(images), vetted, journal, lambda _done, _total: None)


def assert_same(expected: Evaluated, found: Evaluated) -> None:
    """All but the times."""
    assert expected.unreadable == found.unreadable
    assert expected.answers.images.tolist() == found.answers.images.tolist()
    assert expected.answers.scores.tolist() == found.answers.scores.tolist()


def test_stopped_and_gone_on_with(
    images: Path, vetted: VettedBundle, untouched: Evaluated, tmp_path: Path
) -> None:
    """What was answered is not asked again, and the answers are the same."""
    dataset, labels = read_dataset(images), len(vetted.bundle.labels)
    for moment in (1, 100, IMAGES - 1):
        with closing(Journal.at(tmp_path / "journal", "key", labels)) as journal:
            with pytest.raises(KeyboardInterrupt):
                run(dataset, vetted, journal, at(moment, interrupt))
            assert moment == len(journal.answered())
    begun: list[int] = []
    with closing(Journal.at(tmp_path / "journal", "key", labels)) as journal:
        found = run(dataset, vetted, journal, lambda done, _total: begun.append(done))
    assert [IMAGES - 1, IMAGES] == begun
    assert_same(untouched, found)


def test_a_killed_worker_is_replaced(images: Path, vetted: VettedBundle, untouched: Evaluated) -> None:
    """Its image is run again; the answers are the same."""
    killed: list[int] = []

    def progress(done: int, _total: int) -> None:
        if done in (20, 50, 120):
            kill_a_worker(os.getpid())
            killed.append(done)

    with closing(Journal.temporary(len(vetted.bundle.labels))) as journal:
        found = run(read_dataset(images), vetted, journal, progress)
    assert [20, 50, 120] == killed
    assert_same(untouched, found)


@pytest.mark.parametrize("workers", [1, 3])
def test_how_many_run_side_by_side_changes_nothing(
    images: Path, vetted: VettedBundle, untouched: Evaluated, workers: int
) -> None:
    """Nor in which order they answer."""
    with closing(Journal.temporary(len(vetted.bundle.labels))) as journal:
        assert_same(
            untouched, run(read_dataset(images), vetted, journal, lambda _done, _total: None, workers)
        )


class Dying(OneShot):
    """Shaped like a OneShot; its worker is dead by the time that it answers."""

    def __init__(self, closed: list[str]) -> None:
        self._closed = closed

    def classify(self, frame: Frame) -> Prediction:  # noqa: ARG002
        """It never comes to that."""
        raise WorkerDiedError(7, -6)

    def close(self) -> None:
        """As its end asks for."""
        self._closed.append("closed")


def test_an_image_that_kills_every_worker(images: Path) -> None:
    """After a few of them the evaluation ends with the image's name."""
    closed: list[str] = []
    path = sorted(images.rglob("*.png"))[0]
    answers = answer_images([path], [0], [Dying(closed)], lambda: Dying(closed), SystemClock())
    with closing(answers), pytest.raises(WorkerError) as refusal:
        next(answers)
    assert str(refusal.value).startswith(f"no answer to {path}: worker 7 ended by SIGABRT; ")
    assert TRIES <= len(closed)


def test_a_worker_that_dies_while_it_starts(images: Path, vetted: VettedBundle) -> None:
    """It is one of the workers that an image may cost, and the next one answers."""
    starts: list[str] = []

    def reopen() -> OneShot:
        starts.append("start")
        if len(starts) == 1:
            raise WorkerDiedError(8, -9)
        return OneShot(vetted, CPU, SystemClock(), lambda warning: pytest.fail(warning))

    path = sorted(images.rglob("*.png"))[0]
    with closing(answer_images([path], [0], [Dying([])], reopen, SystemClock())) as answers:
        answer = next(answers)
    assert isinstance(answer, Answer)
    assert (2, 0, "cpu") == (len(starts), answer.image, answer.device)
