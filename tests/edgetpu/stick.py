"""Command the sticks that the stand-in finds, while the programs that use them run.

with Bus(tmp_path / "bus", twins={COMPILED: CPU_TWIN}) as bus:
    stick = bus.add("usb")
    ...  # start a program with bus.environment and the library libedgetpu()
    stick.order("abort", after=10)
    bus.wait("abort", timeout_s=20.0)
    stick.pull()
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import select
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np

Fault = Literal["mark", "abort", "segfault", "hang", "error", "flip", "shift"]
"""What befalls an invoke. ``flip`` turns the highest bit of every score, ``shift`` gives every score to the
next class; ``mark`` does no harm: it lets a test wait for an invoke; the others are as they are called.
"""

FAULTS = {"mark": 0, "abort": 1, "segfault": 2, "hang": 3, "error": 4, "flip": 5, "shift": 6, "refuse": 7}
KINDS = {"pci": 0, "usb": 1}
DEVICES = 8
ORDERS = 512


class _Order(ctypes.Structure):
    _fields_ = [("at", ctypes.c_uint64), ("fault", ctypes.c_uint32), ("unused", ctypes.c_uint32)]


class _Device(ctypes.Structure):
    """The mirror of ``struct device`` in standin.c."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("invokes", "warmups", "opens", "since")),
        *((name, ctypes.c_uint32) for name in ("plugged", "kind", "open_fault", "construct_fault")),
        *((name, ctypes.c_uint32) for name in ("since_fault", "spared", "slow_us", "twin", "exclusive")),
        ("owner", ctypes.c_int32),
        *((name, ctypes.c_uint32) for name in ("orders_count", "orders_next")),
        ("path", ctypes.c_char * 128),
        ("orders", _Order * ORDERS),
    ]


class _Page(ctypes.Structure):
    """The mirror of ``struct page``."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("size", "runtime_version", "package_version", "remembered")),
        ("lists", ctypes.c_uint64),
        ("devices", _Device * DEVICES),
    ]


class Entry(NamedTuple):
    """A line of the journal: which process, what happened, and to which stick or with which options.

    ``list N``; ``create [option=value ...]`` (as received); ``open N [option=value ...]`` (as honoured),
    ``refuse N``, ``busy N holder``, ``rob N robbed``, ``close N``; ``lost N`` and ``robbed N robber``, each
    just before an abort; ``twin pid``; ``hang N open``, ``segfault N constructor``; and each ordered or
    deadly fault of an invoke, as ``abort N number``.
    """

    pid: int
    event: str
    fields: tuple[str, ...]


_USB = "/sys/bus/usb/devices/2-{}"


class Bus:
    """A folder that the stand-in takes for the bus, and what happened on it."""

    def __init__(self, folder: Path, twins: Mapping[Path, Path] | None = None, paths: str = _USB) -> None:
        """Make the folder. ``twins`` leads from compiled files to their CPU twins: then the sticks give the
        twin's true scores, else :func:`fixed_scores`. ``paths`` has ``{}`` for the number of a USB stick.
        """
        folder.mkdir()
        (folder / "answers").mkdir()
        for name in ("journal", "lock"):
            (folder / name).touch()
        os.mkfifo(folder / "bell")
        pairs = [(str(compiled), str(twin)) for compiled, twin in (twins or {}).items()]
        (folder / "twins.json").write_text(json.dumps(pairs))
        (folder / "twin.py").symlink_to(Path(__file__).with_name("twin.py"))
        (folder / "page").write_bytes(bytes(ctypes.sizeof(_Page)))
        with (folder / "page").open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._page: Any = _Page.from_buffer(self._memory)
        self._page.size = ctypes.sizeof(_Page)
        self._bell = os.open(folder / "bell", os.O_RDWR | os.O_NONBLOCK)
        self._paths = paths
        self.folder = folder
        self.has_twins = bool(pairs)
        self.sticks: list[Stick] = []
        self.versions(runtime=14, package=14)

    @property
    def environment(self) -> dict[str, str]:
        """What a program's environment must hold to find the sticks."""
        return {"EDGETPU_STANDIN": str(self.folder)}

    def add(
        self, kind: Literal["usb", "pci"] = "usb", path: str | None = None, *, plugged: bool = True
    ) -> Stick:
        """One more stick, at most eight; they are enumerated in this order."""
        number = len(self.sticks)
        stick = Stick(
            self,
            number,
            kind,
            path or (f"/dev/apex_{number}" if kind == "pci" else self._paths.format(number)),
        )
        self.sticks.append(stick)
        if plugged:
            stick.plug()
        return stick

    def versions(self, *, runtime: int, package: int) -> None:
        """The library's runtime version, and the one that every compiled package asks for."""
        self._page.runtime_version, self._page.package_version = runtime, package

    @property
    def lists(self) -> int:
        """How often devices were listed by ``edgetpu_list_devices``."""
        return int(self._page.lists)

    def journal(self, event: str | None = None) -> list[Entry]:
        """What happened, in order; only ``event``."""
        entries = []
        for line in (self.folder / "journal").read_text().splitlines():
            pid, name, *fields = line.split("\t")
            if event in (None, name):
                entries.append(Entry(int(pid), name, tuple(fields)))
        return entries

    def wait(self, event: str, timeout_s: float, *, count: int = 1) -> Entry:
        """The ``count``-th event of this name since the bus was made, once it has happened."""
        end_s = time.monotonic() + timeout_s
        while len(entries := self.journal(event)) < count:
            left_s = max(end_s - time.monotonic(), 0.0)
            assert select.select([self._bell], [], [], left_s)[0], (
                f"no {event!r} in {timeout_s} s: {self.journal()}"
            )
            os.read(self._bell, 65536)
        return entries[count - 1]

    def device(self, number: int) -> Any:
        """The part of the page that is this stick's."""
        return self._page.devices[number]

    def close(self) -> None:
        """Give memory and descriptors back; programs that run keep the last commands."""
        os.close(self._bell)
        self._page = None
        self._memory.close()

    def __enter__(self) -> Bus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Stick:
    """One device; made by :meth:`Bus.add`. Every command holds from the next open or invoke on."""

    def __init__(self, bus: Bus, number: int, kind: str, path: str) -> None:
        self._bus = bus
        self.number = number
        self.path = path
        self._plugged = 0
        self._device.kind, self._device.path = KINDS[kind], path.encode()
        self.heal()
        self.exclusive(refuse=False)
        self.answer("twin" if bus.has_twins else "fixed")

    @property
    def _device(self) -> Any:
        return self._bus.device(self.number)

    # Being there

    def plug(self) -> None:
        """Present; whoever had it open before it was pulled has lost it still."""
        self._plugged += 1
        self._device.plugged = self._plugged

    def pull(self) -> None:
        """Absent: the process that has it open aborts at its next invoke."""
        self._device.plugged = 0

    def exclusive(self, *, refuse: bool) -> None:
        """A second process that opens it is refused, or gets it, and the first aborts at its next invoke:
        that is what the real stick does, and the default.
        """
        self._device.exclusive = int(refuse)

    # What it answers

    def answer(self, how: Literal["twin", "fixed"]) -> None:
        """The CPU twin's true scores, or :func:`fixed_scores`, which need no twin."""
        self._device.twin = int(how == "twin")

    def slow(self, milliseconds: float) -> None:
        """Every invoke takes so much longer."""
        self._device.slow_us = int(milliseconds * 1000)

    # Faults

    def refuse_open(self) -> None:
        """``load_delegate`` fails."""
        self._device.open_fault = FAULTS["refuse"]

    def hang_open(self) -> None:
        """``load_delegate`` never returns; only a signal that kills ends the process."""
        self._device.open_fault = FAULTS["hang"]

    def crash_constructor(self) -> None:
        """The Interpreter's constructor ends the process by SIGSEGV: a library for another runtime."""
        self._device.construct_fault = FAULTS["segfault"]

    def always(self, fault: Fault, *, since: int = 0) -> None:
        """``fault`` befalls every invoke from number ``since`` on, counted from 0 as :attr:`invokes`."""
        self._device.since_fault = FAULTS["mark"]
        self._device.since = since
        self._device.since_fault = FAULTS[fault]

    def order(self, fault: Fault, *, after: int = 0) -> None:
        """``fault`` befalls one invoke, once ``after`` more have begun; earlier orders are forgotten."""
        self.schedule({self.invokes + after: fault})

    def schedule(self, faults: Mapping[int, Fault]) -> None:
        """Each fault befalls one invoke, by its number as :attr:`invokes` counts them; at most 512.

        Takes the place of what was ordered before.
        """
        device = self._device
        # Count last: a process that looks in between finds none.
        device.orders_count = device.orders_next = 0
        for place, (at, fault) in enumerate(sorted(faults.items())):
            device.orders[place].at, device.orders[place].fault = at, FAULTS[fault]
        device.orders_count = len(faults)

    def spare(self, first: int) -> None:
        """No fault befalls the ``first`` invokes of each network opened, nor do they count as
        :attr:`invokes`: a worker's warm-up and proof.
        """
        self._device.spared = first

    def heal(self) -> None:
        """No fault, no delay; the numbers go on."""
        device = self._device
        device.orders_count = device.since_fault = device.open_fault = device.construct_fault = 0
        device.slow_us = 0

    # What was seen

    @property
    def invokes(self) -> int:
        """How many invokes have begun over all processes, the spared ones not counted: the number of
        the next one.
        """
        return int(self._device.invokes)

    @property
    def warmups(self) -> int:
        """How many invokes were spared."""
        return int(self._device.warmups)

    @property
    def opens(self) -> int:
        """How often it was opened, over all processes."""
        return int(self._device.opens)

    def holder(self) -> int | None:
        """The pid of the living process that has it open."""
        with (self._bus.folder / "lock").open("r+b") as file:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, self.number, 1, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else int(pid)

    def openers(self) -> list[int]:
        """The pids that opened it, in order, one for each time."""
        return [entry.pid for entry in self._bus.journal("open") if entry.fields[0] == str(self.number)]


_FLOCK = struct.Struct("hhqqi4x")


def fixed_scores(tensor: Iterable[Any] | np.ndarray, classes: int, dtype: str = "uint8") -> np.ndarray:
    """What a stick that answers ``fixed`` gives for an input ``tensor``: (``classes``,) of uint8 or int8.

    One class near certain, the others near nothing.
    """
    content = np.ascontiguousarray(tensor).tobytes()
    words = np.frombuffer(content + bytes(-len(content) % 8), np.uint64)
    odd = np.arange(len(words), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = (len(content) + int((words * odd).sum(dtype=np.uint64))) & _ALL
    mixed = ((mixed ^ mixed >> 32) * 0x9E3779B97F4A7C15) & _ALL
    seed = mixed ^ mixed >> 29
    codes = np.array([seed >> i % 7 * 9 & 0x0F for i in range(classes)], np.uint8)
    codes[seed % classes] = 0xFF
    return codes if dtype == "uint8" else (codes ^ np.uint8(0x80)).view(np.int8)


_ALL = (1 << 64) - 1
