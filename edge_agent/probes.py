"""Pictures that a bundle must answer rightly before it may serve."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.bundle import GoldenImage, ModelBundle
from edge_agent.errors import BundleError, ImageError
from edge_agent.images import decode_image
from edge_agent.predictions import rank, scores_of
from edge_agent.preprocess import Preprocessor
from edge_agent.tensors import Array

PATTERN_SIDE = 224
PATTERN_SQUARE = 8


@dataclass(frozen=True)
class Probe:
    """An input tensor of the bundle, and what is known of the right answer; ``name`` says which picture."""

    name: str
    tensor: Array
    golden: GoldenImage | None = None


def probes(bundle: ModelBundle) -> Iterator[Probe]:
    """The golden images, else the fixed pattern; the same ones in the same order each time.

    Raises BundleError for a golden image that cannot be read.
    """
    preprocessor = Preprocessor(bundle.convention, bundle.input)
    for golden in bundle.files.golden:
        name = f"golden image {golden.name}"
        try:
            tensor = preprocessor.prepare(decode_image(golden.encoded, golden.name))
        except ImageError as error:
            raise BundleError(f"{bundle.files.path}: {name}: {error.what}", error.remedy) from error
        yield Probe(name, tensor, golden)
    if not bundle.files.golden:
        yield Probe("the test pattern", preprocessor.prepare(pattern()))


def pattern() -> npt.NDArray[np.uint8]:
    """A chessboard, (224, 224, 3).

    A classifier that sees nothing it knows gives every class a little, and it would not show if two classes
    had changed places. Of 28 patterns that were tried this is the one that all of six models answer surely:
    somewhere their scores differ by 0.47 at least from one class to the next.
    """
    row, column = np.mgrid[:PATTERN_SIDE, :PATTERN_SIDE] // PATTERN_SQUARE
    white = (row + column) % 2
    return np.repeat(white[..., np.newaxis], 3, axis=-1).astype(np.uint8) * np.uint8(255)


def check_answer(bundle: ModelBundle, probe: Probe, output: Array) -> None:
    """The raw output for ``probe`` must be finite scores, and where the answer is known the right ones.

    Raises InferenceError for scores that are no numbers, BundleError for another label than the golden one or
    too low a score.
    """
    scores = scores_of(output, bundle.output)
    best = rank(scores, bundle.labels, top_k=1, threshold=-math.inf)[0]
    golden = probe.golden
    if golden is not None and (best.label != golden.label or best.score < golden.min_score):
        raise BundleError(
            f"{bundle.files.path}: {probe.name} should be {golden.label} >= {golden.min_score:g}, "
            f"is {best.label} {best.score:.3f}",
            "check the labels' order and [input] in bundle.toml",
        )
