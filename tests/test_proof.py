"""proof.py and probes.py: an Edge TPU serves a bundle only if it answers as the CPU does.

Stood in for: libedgetpu and its stick (`tests.edgetpu`). Real: models, runtimes and workers.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pytest

from edge_agent.bundle import ModelBundle
from edge_agent.clock import SystemClock
from edge_agent.errors import BundleError, DisagreementError, InferenceError, WorkerDiedError
from edge_agent.probes import pattern, probes
from edge_agent.proof import AGREEMENT, agreement, compiled_refusal, prove
from edge_agent.runner import Runner
from edge_agent.states import State
from edge_agent.tensors import Quantization, TensorSpec
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests.edgetpu import Bus, Stick, libedgetpu
from tests.places import CORAL, CUSTOM_VISION, FINISHES, need_data
from tests.sticks import CPU_LARGE, CPU_SMALL, LARGE, SMALL, TWINS, bundle_of

pytestmark = need_data

Corruption = Literal["flip", "shift"]

CPU = WorkerSettings(threads=1)
SCORES = TensorSpec("scores", (1, 4), "uint8", Quantization(1 / 256, 0))
REALS = TensorSpec("scores", (1, 4), "float32")
SERVED = [
    CPU_SMALL,
    CPU_LARGE,
    CORAL / "tf2_mobilenet_v2_1.0_224_ptq.tflite",
    CORAL / "vww_96_int8.tflite",
    CUSTOM_VISION / "apple_orange",
]


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stick]:
    """A stick that gives the CPU twins' own answers."""
    with Bus(tmp_path / "bus", TWINS) as bus:
        for name, value in bus.environment.items():
            monkeypatch.setenv(name, value)
        yield bus.add("usb")


@pytest.fixture
def runners() -> Iterator[list[Runner]]:
    """Those that are retired at the end."""
    runners: list[Runner] = []
    yield runners
    for runner in runners:
        runner.retire()


def on_stick(vetted: VettedBundle, runners: list[Runner]) -> Runner:
    """A READY worker on the stick with the bundle's compiled model, called "it"."""
    assert vetted.compiled is not None
    options = (("device", "usb:0"),)
    settings = dataclasses.replace(CPU, library=str(libedgetpu()), delegate_options=options)
    runner = Runner({"it": vetted.compiled}, settings, SystemClock())
    runners.append(runner)
    runner.wait_ready()
    return runner


def vetted_pair(folder: Path, *models: Path) -> VettedBundle:
    """A bundle of these models."""
    return vet_bundle(bundle_of(folder / "bundle", *models), CPU, SystemClock())


def with_golden(folder: Path, *models: Path, label: str, min_score: float) -> VettedBundle:
    """The same with a cat as its golden image."""
    bundle = bundle_of(folder / "bundle", *models)
    shutil.copy(CORAL / "cat.bmp", bundle / "cat.bmp")
    text = f'[[golden]]\nimage = "cat.bmp"\nlabel = "{label}"\nmin_score = {min_score}\n'
    (bundle / "bundle.toml").write_text(text)
    return vet_bundle(bundle, CPU, SystemClock())


@pytest.mark.parametrize(
    ("a", "b", "spec", "expected"),
    [
        ([0, 0, 0, 255], [0, 0, 0, 255], SCORES, 1.0),
        ([0, 0, 0, 255], [255, 0, 0, 255], SCORES, 0.0),
        ([10, 0, 0, 200], [13, 51, 0, 200], SCORES, 0.8),
        ([0.1, 0.9, 0, 0], [0.1, 0.65, 0, 0], REALS, 0.75),
        ([0, -7.0, 0, 0], [0, 7.0, 0, 0], REALS, 0.0),
        ([0, np.nan, 0, 0], [0, np.nan, 0, 0], REALS, 0.0),
        ([0, np.inf, 0, 0], [0, 1, 0, 0], REALS, 0.0),
    ],
)
def test_agreement(a: list[float], b: list[float], spec: TensorSpec, expected: float) -> None:
    """1 less the largest difference: of codes by 255, of reals as it is, never below 0."""
    first, second = (np.array([each], spec.dtype) for each in (a, b))
    assert expected == pytest.approx(agreement(first, second, spec), abs=1e-6)
    assert agreement(first, second, spec) == agreement(second, first, spec)


@pytest.mark.parametrize("path", [*SERVED, FINISHES], ids=lambda path: path.stem)
def test_the_pattern_is_answered_surely(path: Path) -> None:
    """Scores that changed places with their neighbours would be noticed, whatever the model."""
    vetted = vet_bundle(path, CPU, SystemClock())
    if path == FINISHES:  # it has golden images of its own
        runner = Runner({"it": vetted.for_cpu()}, CPU, SystemClock())
        runner.wait_ready()
        answers = [runner.run("it", probe.tensor, 10.0).output for probe in probes(_without_golden(vetted))]
        runner.retire()
    else:
        answers = list(vetted.answers)
    (answer,) = answers
    assert agreement(answer, np.roll(answer, 1), vetted.bundle.output) < AGREEMENT - 0.25


def _without_golden(vetted: VettedBundle) -> ModelBundle:
    files = dataclasses.replace(vetted.bundle.files, golden=())
    return dataclasses.replace(vetted.bundle, files=files)


def test_the_pattern_is_the_same_everywhere() -> None:
    """It is drawn anew for each proof, and compared with answers from before."""
    assert np.array_equal(pattern(), pattern())
    assert (224, 224, 3) == pattern().shape
    assert {0, 255} == set(np.unique(pattern()).tolist())


@pytest.mark.parametrize("models", [(SMALL, CPU_SMALL), (LARGE, CPU_LARGE)], ids=["small", "large"])
def test_a_stick_that_agrees_is_proven(
    tmp_path: Path, stick: Stick, runners: list[Runner], models: tuple[Path, Path]
) -> None:
    """Its answers are the CPU's, and the worker lives on."""
    vetted = vetted_pair(tmp_path, *models)
    runner = on_stick(vetted, runners)
    prove(runner, "it", vetted)
    prove(runner, "it", vetted, 1.0)
    assert runner.state is State.READY
    assert stick.invokes >= 2


@pytest.mark.parametrize("fault", get_args(Corruption))
@pytest.mark.parametrize("models", [(SMALL, CPU_SMALL), (LARGE, CPU_LARGE)], ids=["small", "large"])
def test_a_stick_that_answers_otherwise_is_not(
    tmp_path: Path, stick: Stick, runners: list[Runner], models: tuple[Path, Path], fault: Corruption
) -> None:
    """A bit turned in each score, or each score given to another class."""
    vetted = vetted_pair(tmp_path, *models)
    runner = on_stick(vetted, runners)
    stick.always(fault)
    with pytest.raises(
        DisagreementError, match=r"answer to the test pattern agrees .* by 0\.\d+, not 0\.875"
    ):
        prove(runner, "it", vetted)
    stick.heal()
    prove(runner, "it", vetted)


def test_a_stick_that_fails_meanwhile_is_lost(tmp_path: Path, stick: Stick, runners: list[Runner]) -> None:
    """The errors of the worker are the caller's."""
    vetted = vetted_pair(tmp_path, SMALL, CPU_SMALL)
    runner = on_stick(vetted, runners)
    stick.order("error")
    with pytest.raises(InferenceError):
        prove(runner, "it", vetted)
    stick.order("abort")
    with pytest.raises(WorkerDiedError, match="SIGABRT"):
        prove(runner, "it", vetted)


def test_golden_images_are_the_probes(tmp_path: Path, stick: Stick, runners: list[Runner]) -> None:
    """They are what the bundle itself knows the answer to."""
    vetted = with_golden(tmp_path, SMALL, CPU_SMALL, label="tiger cat", min_score=0.25)
    assert ["golden image cat.bmp"] == [probe.name for probe in probes(vetted.bundle)]
    assert 1 == len(vetted.answers)
    prove(on_stick(vetted, runners), "it", vetted)
    stick.always("shift")
    with pytest.raises(DisagreementError, match=r"golden image cat\.bmp"):
        prove(runners[0], "it", vetted)


def test_a_golden_image_holds_on_the_stick_too(tmp_path: Path, stick: Stick, runners: list[Runner]) -> None:
    """Answers that agree well enough are not enough where bundle.toml asks for more."""
    vetted = with_golden(tmp_path, SMALL, CPU_SMALL, label="tiger cat", min_score=0.25)
    stick.always("shift")
    with pytest.raises(BundleError, match=r"cat\.bmp should be tiger cat >= 0\.25, is Persian cat"):
        prove(on_stick(vetted, runners), "it", vetted, 0.0)


def test_without_a_cpu_twin_a_golden_image_accuses_the_stick(
    tmp_path: Path, stick: Stick, runners: list[Runner]
) -> None:
    """Nobody can tell whose fault it is, so it may be tried again."""
    vetted = with_golden(tmp_path, SMALL, label="tiger cat", min_score=0.25)
    assert () == vetted.answers
    runner = on_stick(vetted, runners)
    prove(runner, "it", vetted)
    stick.always("shift")
    with pytest.raises(DisagreementError, match="should be tiger cat"):
        prove(runner, "it", vetted)


def test_a_compiled_model_of_another_network_is_refused(
    tmp_path: Path, stick: Stick, runners: list[Runner]
) -> None:
    """Frames are prepared for the CPU's input; nothing is run with another one."""
    vetted = vetted_pair(tmp_path, LARGE, CPU_SMALL)
    runner = on_stick(vetted, runners)
    before = stick.invokes
    with pytest.raises(
        BundleError, match=r"input is \[1, 224, 224, 3\] .* its CPU twin's \[1, 128, 128, 3\]"
    ):
        prove(runner, "it", vetted)
    assert before == stick.invokes


@pytest.mark.parametrize(
    ("needs", "said", "refused"),
    [
        (12, "BuildLabel(N/A), RuntimeVersion(14)", False),
        (14, "BuildLabel(N/A), RuntimeVersion(14)", False),
        (15, "BuildLabel(N/A), RuntimeVersion(14)", True),
        (None, "BuildLabel(N/A), RuntimeVersion(14)", False),
        (15, "of unknown version", False),
    ],
)
def test_a_library_too_old_is_known_beforehand(needs: int | None, said: str, *, refused: bool) -> None:
    """The package says what it needs, the library what it is; only what is known refuses."""
    vetted = dataclasses.replace(vet_bundle(SMALL, CPU, SystemClock()), needs_runtime=needs)
    refusal = compiled_refusal(vetted, said)
    assert refused == (refusal is not None)
    if refused:
        assert "asks for runtime version 15, libedgetpu has 14" in str(refusal)
        assert "edgetpu_compiler --min_runtime_version 14" in str(refusal)
