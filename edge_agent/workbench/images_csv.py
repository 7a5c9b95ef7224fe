"""What was said of each image, and copies of the worst mistakes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.topics import slug
from edge_agent.workbench.dataset import Sample
from edge_agent.workbench.files import copy_file, write_files
from edge_agent.workbench.journal import Answers
from edge_agent.workbench.scorecard import Flags
from edge_agent.workbench.tables import csv_text

AND = " + "
"""Between the labels of one image."""

_LIST = "worst.csv"


@dataclass(frozen=True)
class Said:
    """What is true of each image that was judged, and what was answered: (images, labels) both."""

    samples: Sequence[Sample]
    labels: tuple[str, ...]
    truth: Flags
    answered: Flags
    answers: Answers

    def names(self, flags: npt.NDArray[np.bool_]) -> str:
        """The labels that a row names."""
        return AND.join(self.labels[place] for place in np.flatnonzero(flags))

    def right(self) -> npt.NDArray[np.bool_]:
        """Which images were answered rightly, (images,)."""
        return np.asarray((self.truth == self.answered).all(axis=1))


def images_csv(said: Said) -> str:
    """A row per image that was judged: truth, answer, the score of each label, and what it took."""
    headers = ["image", "truth", "answer", "right", "preprocess_ms", "inference_ms", *said.labels]
    return csv_text(headers, list(_image_rows(said)))


def _image_rows(said: Said) -> Iterator[list[object]]:
    answers, right = said.answers, said.right()
    for row, image in enumerate(answers.images.tolist()):
        yield [
            said.samples[image].name,
            said.names(said.truth[row]),
            said.names(said.answered[row]),
            int(right[row]),
            round(float(answers.preprocess_ms[row]), 3),
            round(float(answers.inference_ms[row]), 3),
            *(round(each, 6) for each in answers.scores[row].tolist()),
        ]


def worst_rows(said: Said, count: int) -> list[int]:
    """The wrongly answered images, the surest mistakes first: by how far the highest score of a label that
    is not true lies above the lowest of one that is (0 where there is none); equals by their names.
    """
    scores = said.answers.scores.astype(float)
    highest_false = np.where(said.truth, 0.0, scores).max(axis=1)
    lowest_true = np.where(said.truth.any(axis=1), np.where(said.truth, scores, np.inf).min(axis=1), 0.0)
    wrong = np.flatnonzero(~said.right())
    order = np.argsort(-(highest_false - lowest_true)[wrong], kind="stable")
    return [int(row) for row in wrong[order][:count]]


def copy_worst(said: Said, count: int, folder: Path) -> int:
    """Copy the worst mistakes, their scores in the names, and list them in a CSV file; how many there are.

    What an earlier evaluation listed there is removed. Raises EvaluationError.
    """
    _remove_listed(folder)
    rows = []
    for number, row in enumerate(worst_rows(said, count), start=1):
        sample = said.samples[int(said.answers.images[row])]
        truth, answer = said.names(said.truth[row]), said.names(said.answered[row])
        score = said.answers.scores[row].max()
        name = f"{number:03}_{_short(truth)}_as_{_short(answer)}_{score:.3f}{sample.path.suffix}"
        copy_file(sample.path, folder / name)
        true_scores = AND.join(f"{each:.6f}" for each in said.answers.scores[row][said.truth[row]])
        rows.append((name, sample.name, truth, true_scores, answer, f"{score:.6f}"))
    write_files(
        folder, {_LIST: csv_text(("file", "image", "truth", "its score", "answer", "best score"), rows)}
    )
    return len(rows)


def _short(labels: str) -> str:
    """For a file's name."""
    return slug(labels)[:60] if labels else "nothing"


def _remove_listed(folder: Path) -> None:
    if (folder / _LIST).is_file():
        with (folder / _LIST).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                (folder / Path(row["file"]).name).unlink(missing_ok=True)
