"""A dataset's labels as the places of a model's output."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from edge_agent.bundle import ModelBundle
from edge_agent.errors import DatasetError
from edge_agent.workbench.dataset import Dataset, normal


def truth_of(dataset: Dataset, bundle: ModelBundle) -> npt.NDArray[np.bool_]:
    """Which of the model's labels are true of each image: (images, labels).

    Raises DatasetError for a label that the model does not have or has twice, and for several labels, or
    none, where the model names one per image.
    """
    places = places_of((label for each in dataset.samples for label in each.labels), bundle, dataset.path)
    truth = np.zeros((len(dataset.samples), len(bundle.labels)), np.bool_)
    for row, sample in zip(truth, dataset.samples, strict=True):
        if bundle.method == "multiclass" and len(sample.labels) != 1:
            raise DatasetError(
                f"{dataset.path}: {sample.name} has {len(sample.labels)} labels, and {bundle.name} names one "
                "per image",
                'give it one label, or write method = "multilabel" under [output] in bundle.toml',
            )
        row[[places[label] for label in sample.labels]] = True
    return truth


def places_of(names: Iterable[str], bundle: ModelBundle, source: object) -> dict[str, int]:
    """The place of each name in the model's output. Raises DatasetError, which names the ``source``."""
    labels = [normal(label) for label in bundle.labels]
    counts = Counter(labels)
    places = {label: place for place, label in enumerate(labels)}
    for name in dict.fromkeys(names):
        if name not in places:
            raise DatasetError(f"{source}: {bundle.name} has no label {name!r}", _nearest(name, labels))
        if counts[name] > 1:
            raise DatasetError(
                f"{source}: {counts[name]} classes of {bundle.name} are called {name!r}",
                "give each a name of its own in labels.txt",
            )
    return places


def _nearest(name: str, labels: Sequence[str]) -> str:
    """What may have been meant, or some of what there is; ImageNet's labels hold several names each."""
    folded, by_folded = name.casefold(), {label.casefold(): label for label in labels}
    near = [label for label in by_folded if re.search(rf"\b{re.escape(folded)}\b", label)]
    near += difflib.get_close_matches(folded, by_folded, n=1)
    if near:
        return f"rename it to {by_folded[near[0]]!r}, if that is meant"
    shown = ", ".join(labels[:5])
    return f"its labels are {shown}" + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
