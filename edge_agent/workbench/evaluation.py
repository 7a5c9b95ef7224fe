"""A model asked for every image of a dataset, going on where an earlier evaluation ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_agent.clock import Clock
from edge_agent.errors import DatasetError
from edge_agent.vetting import VettedBundle
from edge_agent.workbench.answering import Unreadable, answer_images
from edge_agent.workbench.dataset import Dataset
from edge_agent.workbench.journal import Answers, Journal
from edge_agent.workbench.one_shot import Asked, OneShot

THREADS = 1
"""Of each CPU worker: images side by side use the cores better, and scores never depend on how many."""


@dataclass(frozen=True)
class Evaluated:
    """What a model said of the images that it could be asked for, and the ones that it could not."""

    answers: Answers
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True)
class Telling:
    """How an evaluation tells of itself: ``progress`` gets how many images were dealt with and how many there
    are, ``warn`` one line.
    """

    progress: Callable[[int, int], None]
    warn: Callable[[str], None]


def cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def evaluate(
    dataset: Dataset,
    vetted: VettedBundle,
    asked: Asked,
    workers: int,
    journal: Journal,
    clock: Clock,
    telling: Telling,
) -> Evaluated:
    """Ask for what the journal does not know yet; ``workers`` side by side on the CPU, on an Edge TPU one.

    Raises DatasetError where no image can be read, BundleError, WorkerError, EvaluationError.
    """
    known, total = journal.answered(), len(dataset.samples)
    wanted = [image for image in range(total) if image not in known]
    unreadable: list[Unreadable] = []
    telling.progress(len(known), total)
    if wanted:
        opening = _Opening(vetted, asked, clock, telling.warn)
        shots = opening.side_by_side(min(workers, len(wanted)))
        paths = [each.path for each in dataset.samples]
        with contextlib.closing(answer_images(paths, wanted, shots, opening.open, clock)) as running:
            for done, answer in enumerate(running, start=len(known) + 1):
                if isinstance(answer, Unreadable):
                    unreadable.append(answer)
                else:
                    journal.append(answer)
                telling.progress(done, total)
    if len(unreadable) == total:
        raise DatasetError(f"{dataset.path}: none of {total} images could be read: {unreadable[0].reason}")
    return Evaluated(journal.read(), tuple(sorted(unreadable, key=lambda each: each.image)))


def journal_key(dataset: Dataset, vetted: VettedBundle, asked: Asked) -> str:
    """What answers depend on, as hex digits: the images, the model, its runtime, and the device asked for."""
    parts = (dataset.fingerprint(), vetted.bundle.digest, vetted.runtime, asked.device, asked.library)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class _Opening:
    """Starts workers with one model, all on the device on which the first one runs."""

    def __init__(self, vetted: VettedBundle, asked: Asked, clock: Clock, warn: Callable[[str], None]) -> None:
        self._vetted = vetted
        self._asked = replace(asked, threads=THREADS)
        self._clock = clock
        self._warn = warn

    def open(self) -> OneShot:
        return OneShot(self._vetted, self._asked, self._clock, self._warn)

    def side_by_side(self, workers: int) -> list[OneShot]:
        """An Edge TPU has one only."""
        with contextlib.ExitStack() as opened:
            shots = [opened.enter_context(self.open())]
            if shots[0].device == "cpu":
                self._asked = replace(self._asked, device="cpu")
                shots += [opened.enter_context(self.open()) for _ in range(workers - 1)]
            opened.pop_all()
        return shots
