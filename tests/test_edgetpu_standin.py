"""The stand-in for libedgetpu itself, used by real processes in each runtime there is."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from tests.edgetpu import Bus, Entry, Stick, fixed_scores, libedgetpu
from tests.edgetpu import driver as driver_module
from tests.edgetpu.driver import picture
from tests.places import CORAL, need_data
from tests.processes import Watched

pytestmark = need_data

SMALL = CORAL / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
LARGE = CORAL / "mobilenet_v2_1.0_224_quant_edgetpu.tflite"
TWINS = {path: path.with_name(path.name.replace("_edgetpu", "")) for path in (SMALL, LARGE)}
PYTHONS = [
    sys.executable,
    *(path for path in os.environ.get("EDGE_AGENT_TEST_PYTHONS", "").split(":") if path),
]
SHAPE = (1, 128, 128, 3)
CLASSES = 1001


class RefusedError(Exception):
    """What a step raised in the other process."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Driver:
    """A process that does one step after the other."""

    def __init__(self, python: str, environment: dict[str, str], pass_fds: Sequence[int] = ()) -> None:
        self.process = subprocess.Popen(
            [python, str(driver_module.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            pass_fds=pass_fds,
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def order(self, step: str, *arguments: Any) -> None:
        """Have a step done; :meth:`answer` must follow, where there will be one."""
        _pipe(self.process.stdin).write(json.dumps([step, *arguments]).encode() + b"\n")
        _pipe(self.process.stdin).flush()

    def answer(self) -> Any:
        """The step's value. Raises RefusedError for what it raised, EOFError where the process ended."""
        assert select.select([_pipe(self.process.stdout)], [], [], 60)[0], "no answer"
        line = _pipe(self.process.stdout).readline()
        if not line:
            raise EOFError
        answer = json.loads(line)
        if "error" in answer:
            raise RefusedError(*answer["error"])
        return answer["ok"]

    def do(self, step: str, *arguments: Any) -> Any:
        """Have a step done and wait for its value."""
        self.order(step, *arguments)
        return self.answer()

    def open(self, model: Path = SMALL, **options: str) -> None:
        """Delegate, interpreter, tensors."""
        self.do("load", str(libedgetpu()), options)
        self.do("construct", str(model))
        self.do("allocate")

    def invoke(self, seed: int = 0) -> np.ndarray:
        """The scores of a random picture."""
        return np.array(self.do("invoke", seed), np.uint8)

    def death(self) -> tuple[int, str]:
        """Exit code and stderr of a process that has ended."""
        code = self.process.wait(60)
        return code, _pipe(self.process.stderr).read().decode()

    def close(self) -> None:
        """End it in any case."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


StartDriver = Callable[..., Driver]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    """A bus without sticks, which knows the twins."""
    with Bus(tmp_path / "bus", TWINS) as bus:
        yield bus


@pytest.fixture
def stick(bus: Bus) -> Stick:
    """A USB stick that answers at once."""
    stick = bus.add("usb")
    stick.answer("fixed")
    return stick


@pytest.fixture(params=PYTHONS)
def start(request: pytest.FixtureRequest, bus: Bus) -> Iterator[StartDriver]:
    """Start a process on the bus, in each runtime."""
    with ExitStack() as stack:

        def start_driver(pass_fds: Sequence[int] = ()) -> Driver:
            driver = Driver(request.param, bus.environment, pass_fds)
            stack.callback(driver.close)
            return driver

        yield start_driver


def test_without_a_stick_there_is_none(start: StartDriver, bus: Bus) -> None:
    """As the real library: no devices, ``ValueError: Failed to load delegate from``, no other word; and a
    compiled model cannot run.
    """
    bus.add("usb", plugged=False)
    driver = start()
    with pytest.raises(RefusedError) as refusal:
        driver.do("load", str(libedgetpu()), {})
    assert "ValueError" == refusal.value.kind
    assert f"Failed to load delegate from {libedgetpu()}\n" == str(refusal.value)
    assert [] == driver.do("devices", str(libedgetpu()))
    driver.do("construct", str(SMALL))
    with pytest.raises(RefusedError, match="unresolved custom op: edgetpu-custom-op"):
        driver.do("allocate")
    assert [] == bus.journal("open")


def test_without_a_bus_there_is_no_stick() -> None:
    """A program that is not told of a bus finds the library and no device."""
    driver = Driver(sys.executable, {"EDGETPU_STANDIN": "/nonexistent"})
    try:
        with pytest.raises(RefusedError, match="Failed to load delegate from"):
            driver.do("load", str(libedgetpu()), {})
        assert [] == driver.do("devices", str(libedgetpu()))
    finally:
        driver.close()


@pytest.mark.parametrize("model", [SMALL, LARGE], ids=lambda path: path.stem)
def test_true_scores(start: StartDriver, bus: Bus, model: Path) -> None:
    """The scores are the CPU twin's own, to the bit, in the runtime that asks."""
    bus.add("usb")
    stick, cpu = start(), start()
    stick.open(model)
    cpu.do("construct", str(TWINS[model]))
    cpu.do("allocate")
    for seed in (1, 2, 3):
        expected = cpu.invoke(seed)
        assert expected.any()
        assert np.array_equal(expected, stick.invoke(seed))


def test_the_twin_dies_with_its_process(start: StartDriver, bus: Bus) -> None:
    """Computing true scores leaves no process behind, however the one that asked for them ends."""
    bus.add("usb")
    for count, end in enumerate(("kill", "close"), 1):
        driver = start()
        driver.open()
        assert count - 1 == len(bus.journal("twin"))
        driver.invoke(count)
        twin = Watched(int(bus.wait("twin", 20, count=count).fields[0]))
        if end == "kill":
            driver.process.kill()
        else:
            driver.do("close")
        assert twin.ends_within(20)


def test_the_twin_holds_nothing_of_its_process(start: StartDriver, bus: Bus) -> None:
    """A worker's socket must end with the worker: its twin has no copy of it, nor of its stderr."""
    bus.add("usb")
    ours, theirs = os.pipe()
    try:
        driver = start(pass_fds=[theirs])
        driver.open()
        driver.invoke()
        name = f"pipe:[{os.fstat(theirs).st_ino}]"
        held = [_open_files(pid) for pid in (driver.pid, int(bus.wait("twin", 20).fields[0]))]
        assert name in held[0]
        assert not held[0] & {file for file in held[1] if file.startswith(("pipe:", "socket:"))}
    finally:
        os.close(ours)
        os.close(theirs)


def _open_files(pid: int) -> set[str]:
    return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}


def test_a_true_score_is_computed_once(start: StartDriver, bus: Bus) -> None:
    """A thousand workers that see the same pictures start one twin."""
    bus.add("usb")
    first, second = start(), start()
    first.open()
    expected = first.invoke(7)
    first.do("close")
    second.open()
    assert np.array_equal(expected, second.invoke(7))
    assert [first.pid] == [entry.pid for entry in bus.journal("twin")]


def test_without_a_twin_true_scores_are_an_error(start: StartDriver, bus: Bus) -> None:
    """A model whose twin nobody named gives no invented score."""
    (bus.folder / "twins.json").write_text("[]")
    bus.add("usb")
    driver = start()
    driver.open()
    with pytest.raises(RefusedError, match=r"twin\.log"):
        driver.invoke()
    assert "no twin is known" in (bus.folder / "twin.log").read_text()


@pytest.mark.usefixtures("stick")
def test_fixed_scores(start: StartDriver) -> None:
    """A test that needs no truth knows the scores beforehand, and pictures differ in them."""
    driver = start()
    driver.open()
    scores = [driver.invoke(seed) for seed in (1, 2)]
    assert np.array_equal(fixed_scores(picture(1, SHAPE), CLASSES), scores[0])
    assert np.array_equal(fixed_scores(picture(2, SHAPE), CLASSES), scores[1])
    assert scores[0].argmax() != scores[1].argmax()


@pytest.mark.parametrize(
    ("device", "number"),
    [
        ("", 0),
        ("usb", 1),
        ("pci", 0),
        (":0", 0),
        (":1", 1),
        (":2", 2),
        ("usb:0", 1),
        ("usb:1", 2),
        ("pci:0", 0),
    ],
)
def test_device_option(start: StartDriver, bus: Bus, device: str, number: int) -> None:
    """The option ``device`` names a stick as it does for the real plugin; only one named by its index gets
    the other options.
    """
    for kind in ("pci", "usb", "usb"):
        bus.add(kind)
    driver = start()
    driver.do("load", str(libedgetpu()), {"device": device, "Performance": "Low", "Usb.AlwaysDfu": "True"})
    options = ("Performance=Low", "Usb.AlwaysDfu=True")
    assert [
        Entry(driver.pid, "create", (f"device={device}", *options)),
        Entry(driver.pid, "open", (str(number), *(options if ":" in device else ()))),
    ] == bus.journal()
    assert [driver.pid] == bus.sticks[number].openers()
    assert driver.pid == bus.sticks[number].holder()


@pytest.mark.parametrize("device", ["usb:2", "pci:1", ":3", "tpu", "usb:", "usb:x", ":-1", "usb:0:0"])
def test_device_option_of_no_stick(start: StartDriver, bus: Bus, device: str) -> None:
    """What names no stick opens none."""
    for kind in ("pci", "usb", "usb"):
        bus.add(kind)
    driver = start()
    with pytest.raises(RefusedError, match="Failed to load delegate"):
        driver.do("load", str(libedgetpu()), {"device": device})
    assert ["create"] == [entry.event for entry in bus.journal()]


def test_c_interface(start: StartDriver, bus: Bus) -> None:
    """Devices are listed with kind and path, and opened by them, without a runtime; listing opens none."""
    bus.add("pci", "/dev/apex_0")
    pulled = bus.add("usb", "/sys/bus/usb/devices/1-1")
    bus.add("usb", "/sys/bus/usb/devices/2-1")
    pulled.pull()
    bus.versions(runtime=13, package=13)
    driver, library = start(), str(libedgetpu())
    assert [[0, "/dev/apex_0"], [1, "/sys/bus/usb/devices/2-1"]] == driver.do("devices", library)
    assert [Entry(driver.pid, "list", ("2",))] == bus.journal()
    assert bus.lists == 1
    assert driver.do("version", library).endswith("RuntimeVersion(13)")
    assert driver.do("create", library, 1, None, [])
    assert driver.do("create", library, 0, "/dev/apex_0", ["Performance", "High"])
    assert not driver.do("create", library, 1, "/sys/bus/usb/devices/1-1", [])
    assert [("2",), ("0", "Performance=High")] == [entry.fields for entry in bus.journal("open")]
    assert [("2",), ("0",)] == [entry.fields for entry in bus.journal("close")]
    assert [None] * 3 == [each.holder() for each in bus.sticks]


def test_refuse_to_open(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """A stick that refuses is not opened; healed, it is."""
    stick.refuse_open()
    driver = start()
    with pytest.raises(RefusedError, match=r"Failed to load delegate from .*\n.*refuse"):
        driver.do("load", str(libedgetpu()), {})
    assert 0 == stick.opens
    assert ["refuse"] == [entry.event for entry in bus.journal() if entry.event != "create"]
    stick.heal()
    driver.open()
    assert 1 == stick.opens


def test_hang_in_open(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """A process that hangs in load_delegate heeds no signal but the one that kills."""
    stick.hang_open()
    driver = start()
    driver.order("load", str(libedgetpu()), {})
    assert Entry(driver.pid, "hang", ("0", "open")) == bus.wait("hang", 60)
    driver.process.send_signal(signal.SIGINT)
    driver.process.kill()
    assert (-signal.SIGKILL, "") == driver.death()


def test_crash_in_the_constructor(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """A library for another runtime: the delegate loads, the Interpreter's constructor segfaults."""
    stick.crash_constructor()
    driver = start()
    driver.do("load", str(libedgetpu()), {})
    with pytest.raises(EOFError):
        driver.do("construct", str(SMALL))
    assert -signal.SIGSEGV == driver.death()[0]
    assert [("0", "constructor")] == [entry.fields for entry in bus.journal("segfault")]


@pytest.mark.usefixtures("stick")
def test_package_too_new(start: StartDriver, bus: Bus) -> None:
    """A package compiled for a newer runtime library is refused where and in the words users report."""
    bus.versions(runtime=13, package=14)
    driver = start()
    driver.do("load", str(libedgetpu()), {})
    driver.do("construct", str(SMALL))
    with pytest.raises(RefusedError) as refusal:
        driver.do("allocate")
    assert "RuntimeError" == refusal.value.kind
    words = "Package requires runtime version (14), which is newer than this runtime version (13)"
    assert words in str(refusal.value)


@pytest.mark.parametrize(("fault", "code"), [("abort", signal.SIGABRT), ("segfault", signal.SIGSEGV)])
def test_death_at_an_invoke(start: StartDriver, bus: Bus, stick: Stick, fault: str, code: int) -> None:
    """The process dies at the invoke that was ordered, with the driver's words; the next one is well."""
    driver = start()
    driver.open()
    stick.order(fault, after=2)  # type: ignore[arg-type]
    driver.invoke()
    driver.invoke()
    with pytest.raises(EOFError):
        driver.invoke()
    death, words = driver.death()
    assert -code == death
    if fault == "abort":
        assert words.startswith("F driver/usb/usb_driver.cc:802] ")
    assert [Entry(driver.pid, fault, ("0", "2"))] == bus.journal(fault)
    assert stick.holder() is None
    other = start()
    other.open()
    other.invoke()
    assert (4, 2) == (stick.invokes, stick.opens)


def test_hang_at_an_invoke(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """The process that hangs keeps the stick until it is killed."""
    stick.order("hang", after=1)
    driver = start()
    driver.open()
    driver.invoke()
    driver.order("invoke", 0)
    assert Entry(driver.pid, "hang", ("0", "1")) == bus.wait("hang", 60)
    assert driver.pid == stick.holder()
    driver.process.kill()
    assert -signal.SIGKILL == driver.death()[0]
    assert stick.holder() is None


def test_error_at_an_invoke(start: StartDriver, stick: Stick) -> None:
    """An error status is a RuntimeError, and the interpreter goes on."""
    stick.order("error", after=1)
    driver = start()
    driver.open()
    expected = driver.invoke(5)
    with pytest.raises(RefusedError) as refusal:
        driver.invoke(5)
    assert "RuntimeError" == refusal.value.kind
    assert np.array_equal(expected, driver.invoke(5))
    assert 3 == stick.invokes


@pytest.mark.parametrize("fault", ["flip", "shift"])
def test_corrupt_from_an_invoke_on(start: StartDriver, stick: Stick, fault: str) -> None:
    """Silent corruption: right scores, from one invoke on wrong ones without a word, until healed."""
    stick.always(fault, since=1)  # type: ignore[arg-type]
    driver = start()
    driver.open()
    right = driver.invoke(5)
    wrong = right ^ 0x80 if fault == "flip" else np.roll(right, 1)
    assert [True] * 2 == [np.array_equal(wrong, driver.invoke(5)) for _ in range(2)]
    stick.heal()
    assert np.array_equal(right, driver.invoke(5))


def test_always_outlives_a_process(start: StartDriver, stick: Stick) -> None:
    """A stick that flaps kills every process at its first invoke."""
    stick.always("abort")
    for _ in range(2):
        driver = start()
        driver.open()
        with pytest.raises(EOFError):
            driver.invoke()
        assert -signal.SIGABRT == driver.death()[0]
    assert (2, 2) == (stick.opens, stick.invokes)


def test_a_schedule_goes_over_processes(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """Faults befall numbered invokes, each once, whichever process makes them; warm-ups can be spared."""
    stick.spare(1)
    stick.schedule({3: "error", 1: "abort", 2: "flip"})
    first, second = start(), start()
    first.open()
    right = first.invoke(5)
    first.invoke(5)
    with pytest.raises(EOFError):
        first.invoke(5)
    assert -signal.SIGABRT == first.death()[0]
    second.open()
    assert np.array_equal(right, second.invoke(5))
    assert np.array_equal(right ^ 0x80, second.invoke(5))
    with pytest.raises(RefusedError):
        second.invoke(5)
    assert np.array_equal(right, second.invoke(5))
    assert (5, 2) == (stick.invokes, stick.warmups)
    faults = [(entry.pid, entry.event, entry.fields[1]) for entry in bus.journal() if len(entry.fields) == 2]
    assert [(first.pid, "abort", "1"), (second.pid, "flip", "2"), (second.pid, "error", "3")] == faults


def test_wait_for_an_invoke(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """A mark does no harm and says when its invoke has begun."""
    stick.order("mark", after=1)
    driver = start()
    driver.open()
    expected = driver.invoke(5)
    assert [] == bus.journal("mark")
    assert np.array_equal(expected, driver.invoke(5))
    assert Entry(driver.pid, "mark", ("0", "1")) == bus.wait("mark", 60)


def test_slow(start: StartDriver, stick: Stick) -> None:
    """An invoke takes at least as long as was ordered: a wait never ends early, on any machine."""
    driver = start()
    driver.open()
    stick.slow(30)
    begun_s = time.monotonic()
    scores = driver.invoke(5)
    assert time.monotonic() - begun_s >= 0.03
    assert np.array_equal(fixed_scores(picture(5, SHAPE), CLASSES), scores)


def test_pulled_and_plugged_again(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """Who has the stick open when it is pulled aborts at the next invoke, also where it is back by then;
    a new process finds it once it is back.
    """
    first, second, third = start(), start(), start()
    first.open()
    first.invoke()
    stick.pull()
    with pytest.raises(EOFError):
        first.invoke()
    assert -signal.SIGABRT == first.death()[0]
    with pytest.raises(RefusedError, match="Failed to load delegate"):
        second.open()
    stick.plug()
    second.open()
    second.invoke()
    stick.pull()
    stick.plug()
    with pytest.raises(EOFError):
        second.invoke()
    assert "Not found: USB transfer error 5" in second.death()[1]
    third.open()
    third.invoke()
    assert [first.pid, second.pid] == [entry.pid for entry in bus.journal("lost")]
    assert [first.pid, second.pid, third.pid] == stick.openers()


def test_a_second_process_kills_the_first(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """As on the real stick: the second process gets it, the first aborts."""
    first, second = start(), start()
    first.open()
    first.invoke()
    second.open()
    second.invoke()
    with pytest.raises(EOFError):
        first.invoke()
    code, words = first.death()
    assert (-signal.SIGABRT, True) == (code, "HandleQueuedBulkIn" in words)
    assert [Entry(second.pid, "rob", ("0", str(first.pid)))] == bus.journal("rob")
    second.invoke()
    assert second.pid == stick.holder()


def test_a_second_process_is_refused(start: StartDriver, bus: Bus, stick: Stick) -> None:
    """An exclusive device opens for one process at a time; within it, for several interpreters."""
    stick.exclusive(refuse=True)
    first, second = start(), start()
    first.open()
    with pytest.raises(RefusedError, match="Failed to load delegate"):
        second.open()
    assert [Entry(second.pid, "busy", ("0", str(first.pid)))] == bus.journal("busy")
    first.open()
    first.invoke()
    assert first.pid == stick.holder()
    first.do("close")
    assert stick.holder() is None
    second.open()
    second.invoke()
    assert [first.pid, first.pid, second.pid] == stick.openers()


def test_each_stick_has_its_own_faults(start: StartDriver, bus: Bus) -> None:
    """What is ordered of one stick does not befall the other."""
    well, ill = bus.add("usb"), bus.add("usb")
    well.answer("fixed")
    ill.order("abort")
    first, second = start(), start()
    first.open(device="usb:0")
    second.open(device="usb:1")
    first.invoke()
    with pytest.raises(EOFError):
        second.invoke()
    first.invoke()
    assert (2, 1) == (well.invokes, ill.invokes)
    assert [first.pid, second.pid] == [each.openers()[0] for each in bus.sticks]
    assert (first.pid, None) == (well.holder(), ill.holder())


def test_fixed_scores_of_int8() -> None:
    """The codes of int8 are those of uint8 less 128, whatever the input's length."""
    unsigned, signed = (fixed_scores(picture(1, (13,)), 10, dtype) for dtype in ("uint8", "int8"))
    assert np.array_equal(unsigned.astype(int) - 128, signed)


def test_wait_for_what_does_not_happen(bus: Bus) -> None:
    """A test that waits in vain fails with the journal in its words."""
    with pytest.raises(AssertionError, match="no 'abort'"):
        bus.wait("abort", 0.01)
