"""`edge-agent classify` and `models` with a compiled bundle.

Stood in for: libedgetpu and its stick (`tests.edgetpu`). Real: the command, its workers, the locks.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from edge_agent.edgetpu import Device, DeviceLock
from tests.edgetpu import Bus, Stick, libedgetpu
from tests.places import CORAL, need_data
from tests.sticks import CPU_SMALL, SMALL, bundle_of

pytestmark = need_data

CAT = CORAL / "cat.bmp"
BIRD = CORAL / "bird.bmp"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A model and its compiled twin."""
    return bundle_of(tmp_path / "bundle", SMALL, CPU_SMALL)


class Said:
    """What the command printed: ``answers``, one for each picture, and the lines on stderr that matter."""

    def __init__(self, capsys: pytest.CaptureFixture[str], bundle: Path, *arguments: object) -> None:
        command = ["classify", "--json", "--library", str(libedgetpu()), "-m", str(bundle)]
        self.code = main([*command, *map(str, arguments)])
        output = capsys.readouterr()
        self.answers: list[dict[str, Any]] = [json.loads(line) for line in output.out.splitlines()]
        self.told = [line for line in output.err.splitlines() if "stand for several classes" not in line]
        self.devices = [each["device"] for each in self.answers]


@pytest.mark.parametrize("device", ["auto", "edgetpu"])
def test_the_stick_answers_as_the_cpu_does(
    capsys: pytest.CaptureFixture[str], bundle: Path, stick: Stick, device: str
) -> None:
    """The same labels and scores, said to come from the Edge TPU; the stick is free afterwards."""
    said = Said(capsys, bundle, CAT, BIRD, "--device", device)
    assert (0, [], ["edgetpu", "edgetpu"]) == (said.code, said.told, said.devices)
    on_cpu = Said(capsys, bundle, CAT, BIRD, "--device", "cpu")
    assert ["cpu", "cpu"] == on_cpu.devices
    assert [each["predictions"] for each in on_cpu.answers] == [each["predictions"] for each in said.answers]
    assert 1 == stick.opens
    DeviceLock.acquire(Device("usb", 0, stick.path)).close()


def test_a_stick_in_use_is_not_opened(
    capsys: pytest.CaptureFixture[str], bundle: Path, bus: Bus, stick: Stick
) -> None:
    """Who wants the Edge TPU is told whose it is, in one line; who wants an answer gets it from the CPU."""
    lock = DeviceLock.acquire(Device("usb", 0, stick.path))
    asked = Said(capsys, bundle, CAT, "--device", "edgetpu")
    auto = Said(capsys, bundle, CAT)
    lock.close()
    in_use = f"Edge TPU usb:0 is in use by pid {os.getpid()}; "
    assert (1, []) == (asked.code, asked.answers)
    (told,) = asked.told
    assert told.startswith(f"error: {in_use}")
    assert (0, ["cpu"]) == (auto.code, auto.devices)
    (warned,) = auto.told
    assert warned.startswith(f"warning: the CPU answers: {in_use}")
    assert (0, []) == (stick.opens, bus.journal("open"))


@pytest.mark.parametrize("library", ["standin", "missing"])
def test_without_a_stick(
    capsys: pytest.CaptureFixture[str], bundle: Path, stick: Stick, tmp_path: Path, library: str
) -> None:
    """The reason is told: no device, or no library."""
    stick.pull()
    more = ["--library", tmp_path / "libedgetpu.so.1"] if library == "missing" else []
    reason = "libedgetpu.so.1 is installed" if library == "missing" else "no Edge TPU is there"
    asked = Said(capsys, bundle, CAT, "--device", "edgetpu", *more)
    auto = Said(capsys, bundle, CAT, *more)
    assert (1, [], 1) == (asked.code, asked.answers, len(asked.told))
    assert reason in asked.told[0]
    assert (0, ["cpu"], 1) == (auto.code, auto.devices, len(auto.told))
    assert reason in auto.told[0]


@pytest.mark.parametrize("fault", ["abort", "error"])
def test_a_stick_that_dies_midway_loses_no_picture(
    capsys: pytest.CaptureFixture[str], bundle: Path, stick: Stick, fault: Any
) -> None:
    """The picture that it died on is answered by the CPU, and so are those that follow."""
    once = Said(capsys, bundle, CAT, "--device", "edgetpu")
    # Warm-up and proof take as many as they did now: it befalls the second picture.
    stick.schedule({2 * stick.invokes: fault})
    said = Said(capsys, bundle, CAT, BIRD, CAT)
    assert (0, ["edgetpu", "cpu", "cpu"]) == (said.code, said.devices)
    assert once.answers[0]["predictions"] == said.answers[0]["predictions"]
    assert said.answers[0]["predictions"] == said.answers[2]["predictions"]
    (warned,) = said.told
    assert warned.startswith("warning: the CPU answers: ")


def test_a_stick_that_was_asked_for_by_name_is_not_replaced(
    capsys: pytest.CaptureFixture[str], bundle: Path, stick: Stick
) -> None:
    """Nobody takes the CPU's figures for the stick's."""
    stick.always("abort")
    said = Said(capsys, bundle, CAT, "--device", "edgetpu")
    assert (1, [], 1) == (said.code, said.answers, len(said.told))
    assert "SIGABRT" in said.told[0]


def test_a_stick_that_lies_does_not_answer(
    capsys: pytest.CaptureFixture[str], bundle: Path, stick: Stick
) -> None:
    """It is held against the CPU first."""
    stick.always("shift")
    said = Said(capsys, bundle, CAT)
    assert (0, ["cpu"]) == (said.code, said.devices)
    assert "agrees with the CPU's by" in said.told[0]


def test_a_library_for_another_runtime_is_told_as_such(
    capsys: pytest.CaptureFixture[str], bundle: Path, stick: Stick
) -> None:
    """Each runtime is tried; then which package helps is told, instead of a bare signal."""
    stick.crash_constructor()
    said = Said(capsys, bundle, CAT, "--device", "edgetpu")
    assert 1 == said.code
    assert "SIGSEGV" in said.told[0]
    assert "tflite-runtime: no TensorFlow Lite runtime" in said.told[0]
    assert "built for another runtime; install libedgetpu1-std" in said.told[0]


def test_a_library_too_old_opens_nothing(
    capsys: pytest.CaptureFixture[str], bundle: Path, bus: Bus, stick: Stick
) -> None:
    """The compiled package says what it needs before anything is tried."""
    bus.versions(runtime=11, package=12)
    said = Said(capsys, bundle, CAT, "--device", "edgetpu")
    assert (1, [], 0) == (said.code, said.answers, stick.opens)
    assert "asks for runtime version 12, libedgetpu has 11" in said.told[0]


@pytest.mark.parametrize("device", ["auto", "edgetpu"])
def test_a_bundle_that_is_only_compiled_answers_on_the_stick(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, stick: Stick, device: str
) -> None:
    """With the warning that there is no fallback."""
    lone = bundle_of(tmp_path / "lone", SMALL)
    said = Said(capsys, lone, CAT, "--device", device)
    assert (0, ["edgetpu"], "tiger cat") == (
        said.code,
        said.devices,
        said.answers[0]["predictions"][0]["label"],
    )
    (warned,) = said.told
    assert "no fallback" in warned
    stick.pull()
    away = Said(capsys, lone, CAT, "--device", device)
    assert (1, []) == (away.code, away.answers)
    assert away.told[-1].startswith("error: no Edge TPU is there")


def test_a_bundle_that_is_only_compiled_does_not_answer_on_the_cpu(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The error says what is missing."""
    said = Said(capsys, bundle_of(tmp_path / "lone", SMALL), CAT, "--device", "cpu")
    assert (1, []) == (said.code, said.answers)
    assert "nothing that the CPU could run; put the model.tflite" in said.told[-1]


def test_a_bundle_without_a_compiled_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, stick: Stick
) -> None:
    """With auto the CPU answers and that is all; by name, the way to a compiled model is told."""
    plain = bundle_of(tmp_path / "plain", CPU_SMALL)
    auto = Said(capsys, plain, CAT)
    assert (0, ["cpu"], []) == (auto.code, auto.devices, auto.told)
    asked = Said(capsys, plain, CAT, "--device", "edgetpu")
    assert (1, []) == (asked.code, asked.answers)
    assert "no model_edgetpu.tflite" in asked.told[0]
    assert "edgetpu_compiler" in asked.told[0]
    assert 0 == stick.opens


def test_inspect_tells_what_the_compiled_model_needs(
    capsys: pytest.CaptureFixture[str], bundle: Path, tmp_path: Path
) -> None:
    """And that one which is only compiled was not run."""
    for path, needs, ran in (
        (bundle, {"needs_runtime": 12}, True),
        (bundle_of(tmp_path / "lone", SMALL), {"needs_runtime": 12}, False),
        (bundle_of(tmp_path / "plain", CPU_SMALL), None, True),
    ):
        assert 0 == main(["models", "inspect", str(path), "--json"])
        said = json.loads(capsys.readouterr().out)
        assert needs == said["edgetpu"]
        assert ran == (said["first_inference_ms"] is not None)
        assert 0 == main(["models", "inspect", str(path)])
        text = capsys.readouterr().out
        assert ("RuntimeVersion(12) or newer" in text) == (needs is not None)
        assert 0 == main(["models", "verify", str(path)])
        assert ("not run: it needs an Edge TPU" in capsys.readouterr().out) == (not ran)
