"""The drawn guitars and the bundled model that knows their finishes."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle import ModelBundle
from edge_agent.cameras.finishes import (
    LABELS,
    NO_GUITAR,
    SCENE_SEEDS,
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    render,
)
from edge_agent.clock import SystemClock
from edge_agent.errors import UsageError
from edge_agent.predictions import rank, scores_of
from edge_agent.preprocess import Preprocessor
from edge_agent.runner import Runner
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests.places import FINISHES

EDGE_TPU_OPERATORS = {"QUANTIZE", "ADD", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}
SMALL = (120, 160)


def test_the_same_seed_draws_the_same_picture_in_another_process() -> None:
    """A seed names a picture: nothing of a process may leak into it."""
    seed = SCENE_SEEDS[5]
    program = (
        "import hashlib; from edge_agent.cameras.finishes import render; "
        f"print(hashlib.sha256(render({seed})[0].tobytes()).hexdigest())"
    )
    render(SCENE_SEEDS[4])
    elsewhere = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert elsewhere.stdout.strip() == hashlib.sha256(render(seed)[0].tobytes()).hexdigest()


def test_drawing_keeps_no_more_than_the_textures() -> None:
    """A daemon that shows the scene has their 10 MB, not what they were made from (five times as much)."""
    program = """
import threading
from pathlib import Path
from edge_agent.arenas import share_one_heap
from edge_agent.cameras.finishes import SCENE_SEEDS, render

def anonymous_kb():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

def draw():
    for seed in SCENE_SEEDS[:20]:
        render(seed)

share_one_heap()
before_kb = anonymous_kb()
thread = threading.Thread(target=draw)
thread.start()
thread.join()
print(anonymous_kb() - before_kb)
"""
    grown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(grown.stdout) < 35_000


def test_different_seeds_draw_different_pictures() -> None:
    """A set of pictures is as large as its range of seeds."""
    pictures = [render(seed, "black", SMALL)[0].tobytes() for seed in SCENE_SEEDS[:50]]
    assert len(set(pictures)) == 50


def test_seeds_reach_every_label() -> None:
    """A scene camera that runs on shows every finish."""
    assert {render(seed, size=(24, 32))[1] for seed in SCENE_SEEDS[:200]} == set(LABELS)


@pytest.mark.parametrize("label", LABELS)
def test_a_label_asked_for_is_drawn(label: str) -> None:
    """The caller decides what is in the picture."""
    assert render(TRAIN_SEEDS[1], label, SMALL)[1] == label


def test_another_finish_leaves_the_scene_as_it_is() -> None:
    """Of one seed only the paint changes with the label."""
    first, second = (render(SCENE_SEEDS[7], label)[0].astype(int) for label in ("fiesta red", "surf green"))
    changed = np.abs(first - second).max(axis=2) > 40
    assert 0.02 < changed.mean() < 0.6


def test_an_unknown_label_is_refused_with_the_known_ones() -> None:
    """The error says what would have been possible."""
    with pytest.raises(UsageError, match=r"'pink'.*fiesta red"):
        render(1, "pink")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SCENE_SEEDS), st.integers(1, 300), st.integers(1, 300))
def test_any_size_is_honoured(seed: int, height: int, width: int) -> None:
    """(height, width) in, (height, width, 3) of uint8 out."""
    pixels, _ = render(seed, size=(height, width))
    assert (height, width, 3) == pixels.shape
    assert pixels.dtype == np.uint8


def test_pictures_larger_than_a_texture_are_drawn() -> None:
    """Textures repeat."""
    assert (1100, 1300, 3) == render(SCENE_SEEDS[0], "bordeaux metallic", (1100, 1300))[0].shape


def test_labels_are_sorted_as_custom_vision_sorts_them() -> None:
    """Case does not count, and a picture without a guitar has a label too."""
    assert sorted(LABELS, key=str.casefold) == list(LABELS)
    assert NO_GUITAR in LABELS


def test_no_seed_serves_two_purposes() -> None:
    """What is measured on was never trained on."""
    ranges = (TRAIN_SEEDS, VALIDATION_SEEDS, TEST_SEEDS, SCENE_SEEDS)
    for one, other in itertools.combinations(ranges, 2):
        assert one.stop <= other.start or other.stop <= one.start


@pytest.fixture(scope="module")
def vetted() -> VettedBundle:
    """The bundled model, opened and proven on its golden images."""
    return vet_bundle(FINISHES, WorkerSettings(threads=1), SystemClock())


@pytest.fixture(scope="module")
def bundle(vetted: VettedBundle) -> ModelBundle:
    """What is known of it."""
    return vetted.bundle


@pytest.fixture
def runner(vetted: VettedBundle) -> Iterator[Runner]:
    """A worker that serves it."""
    runner = Runner({"finishes": vetted.for_cpu()}, WorkerSettings(threads=1), SystemClock())
    runner.wait_ready()
    yield runner
    runner.retire()


def test_the_bundled_model_tells_the_finish(bundle: ModelBundle, runner: Runner) -> None:
    """Nine of ten held-out pictures at least, through the path that a frame takes."""
    preprocessor = Preprocessor(bundle.convention, bundle.input)
    right = 0
    for seed in TEST_SEEDS[:120]:
        pixels, label = render(seed)
        answer = runner.run("finishes", preprocessor.prepare(pixels), timeout_s=30.0)
        scores = scores_of(answer.output, bundle.output)
        right += rank(scores, bundle.labels, top_k=1, threshold=0.0)[0].label == label
    assert right >= 108


def test_the_bundled_model_is_an_export_without_a_doubt(bundle: ModelBundle) -> None:
    """Every value is derived, none guessed: nothing to warn of."""
    assert bundle.warnings == ()
    assert LABELS == bundle.labels
    assert bundle.method == "multiclass"
    assert bundle.convention.pixel_format == "bgr"
    assert "104" in bundle.convention_origins["pixel_format"]
    assert (bundle.convention.mean, bundle.convention.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_the_bundled_model_takes_raw_bytes(bundle: ModelBundle) -> None:
    """A pixel is its own code, as in a quantised Custom Vision export."""
    assert ("Placeholder", (1, 224, 224, 3), "uint8") == (
        bundle.input.name,
        bundle.input.shape,
        bundle.input.dtype,
    )
    assert bundle.input.quantization is not None
    assert (1.0, 0) == (bundle.input.quantization.scale, bundle.input.quantization.zero_point)
    assert ("model_outputs", (1, len(LABELS)), "uint8") == (
        bundle.output.name,
        bundle.output.shape,
        bundle.output.dtype,
    )


def test_the_bundled_model_could_be_compiled_for_the_edge_tpu(vetted: VettedBundle) -> None:
    """It has only operators that the compiler maps."""
    runner = Runner({"finishes": vetted.for_cpu()}, WorkerSettings(threads=1, describe=True), SystemClock())
    graph = runner.wait_ready().networks["finishes"].graph
    runner.retire()
    assert graph is not None
    assert set(graph.op_counts) == EDGE_TPU_OPERATORS


def test_the_bundled_files_are_as_custom_vision_writes_them() -> None:
    """Small, with the right SHA-1, labels without an end of line."""
    model = (FINISHES / "model.tflite").read_bytes()
    manifest = json.loads((FINISHES / "cvexport.manifest").read_text())
    assert len(model) < 1_000_000
    assert hashlib.sha1(model).hexdigest() == manifest["ModelFileSHA1"]
    assert (FINISHES / "labels.txt").read_bytes() == "\n".join(LABELS).encode()
    assert all(picture.stat().st_size < 30_000 for picture in (FINISHES / "golden").iterdir())
