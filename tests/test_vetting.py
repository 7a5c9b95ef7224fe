"""vetting.py: how a file becomes a model that may serve, with real models and a real runtime."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.bundle import read_bundle
from edge_agent.clock import SystemClock
from edge_agent.errors import (
    BundleError,
    LabelsError,
    UnsuitableError,
    WorkerStartError,
)
from edge_agent.verdict import verdict_from_json
from edge_agent.vetting import runtime_of, verdict_key, vet, vet_bundle
from edge_agent.worker_process import WorkerSettings, worker_archive
from tests.faults.worker import faulty_python
from tests.places import CORAL, CUSTOM_VISION, need_data
from tests.sticks import CPU_SMALL, LARGE, SMALL, bundle_of

pytestmark = need_data

PYTHONS = [None, *(path for path in os.environ.get("EDGE_AGENT_TEST_PYTHONS", "").split(":") if path)]
"""Interpreters with a runtime of their own; None: this one."""

SETTINGS = WorkerSettings(threads=1)
VWW = CORAL / "vww_96_int8.tflite"
APPLE_ORANGE = CUSTOM_VISION / "apple_orange"


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No open file and no child more than before."""
    worker_archive()  # made once per process, for whoever starts another Python
    gc.collect()  # what an earlier test left to the collector is not ours
    before = _open_files()
    yield
    gc.collect()
    assert before == _open_files()
    assert _children() == ""


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _children() -> str:
    return "".join(task.read_text() for task in Path("/proc/self/task").glob("*/children"))


def test_an_export_is_vetted() -> None:
    """A sound export passes, with what the runtime says of its graph."""
    vetted = vet_bundle(APPLE_ORANGE, SETTINGS, SystemClock())
    assert ("apple", "orange") == vetted.bundle.labels
    assert "bgr" == vetted.bundle.convention.pixel_format
    assert vetted.inference_ms > 0
    vetted.for_cpu().close()


@pytest.mark.parametrize("python", PYTHONS)
def test_a_bundle_that_is_only_compiled_is_described(tmp_path: Path, python: str | None) -> None:
    """Nothing here can run it, in either runtime; what its package asks for is read from the file."""
    settings = WorkerSettings(python=python)
    vetted = vet_bundle(bundle_of(tmp_path / "bundle", SMALL), settings, SystemClock())
    assert (None, 12, 0.0, ()) == (vetted.model, vetted.needs_runtime, vetted.inference_ms, vetted.answers)
    assert vetted.compiled is not None
    assert SMALL.stat().st_size == vetted.compiled.size
    assert (1, 128, 128, 3) == vetted.bundle.input.shape
    assert "tiger cat" in vetted.bundle.labels
    assert "only a model compiled for the Edge TPU: no fallback" in vetted.bundle.warnings[0]
    with pytest.raises(UnsuitableError, match="nothing that the CPU could run"):
        vetted.for_cpu()


def test_a_compiled_twin_is_sealed_beside_the_model(tmp_path: Path) -> None:
    """The CPU's answer to each probe is kept, for the Edge TPU's to be held against."""
    vetted = vet_bundle(bundle_of(tmp_path / "bundle", SMALL, CPU_SMALL), SETTINGS, SystemClock())
    assert vetted.compiled is not None
    assert (CPU_SMALL.stat().st_size, SMALL.stat().st_size) == (vetted.for_cpu().size, vetted.compiled.size)
    (answer,) = vetted.answers
    assert ((1, 1001), "uint8") == (answer.shape, answer.dtype.name)


@pytest.mark.parametrize("models", [(APPLE_ORANGE / "model.tflite",), (SMALL, CPU_SMALL), (SMALL,)])
def test_what_is_known_need_not_be_proven_again(tmp_path: Path, models: tuple[Path, ...]) -> None:
    """With the verdict of an earlier time, by way of JSON, no worker starts, and the bundle is the same."""
    files = read_bundle(bundle_of(tmp_path / "bundle", *models))
    first = vet(files, SETTINGS, SystemClock())
    known = verdict_from_json(json.loads(json.dumps(first.verdict.to_json())))
    none_starts = dataclasses.replace(SETTINGS, start_timeout_s=0.0)
    with pytest.raises(BundleError, match="no answer within 0 s"):
        vet(files, none_starts, SystemClock())
    again = vet(files, none_starts, SystemClock(), known)
    assert first.bundle == again.bundle
    assert (first.needs_runtime, first.runtime, first.inference_ms) == (
        again.needs_runtime,
        again.runtime,
        again.inference_ms,
    )
    assert [answer.tolist() for answer in first.answers] == [answer.tolist() for answer in again.answers]
    assert [answer.dtype for answer in first.answers] == [answer.dtype for answer in again.answers]
    assert (first.model is None, first.compiled is None) == (again.model is None, again.compiled is None)


@pytest.mark.parametrize(
    "change",
    [{"digest": "0" * 64}, {"runtime": "litert 0.1"}, {"answers": ()}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_known_of_something_else_does_not_count(change: dict[str, Any]) -> None:
    """Another bundle, another runtime, other probes: it is proven anew."""
    files = read_bundle(APPLE_ORANGE)
    known = dataclasses.replace(vet(files, SETTINGS, SystemClock()).verdict, **change)
    found = vet(files, SETTINGS, SystemClock(), known).verdict
    assert found is not known
    assert (files.digest, runtime_of(SETTINGS), 1) == (found.digest, found.runtime, len(found.answers))


def test_what_is_kept_of_a_bundle_is_small() -> None:
    """The sealed copies hold the models; nothing else does."""
    files = vet_bundle(APPLE_ORANGE, SETTINGS, SystemClock()).bundle.files
    assert (None, None, ()) == (files.model, files.model_edgetpu, files.parts)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_runtime_is_known_before_a_worker_starts(python: str | None) -> None:
    """As the worker will call it; of another Python only the worker can tell."""
    settings = dataclasses.replace(SETTINGS, python=python)
    expected = vet_bundle(APPLE_ORANGE, settings, SystemClock()).runtime if python is None else None
    assert expected == runtime_of(settings)
    assert (python is None) == (verdict_key(settings) is not None)


@pytest.mark.usefixtures("nothing_left")
def test_a_compiled_model_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    """Reading the graph is enough to tell; nothing is left behind."""
    path = tmp_path / "cut_edgetpu.tflite"
    path.write_bytes(LARGE.read_bytes()[:2000])
    with pytest.raises(BundleError, match=str(path)):
        vet_bundle(path, SETTINGS, SystemClock())


def _bad(kind: str, folder: Path) -> Path:
    """A bundle with one thing wrong."""
    path = folder / "model.tflite"
    content = VWW.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "random":
        path.write_bytes(os.urandom(5000))
    elif kind == "flipped":
        path.write_bytes(content[:200] + bytes(byte ^ 0xFF for byte in content[200:5000]) + content[5000:])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "three labels for two classes":
        path.write_bytes(content)
        (folder / "labels.txt").write_text("a\nb\nc")
        return folder
    elif kind == "zip with ..":
        with zipfile.ZipFile(folder / "b.zip", "w") as archive:
            archive.writestr("../model.tflite", content)
        return folder / "b.zip"
    return path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("truncated", BundleError),
        ("random", BundleError),
        ("flipped", BundleError),
        ("empty", BundleError),
        ("missing", BundleError),
        ("three labels for two classes", LabelsError),
        ("zip with ..", BundleError),
    ],
)
@pytest.mark.usefixtures("nothing_left")
def test_a_bad_bundle_is_refused_in_one_line(tmp_path: Path, kind: str, expected: type[BundleError]) -> None:
    """Whatever the runtime does with it: one line, exit code 1, nothing left behind."""
    with pytest.raises(expected) as refusal:
        vet_bundle(_bad(kind, tmp_path), SETTINGS, SystemClock())
    assert 1 == refusal.value.exit_code
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    assert (kind in ("truncated", "flipped", "three labels for two classes")) == bool(refusal.value.digest)


@pytest.mark.parametrize("fault", ["abort", "segfault", "leave"])
@pytest.mark.usefixtures("nothing_left")
def test_a_model_that_kills_the_runtime_is_refused(tmp_path: Path, fault: str) -> None:
    """The throw-away worker dies; the refusal names how."""
    settings = WorkerSettings(threads=1, python=faulty_python(tmp_path, fault))
    with pytest.raises(BundleError, match=r"SIGABRT|SIGSEGV|exit status 7"):
        vet_bundle(VWW, settings, SystemClock())


def test_a_model_that_hangs_the_runtime_is_refused(tmp_path: Path) -> None:
    """The deadline of the start ends it."""
    settings = WorkerSettings(threads=1, python=faulty_python(tmp_path, "dumb"), start_timeout_s=1.0)
    with pytest.raises(BundleError, match="no answer within 1 s"):
        vet_bundle(VWW, settings, SystemClock())


def test_a_missing_runtime_is_not_the_bundles_fault(tmp_path: Path) -> None:
    """No runtime, no verdict on the model."""
    with pytest.raises(WorkerStartError):
        vet_bundle(VWW, WorkerSettings(python=str(tmp_path / "nowhere")), SystemClock())


def _with_golden(folder: Path, label: str, min_score: float) -> Path:
    """The export of apples and oranges with an apple as its golden image."""
    for name in ("model.tflite", "labels.txt", "metadata_properties.json", "cvexport.manifest"):
        shutil.copy(APPLE_ORANGE / name, folder)
    shutil.copy(CUSTOM_VISION / "photos" / "apple5.jpg", folder / "golden.jpg")
    text = f'[[golden]]\nimage = "golden.jpg"\nlabel = "{label}"\nmin_score = {min_score}\n'
    (folder / "bundle.toml").write_text(text)
    return folder


def test_a_golden_image_that_is_right_lets_the_model_serve(tmp_path: Path) -> None:
    """Its label with at least its least score."""
    vetted = vet_bundle(_with_golden(tmp_path, "apple", 0.9), SETTINGS, SystemClock())
    assert ["apple"] == [golden.label for golden in vetted.bundle.files.golden]
    vetted.for_cpu().close()


# 1.0 is more than the softmax gives to this apple (0.99994).
@pytest.mark.parametrize(("label", "min_score"), [("orange", 0.5), ("apple", 1.0)])
@pytest.mark.usefixtures("nothing_left")
def test_a_golden_image_that_is_wrong_keeps_the_model_out(
    tmp_path: Path, label: str, min_score: float
) -> None:
    """Another label, or too low a score: the refusal shows both."""
    with pytest.raises(BundleError, match=r"golden image golden\.jpg should be .*, is apple"):
        vet_bundle(_with_golden(tmp_path, label, min_score), SETTINGS, SystemClock())
