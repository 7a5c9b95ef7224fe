"""edge_agent.doctor with a stick: the library, the lock, the listing and the proof of the pair.

Stood in for: libedgetpu and its stick (`tests.edgetpu`), the machine's folders (`tests.test_doctor`). Real:
the child that lists, the worker that proves, the runtime in it, and the locks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import edge_agent
from edge_agent.clock import SystemClock
from edge_agent.doctor import Finding, Setup, edgetpu
from edge_agent.doctor.packages import MODULES
from edge_agent.edgetpu import Device, DeviceLock
from edge_agent.sealed import SealedFile
from edge_agent.worker_process import WorkerSettings
from tests import edgetpu as standin
from tests.brokers import Broker
from tests.places import CORAL, need_data
from tests.test_doctor import STICK, Board, by_name

PYTHONS = [path for path in os.environ.get("EDGE_AGENT_TEST_PYTHONS", "").split(":") if path]
"""Other Pythons, with tflite-runtime."""

COMPILED = CORAL / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"

pytestmark = need_data


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A machine with a stick that may be opened, at full speed."""
    board = Board(tmp_path)
    board.plug()
    board.allow()
    board.write("etc/os-release", "VERSION_CODENAME=bookworm")
    return board


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bus that the stand-in looks at; its one stick has the path that the kernel tells."""
    with standin.Bus(tmp_path / "bus") as bus:
        for name, value in bus.environment.items():
            monkeypatch.setenv(name, value)
        bus.add("usb", STICK)
        yield bus


def setup(*models: Path, device: str = "auto", start_timeout_s: float = 30.0) -> Setup:
    """The stand-in, with these models to prove it by."""
    worker = WorkerSettings(library=str(standin.libedgetpu()), start_timeout_s=start_timeout_s)
    sealed = tuple(SealedFile(model.read_bytes(), model.name) for model in models)
    return Setup(worker, device, models=sealed)


def look(board: Board, asked: Setup) -> dict[str, Finding]:
    """What is found, by name."""
    return by_name(list(edgetpu.look(board.machine, asked, SystemClock())))


def test_a_pair_that_works_is_proven(board: Board, bus: Any) -> None:
    """A worker of its own runs the model on the stick once; then the stick is free again."""
    findings = look(board, setup(COMPILED))
    assert {"ok"} == {finding.level for finding in findings.values()}
    names = ["libedgetpu", "stick", "access", "speed", "in-use", "listing", "pair"]
    assert names == list(findings)
    assert "run mobilenet_v1_0.25_128_quant_edgetpu.tflite on usb:0" in findings["pair"].found
    assert 1 == bus.sticks[0].opens
    assert os.getpid() not in bus.sticks[0].openers()
    assert bus.sticks[0].holder() is None
    DeviceLock.acquire(Device("usb", 0, STICK), board.machine.locks).close()


def test_a_segfault_is_told_as_a_library_for_another_runtime(board: Board, bus: Any) -> None:
    """It ends the worker and nothing else; the fix is the package that fits."""
    bus.sticks[0].crash_constructor()
    pair = look(board, setup(COMPILED))["pair"]
    assert "problem" == pair.level
    assert "SIGSEGV: this libedgetpu was built for another runtime" in pair.found
    assert "libedgetpu1-std_16.0tf2.19.1-1.bookworm_" in str(pair.fix)
    assert "inference.python" in str(pair.remedy)


def test_a_runtime_that_is_missing_is_told_as_such(board: Board, bus: Any) -> None:
    """Then no pair was tried: nothing is said of libedgetpu."""
    missing = next((name for name, module in MODULES.items() if find_spec(module) is None), None)
    if missing is None:
        pytest.skip("both runtimes are installed here")
    asked = setup(COMPILED)
    asked = dataclasses.replace(asked, worker=dataclasses.replace(asked.worker, runtime=missing))
    pair = look(board, asked)["pair"]
    assert ("problem", 0) == (pair.level, bus.sticks[0].opens)
    assert "no TensorFlow Lite runtime" in pair.found
    assert "pip install" in str(pair.remedy)


@pytest.mark.parametrize("python", PYTHONS)
def test_any_runtime_that_fits_will_do(board: Board, bus: Any, python: str) -> None:
    """With ``auto`` the other one is tried before anything is called wrong, as the agent does."""
    asked = setup(COMPILED)
    asked = dataclasses.replace(asked, worker=dataclasses.replace(asked.worker, python=python))
    pair = look(board, asked)["pair"]
    assert ("ok", 1) == (pair.level, bus.sticks[0].opens)
    assert "tflite-runtime" in pair.found


def test_an_abort_is_told_as_a_failed_transfer(board: Board, bus: Any) -> None:
    """Cable, port and power, not packages."""
    bus.sticks[0].always("abort")
    pair = look(board, setup(COMPILED))["pair"]
    assert "problem" == pair.level
    assert "SIGABRT" in pair.found
    assert "cable" in str(pair.remedy)


def test_a_stick_that_hangs_is_told_in_time(board: Board, bus: Any) -> None:
    """Opening it never returns: the worker is killed, and the lock is given back."""
    bus.sticks[0].hang_open()
    pair = look(board, setup(COMPILED, start_timeout_s=1.0))["pair"]
    assert "problem" == pair.level
    assert "no answer within 1 s: the stick is wedged" in pair.found
    assert "plug the stick in again" == pair.remedy
    DeviceLock.acquire(Device("usb", 0, STICK), board.machine.locks).close()


def test_a_stick_that_cannot_be_opened_is_told(board: Board, bus: Any) -> None:
    """It is listed, and refused: the library does not say why."""
    bus.sticks[0].refuse_open()
    findings = look(board, setup(COMPILED))
    assert ("ok", "problem") == (findings["listing"].level, findings["pair"].level)
    assert "opens no Edge TPU" in findings["pair"].found


def test_a_model_for_a_newer_runtime_is_compiled_for_an_older_one(board: Board, bus: Any) -> None:
    """The library's own words, and the compiler's option."""
    bus.versions(runtime=13, package=14)
    pair = look(board, setup(COMPILED))["pair"]
    assert "problem" == pair.level
    expected = "edgetpu_compiler --min_runtime_version 13 mobilenet_v1_0.25_128_quant.tflite"
    assert expected == pair.fix


def test_a_stick_that_another_agent_holds_is_not_opened(board: Board, bus: Any) -> None:
    """A second process on a stick ends the first one's: no device is listed, no model is run."""
    board.write(f"proc/{os.getpid()}/comm", "edge-agent")
    lock = DeviceLock.acquire(Device("usb", 0, STICK), board.machine.locks)
    findings = look(board, setup(COMPILED))
    lock.close()
    assert "note" == findings["in-use"].level
    assert f"{STICK} is in use by pid {os.getpid()} (edge-agent)" == findings["in-use"].found
    assert "nothing was opened" in str(findings["in-use"].why)
    assert not {"listing", "pair"} & set(findings)
    assert (0, 0) == (bus.lists, bus.sticks[0].opens)


def test_a_stick_that_a_stranger_holds_is_not_opened(board: Board, bus: Any) -> None:
    """Other programs take no lock, but they have the stick's node open."""
    descriptors = board.root / "proc" / "812" / "fd"
    descriptors.mkdir(parents=True)
    (descriptors / "0").symlink_to("/dev/null")
    (descriptors / "7").symlink_to(board.root / "dev/bus/usb/002/003")
    findings = look(board, setup(COMPILED))
    assert f"{STICK} is in use by pid 812" == findings["in-use"].found
    assert (0, 0) == (bus.lists, bus.sticks[0].opens)
    DeviceLock.acquire(Device("usb", 0, STICK), board.machine.locks).close()


def test_a_lock_that_cannot_be_taken_opens_nothing(board: Board, bus: Any) -> None:
    """Not knowing who has the stick is no leave to open it."""
    machine = dataclasses.replace(board.machine, locks=board.root / "no such folder")
    findings = by_name(list(edgetpu.look(machine, setup(COMPILED), SystemClock())))
    assert "problem" == findings["in-use"].level
    assert (0, 0) == (bus.lists, bus.sticks[0].opens)


def test_a_closed_stick_is_not_asked_for(board: Board, bus: Any) -> None:
    """The library would list nothing and not say why; the reason is told instead."""
    board.closed.add(board.root / "dev/bus/usb/002/003")
    findings = look(board, setup(COMPILED))
    assert "problem" == findings["access"].level
    assert 0 == bus.lists


def test_a_library_that_lists_nothing_is_told(board: Board, bus: Any) -> None:
    """The kernel sees the stick, the library does not."""
    bus.sticks[0].pull()
    findings = look(board, setup(COMPILED))
    assert "libedgetpu lists no device, the kernel 1" == findings["listing"].found
    assert "problem" == findings["listing"].level
    assert "pair" not in findings


def test_a_device_that_is_not_there_is_told(board: Board, bus: Any) -> None:
    """The stick is fine, the configuration asks for another one."""
    listing = look(board, setup(COMPILED, device="edgetpu:usb:1"))["listing"]
    assert "problem" == listing.level
    assert "libedgetpu lists usb:0" == listing.found
    assert 0 == bus.sticks[0].opens


def test_without_a_model_the_pair_is_not_proven(board: Board, bus: Any) -> None:
    """Said, with the way to prove it; nothing is opened."""
    pair = look(board, setup())["pair"]
    assert "note" == pair.level
    assert "edge-agent doctor --model MODEL_edgetpu.tflite" == pair.fix
    assert 0 == bus.sticks[0].opens


def run_doctor(
    board: Board, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Finding]]:
    """The command's exit code and findings on that machine."""
    command = ["doctor", "--json", *arguments]
    code = edge_agent.main(command, prog_name="edge-agent", standalone_mode=False, obj=board.machine)
    return code, by_name([Finding(**each) for each in json.loads(capsys.readouterr().out)])


def test_the_configuration_names_library_and_performance(
    board: Board, bus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is proven is what the agent would run."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in (COMPILED, CORAL / "mobilenet_v1_0.25_128_quant.tflite"):
        shutil.copy(path, bundle)
    config = tmp_path / "config.toml"
    inference = f"[inference]\nlibrary = '{standin.libedgetpu()}'\nperformance = 'low'\n"
    with Broker() as broker:
        config.write_text(f"[mqtt]\nport = {broker.port}\n{inference}[models.one]\npath = '{bundle}'\n")
        code, findings = run_doctor(board, ["-c", str(config)], capsys)
    assert (0, "ok") == (code, findings["pair"].level)
    (opened,) = bus.journal("open")
    assert "Performance=Low" in opened.fields


def test_the_configuration_s_bundles_prove_the_pair(
    board: Board, bus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each compiled model once, however many slots have it; a slot without one is noted."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in (COMPILED, CORAL / "mobilenet_v1_0.25_128_quant.tflite"):
        shutil.copy(path, bundle)
    config = tmp_path / "config.toml"
    lone = CORAL / "vww_96_int8.tflite"
    slots = {"one": bundle, "two": bundle, "three": lone}
    arguments = ["-c", str(config), "--library", str(standin.libedgetpu())]
    with Broker() as broker:
        tables = [f"[mqtt]\nport = {broker.port}\n"]
        tables += [f"[models.{name}]\npath = '{path}'\n" for name, path in slots.items()]
        config.write_text("".join(tables))
        code, findings = run_doctor(board, arguments, capsys)
    assert 0 == code
    assert findings["model"].found == "three: no model_edgetpu.tflite"
    assert "ok" == findings["pair"].level
    assert 1 == bus.sticks[0].opens
