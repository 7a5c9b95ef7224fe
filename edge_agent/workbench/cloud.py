"""Predictions that somebody else made of the same images, out of a CSV file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.bundle import ModelBundle
from edge_agent.errors import DatasetError
from edge_agent.workbench.dataset import Dataset, normal, rows
from edge_agent.workbench.matching import places_of


def read_predictions(path: Path, dataset: Dataset, bundle: ModelBundle) -> npt.NDArray[np.float32]:
    """The scores that the lines ``path,label[,score]`` give, (images, labels) in the order of the bundle's.

    A label without a line scores 0, one without a score 1. Images are named as the dataset names them.

    Raises DatasetError for lines that are none, and for images of the dataset that no line names.
    """
    places = {sample.name: place for place, sample in enumerate(dataset.samples)}
    scores = np.full((len(places), len(bundle.labels)), np.nan, np.float32)
    try:
        for number, cells in rows(path):
            where = f"{path}: line {number}"
            image = places.get(cells[0])
            if image is None:
                raise DatasetError(
                    f"{where}: {dataset.path} has no image {cells[0]}",
                    f"name it like {dataset.samples[0].name}",
                )
            label, score = _label_and_score(cells, where)
            column = places_of((label,), bundle, where)[label]
            if not np.isnan(scores[image, column]):
                raise DatasetError(f"{where} scores {label!r} of {cells[0]} again", "keep one of the lines")
            scores[image, column] = score
    except OSError as error:
        raise DatasetError(
            f"cannot read {path}: {error.strerror}", "check the path and its permissions"
        ) from error
    silent = np.flatnonzero(np.isnan(scores).all(axis=1))
    if silent.size:
        first = dataset.samples[silent[0]].name
        raise DatasetError(f"{path} says nothing of {silent.size} images, such as {first}", "add their lines")
    return np.nan_to_num(scores, nan=0.0)


def _label_and_score(cells: list[str], where: str) -> tuple[str, float]:
    if not 2 <= len(cells) <= 3 or not cells[1]:
        raise DatasetError(f"{where} is not path,label or path,label,score", "write one label per line")
    try:
        score = float(cells[2]) if len(cells) == 3 else 1.0
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise DatasetError(f"{where}: {cells[2]!r} is no score", "write a number from 0 to 1")
    return normal(cells[1]), score
