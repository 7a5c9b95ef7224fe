"""edge_agent.edgetpu: which devices there are, who may open one, and the worker on it.

Stood in for: libedgetpu and its sticks (`tests.edgetpu`). Real: the child that lists, and the locks.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import edgetpu
from edge_agent.edgetpu import Device, DeviceLock, EdgeTpuSettings, Taken, is_misfit, list_devices
from edge_agent.errors import (
    DeviceBusyError,
    ModelRefusedError,
    NoDeviceError,
    WorkerDiedError,
    WorkerError,
    WorkerStartError,
    WorkerStuckError,
)
from edge_agent.worker_process import WorkerSettings
from tests.edgetpu import Bus, libedgetpu
from tests.processes import Watched

FIRST, SECOND = (Device("usb", index, f"/sys/bus/usb/devices/2-{index}") for index in range(2))


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """A bus without sticks, found by the children of this process."""
    with Bus(tmp_path / "bus") as bus:
        for name, value in bus.environment.items():
            monkeypatch.setenv(name, value)
        yield bus


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """The folder of the locks."""
    folder = tmp_path / "locks"
    folder.mkdir()
    return folder


def take(locks: Path, wanted: str = "auto", held: Taken | None = None) -> Taken:
    """With the stand-in."""
    return edgetpu.take(wanted, str(libedgetpu()), held, locks)


# Listing


def test_every_device_is_listed_by_kind_and_index(bus: Bus) -> None:
    """An index counts per kind, as libedgetpu's options do."""
    for kind in ("usb", "pci", "usb"):
        bus.add(kind)
    listing = list_devices(str(libedgetpu()))
    assert {"usb:0", "usb:1", "pci:0"} == {device.name for device in listing.devices}
    assert "RuntimeVersion(14)" in listing.version


def hanging_library(tmp_path: Path) -> Path:
    """A library that is never loaded: a FIFO, of which the loader waits for the other end."""
    library = tmp_path / "libedgetpu.so.1"
    os.mkfifo(library)
    return library


def test_a_listing_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A wedged stick must not hold up whoever asks."""
    library = hanging_library(tmp_path)
    with pytest.raises(WorkerStartError, match=r"lists no devices within 0.5 s; unplug the stick"):
        list_devices(str(library), timeout_s=0.5)


def test_a_listing_does_not_outlive_who_asked(tmp_path: Path) -> None:
    """A child that stays behind, its library in the midst of the bus, would meet the next one there."""
    library = hanging_library(tmp_path)
    program = f"from edge_agent.edgetpu import list_devices; list_devices({str(library)!r}, 600.0)"
    asking = subprocess.Popen([sys.executable, "-c", program])
    # The library must be there to be opened, and the child must have come that far.
    writing = os.open(library, os.O_WRONLY)
    asking.kill()
    asking.wait(30)
    assert nobody_reads(writing)


def test_a_listing_ends_itself(tmp_path: Path) -> None:
    """Even where its parent lives on and forgot it, the kernel's clock runs out."""
    library = hanging_library(tmp_path)
    command = [sys.executable, "-P", "-m", "edge_agent.worker.devices", str(library), "1"]
    assert -signal.SIGALRM == subprocess.run(command, check=False, timeout=60).returncode


def nobody_reads(descriptor: int) -> bool:
    """Once the other end of the pipe is closed."""
    poller = select.poll()
    poller.register(descriptor, 0)
    closed = poller.poll(30_000) == [(descriptor, select.POLLERR)]
    os.close(descriptor)
    return closed


# Taking


def test_the_first_that_fits_is_taken(bus: Bus, locks: Path) -> None:
    """It is ours until it is given back; what else there is is told too."""
    first, second = bus.add(), bus.add()
    taken = take(locks)
    assert first.path == taken.device.path
    assert (first.path, second.path) == tuple(device.path for device in taken.listed)
    with pytest.raises(DeviceBusyError):
        DeviceLock.acquire(taken.device, locks)
    taken.close()
    DeviceLock.acquire(taken.device, locks).close()


def test_no_device_is_opened(bus: Bus, locks: Path) -> None:
    """Taking asks and locks; to open is the worker's."""
    stick = bus.add()
    take(locks).close()
    assert 0 == stick.opens


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("auto", "usb:0"), ("edgetpu", "usb:0"), ("edgetpu:usb:1", "usb:1"), ("edgetpu:pci:0", "pci:0")],
)
def test_one_may_be_named(bus: Bus, locks: Path, wanted: str, name: str) -> None:
    """By kind and index; else any will do."""
    for kind in ("usb", "usb", "pci"):
        bus.add(kind)
    taken = take(locks, wanted)
    assert name == taken.device.name
    taken.close()


def test_a_device_in_use_is_passed_over(bus: Bus, locks: Path) -> None:
    """Two agents on a machine share its sticks out by themselves."""
    bus.add()
    second = bus.add()
    mine, theirs = take(locks), take(locks)
    assert second.path == theirs.device.path
    with pytest.raises(DeviceBusyError, match=f"usb:0 is in use by pid {os.getpid()}"):
        take(locks)
    with pytest.raises(DeviceBusyError, match="usb:1 is in use"):
        take(locks, "edgetpu:usb:1")
    mine.close()
    theirs.close()


def test_a_held_device_is_kept_while_it_is_listed(bus: Bus, locks: Path) -> None:
    """Under its present index, which changes as others come and go; its lock was never free."""
    first, second = bus.add(), bus.add()
    held = take(locks, "edgetpu:usb:1")
    first.pull()
    taken = take(locks, held=held)
    assert ("usb:0", second.path) == (taken.device.name, taken.device.path)
    assert taken.lock is held.lock
    first.plug()
    kept = take(locks, held=taken)
    assert ("usb:1", second.path) == (kept.device.name, kept.device.path)
    kept.close()


def test_a_held_device_that_is_gone_is_given_back(bus: Bus, locks: Path) -> None:
    """For another, or for nothing."""
    first, second = bus.add(), bus.add()
    held = take(locks)
    first.pull()
    taken = take(locks, held=held)
    assert second.path == taken.device.path
    DeviceLock.acquire(held.device, locks).close()
    second.pull()
    with pytest.raises(NoDeviceError):
        take(locks, held=taken)
    DeviceLock.acquire(taken.device, locks).close()


def test_giving_back_twice_is_once(bus: Bus, locks: Path) -> None:
    """A descriptor's number may belong to another file by then."""
    bus.add()
    taken = take(locks)
    taken.close()
    other = os.open(locks, os.O_RDONLY)
    taken.close()
    os.close(other)


@pytest.mark.usefixtures("bus")
def test_no_device_is_told(locks: Path) -> None:
    """Absence has its reason, and a way on."""
    with pytest.raises(NoDeviceError, match=r"no Edge TPU is there; plug one in"):
        take(locks)


def test_a_device_of_another_name_is_told(bus: Bus, locks: Path) -> None:
    """With the names of those that are there."""
    bus.add()
    with pytest.raises(NoDeviceError, match=r"no Edge TPU usb:3 is there, only usb:0"):
        take(locks, "edgetpu:usb:3")


def test_a_missing_library_is_told(tmp_path: Path) -> None:
    """By name, with what to install."""
    with pytest.raises(NoDeviceError, match=r"no libnone.so.1 is installed; install libedgetpu1-std"):
        edgetpu.take("auto", "libnone.so.1", None, tmp_path)


def test_a_library_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    """In the loader's words: it is for another system, or lacks another library."""
    library = tmp_path / "libedgetpu.so.1"
    library.write_text("not a library")
    with pytest.raises(NoDeviceError, match=r"libedgetpu.so.1 cannot be loaded .*(too short|invalid ELF)"):
        edgetpu.take("auto", str(library), None, tmp_path)


def test_a_library_for_another_processor_is_told(tmp_path: Path) -> None:
    """The loader says that there is no such file; whoever sees it in its folder must not be told so."""
    content = bytearray(libedgetpu().read_bytes())
    content[18:20] = b"\x2a\x00"  # of an ELF file: a SuperH, which nobody has
    library = tmp_path / "libedgetpu.so.1"
    library.write_bytes(content)
    with pytest.raises(NoDeviceError, match=r"libedgetpu\.so\.1 is for another kind of processor"):
        list_devices(str(library))


def test_a_library_that_is_quiet_is_told(tmp_path: Path) -> None:
    """It ends the child before that can say anything, as if all were well."""
    source = tmp_path / "quiet.c"
    source.write_text("void _exit(int); __attribute__((constructor)) void start(void) { _exit(0); }")
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path / "libquiet.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    with pytest.raises(WorkerStartError, match=r"said nothing sensible") as caught:
        list_devices(str(library))
    assert caught.value.remedy is not None


def test_a_library_that_ends_the_child_is_told(tmp_path: Path, locks: Path) -> None:
    """What it does to whoever asks it; the device stays held, for it is ours and on the bus."""
    source = tmp_path / "abort.c"
    source.write_text("#include <stdlib.h>\nvoid edgetpu_free_devices() {}\nvoid edgetpu_version() {}\n")
    with source.open("a") as file:
        file.write("void edgetpu_list_devices() { abort(); }\n")
    if subprocess.call(["sh", "-c", "command -v gcc"], stdout=subprocess.DEVNULL):
        pytest.skip("gcc is not installed")
    library = tmp_path / "libabort.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", library, source], check=True)
    held = Taken(FIRST, DeviceLock.acquire(FIRST, locks), "", (FIRST,))
    with pytest.raises(WorkerStartError, match=r"ended by SIGABRT"):
        edgetpu.take("auto", str(library), held, locks)
    with pytest.raises(DeviceBusyError):
        DeviceLock.acquire(FIRST, locks)
    held.close()


# The worker


ABANDON = """
import subprocess, sys
from pathlib import Path
from edge_agent.edgetpu import Device, DeviceLock
lock = DeviceLock.acquire(Device("usb", 0, "/sys/bus/usb/devices/2-0"), Path(sys.argv[1]))
left = subprocess.Popen(["sleep", "600"], stdout=-3, stderr=-3, pass_fds=[lock.fileno()])
print(left.pid)
"""
"""Take a lock and end, but for a child that inherited it."""


def test_a_lock_is_held_by_whoever_inherited_it(locks: Path) -> None:
    """A device is not free before the last process is gone that may have it open; that is waited for."""
    said = subprocess.run([sys.executable, "-c", ABANDON, locks], check=True, capture_output=True).stdout
    left = Watched(int(said))
    with pytest.raises(DeviceBusyError) as caught:
        DeviceLock.acquire(FIRST, locks)
    assert left.pid != caught.value.pid
    waiting = threading.Timer(0.1, left.send, [signal.SIGKILL])
    waiting.start()
    DeviceLock.acquire(FIRST, locks).close()
    waiting.join()
    left.close()


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from edge_agent.edgetpu import Device, DeviceLock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
device, folder = Device("usb", 0, "/sys/bus/usb/devices/2-0"), Path(sys.argv[1])
for _ in range(2):
    DeviceLock.acquire(device, folder).close()
lock = DeviceLock.acquire(device, folder)
try:
    DeviceLock.acquire(device, folder)
except Exception as error:
    print(error)
"""
"""Take the lock, again and again, where no file may grow."""


def test_a_full_disk_hinders_no_lock(locks: Path) -> None:
    """It holds, and is given back; only who has it cannot be written down."""
    said = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, locks], check=True, capture_output=True)
    assert b"Edge TPU usb:0 cannot be locked (in use)" in said.stdout


def test_the_worker_runs_on_the_taken_device(locks: Path) -> None:
    """Named by index, for Performance holds for no other name, and spelt as libedgetpu spells it.

    It keeps the lock.
    """
    settings = EdgeTpuSettings(
        library="/opt/libedgetpu.so", performance="low", python="/opt/python", threads=2, start_timeout_s=9.0
    )
    taken = Taken(SECOND, DeviceLock.acquire(SECOND, locks), "", (FIRST, SECOND))
    expected = WorkerSettings(
        runtime="litert",
        threads=2,
        python="/opt/python",
        start_timeout_s=9.0,
        library="/opt/libedgetpu.so",
        delegate_options=(("device", "usb:1"), ("Performance", "Low")),
        inherits=(taken.lock.fileno(),),
    )
    assert expected == edgetpu.worker_settings(settings, taken, "litert")
    taken.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WorkerDiedError(1, -signal.SIGSEGV), True),
        (WorkerDiedError(1, -signal.SIGBUS), True),
        (ModelRefusedError("Encountered unresolved custom op: edgetpu-custom-op"), True),
        (WorkerDiedError(1, -signal.SIGABRT), False),
        (WorkerDiedError(1, None), False),
        (ModelRefusedError("requires runtime version 14"), False),
        (WorkerStuckError(1, 2.0), False),
    ],
)
def test_a_misfit_is_known_by_how_the_worker_ends(error: WorkerError, expected: bool) -> None:
    """Another package helps there; an abort is the cable's, a hang the stick's."""
    assert expected == is_misfit(error)
