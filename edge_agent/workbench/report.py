"""An evaluation as it is told: what was asked, how right the answers were, how long they took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.vetting import VettedBundle
from edge_agent.workbench.dataset import Dataset
from edge_agent.workbench.evaluation import Evaluated
from edge_agent.workbench.scorecard import Flags, Scorecard, score, threshold_for

SCHEMA = "edge-agent/evaluation/1"


@dataclass(frozen=True)
class Timing:
    """Ms per image."""

    mean: float
    p50: float
    p99: float

    @classmethod
    def of(cls, taken_ms: npt.NDArray[np.float64]) -> Timing:
        """Of at least one image."""
        p50, p99 = np.percentile(taken_ms, (50, 99))
        return cls(float(taken_ms.mean()), float(p50), float(p99))


@dataclass(frozen=True)
class Unjudged:
    """An image that could not be read, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Model:
    """What was evaluated; ``size_bytes`` is that of the model file that ran."""

    name: str
    digest: str
    iteration: str | None
    method: str
    size_bytes: int


@dataclass(frozen=True)
class Report:
    """``total`` images, of which the card knows all but the ``unreadable``. ``workers`` ran side by side,
    which each image's times contain; reading and decoding the file is no part of them.
    """

    dataset: str
    model: Model
    device: str
    runtime: str
    workers: int
    total: int
    unreadable: tuple[Unjudged, ...]
    card: Scorecard
    preprocess_ms: Timing
    inference_ms: Timing

    def as_json(self) -> dict[str, Any]:
        """As it is printed and written."""
        told = asdict(self)
        card = told.pop("card")
        times = {"preprocess": told.pop("preprocess_ms"), "inference": told.pop("inference_ms")}
        names, rows = self.card.met_confusion()
        card["confusion"] = None if self.card.confusion is None else {"labels": names, "rows": rows}
        return {"schema": SCHEMA, **told, **card, "timing_ms": times}


def unjudged(dataset: Dataset, evaluated: Evaluated) -> Iterator[Unjudged]:
    """The images that could not be read, by name."""
    for each in evaluated.unreadable:
        yield Unjudged(dataset.samples[each.image].name, each.reason)


def size_and_device(vetted: VettedBundle, devices: tuple[str, ...]) -> tuple[int, str]:
    """Bytes of the model file that ran, and where: on an Edge TPU it is another file."""
    ran = vetted.compiled if devices == ("edgetpu",) else vetted.model
    return 0 if ran is None else ran.size, " and ".join(devices)


def make_report(
    dataset: Dataset,
    truth: Flags,
    vetted: VettedBundle,
    evaluated: Evaluated,
    asked_threshold: float | None,
    workers: int,
) -> Report:
    """The report on what was evaluated; ``truth`` is that of the whole dataset."""
    bundle, answers = vetted.bundle, evaluated.answers
    size_bytes, device = size_and_device(vetted, answers.devices)
    threshold = threshold_for(bundle.method, asked_threshold)
    return Report(
        dataset=str(dataset.path),
        model=Model(bundle.name, bundle.short, bundle.iteration, bundle.method, size_bytes),
        device=device,
        runtime=vetted.runtime,
        workers=1 if device == "edgetpu" else workers,
        total=len(dataset.samples),
        unreadable=tuple(unjudged(dataset, evaluated)),
        card=score(bundle.labels, truth[answers.images], answers.scores, bundle.method, threshold),
        preprocess_ms=Timing.of(answers.preprocess_ms),
        inference_ms=Timing.of(answers.inference_ms),
    )
