"""Several models, and the cloud, on the images that all of them could judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import DatasetError
from edge_agent.workbench.dataset import Dataset, normal
from edge_agent.workbench.report import Timing, Unjudged
from edge_agent.workbench.scorecard import (
    Flags,
    LabelScore,
    Method,
    Scorecard,
    answered_labels,
    score,
    threshold_for,
)

SCHEMA = "edge-agent/comparison/1"


@dataclass(frozen=True)
class Ran:
    """What only a model that ran here has: the size of its file, its device, and ms per image, (images,)."""

    digest: str
    size_bytes: int
    device: str
    preprocess_ms: npt.NDArray[np.float64]
    inference_ms: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """What one model said: ``scores`` (images, labels) of the ``images`` that it could judge, ascending
    places in the dataset; ``truth`` is (dataset, labels). ``ran`` is None for predictions made elsewhere.
    """

    name: str
    method: Method
    labels: tuple[str, ...]
    truth: Flags
    images: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    ran: Ran | None


@dataclass(frozen=True)
class Run:
    """What is told of a model that ran here."""

    digest: str
    size_bytes: int
    device: str
    preprocess_ms: Timing
    inference_ms: Timing


@dataclass(frozen=True)
class Contender:
    """One column: ``agreement`` is the share of images to which it gives the first one's answer; ``run`` is
    None for predictions made elsewhere.
    """

    name: str
    agreement: float
    card: Scorecard
    run: Run | None

    def label(self, name: str) -> LabelScore:
        """Its figures of the label called so."""
        return next(each for each in self.card.labels if normal(each.label) == normal(name))


@dataclass(frozen=True)
class Comparison:
    """``judged`` of ``total`` images: of the ``unreadable`` ones some model could not be asked.

    ``labels`` are those that some image has, as the first model calls them.
    """

    dataset: str
    total: int
    judged: int
    unreadable: tuple[Unjudged, ...]
    labels: tuple[str, ...]
    contenders: tuple[Contender, ...]

    def as_json(self) -> dict[str, Any]:
        """As it is printed and written."""
        told = asdict(self)
        told["models"] = [_contender_json(each) for each in told.pop("contenders")]
        return {"schema": SCHEMA, **told}


def common_images(voices: Sequence[Voice]) -> npt.NDArray[np.int64]:
    """Those that all could judge, ascending."""
    return reduce(np.intersect1d, (voice.images for voice in voices))


def compare(
    dataset: Dataset, voices: Sequence[Voice], unreadable: Sequence[Unjudged], asked_threshold: float | None
) -> Comparison:
    """Of at least one voice. Raises DatasetError where no image was judged by all."""
    images = common_images(voices)
    if not images.size:
        raise DatasetError(f"{dataset.path}: no image could be read for all models", "see what each says")
    answers = [_answers(voice, images, asked_threshold) for voice in voices]
    contenders = tuple(
        _contender(voice, images, asked_threshold, _agreement(answers[0], mine))
        for voice, mine in zip(voices, answers, strict=True)
    )
    return Comparison(
        dataset=str(dataset.path),
        total=len(dataset.samples),
        judged=len(images),
        unreadable=tuple(unreadable),
        labels=tuple(each.label for each in contenders[0].card.labels if each.support),
        contenders=contenders,
    )


def _contender(
    voice: Voice, images: npt.NDArray[np.int64], asked_threshold: float | None, agreement: float
) -> Contender:
    rows = np.searchsorted(voice.images, images)
    threshold = threshold_for(voice.method, asked_threshold)
    card = score(voice.labels, voice.truth[images], voice.scores[rows], voice.method, threshold)
    return Contender(voice.name, agreement, card, None if voice.ran is None else _run(voice.ran, rows))


def _run(ran: Ran, rows: npt.NDArray[np.intp]) -> Run:
    times = Timing.of(ran.preprocess_ms[rows]), Timing.of(ran.inference_ms[rows])
    return Run(ran.digest, ran.size_bytes, ran.device, *times)


def _answers(
    voice: Voice, images: npt.NDArray[np.int64], asked_threshold: float | None
) -> list[frozenset[str]]:
    """The labels named for each image: by name, for models may have them in different orders."""
    rows, names = np.searchsorted(voice.images, images), [normal(label) for label in voice.labels]
    threshold = threshold_for(voice.method, asked_threshold)
    answered = answered_labels(voice.scores[rows], voice.method, threshold)
    return [frozenset(names[place] for place in np.flatnonzero(row)) for row in answered]


def _agreement(first: list[frozenset[str]], mine: list[frozenset[str]]) -> float:
    return sum(one == other for one, other in zip(first, mine, strict=True)) / len(first)


def _contender_json(told: dict[str, Any]) -> dict[str, Any]:
    card = told.pop("card")
    del card["confusion"]
    return {**told, **card}
