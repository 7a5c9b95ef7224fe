"""The Edge TPU: whether libedgetpu lists it, and whether it fits the runtime, tried in a throw-away worker.

A stick is opened only while its lock is held here and no other process has it open: a second process on a
stick ends the first one's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.bus import Stick, sticks
from edge_agent.clock import Clock
from edge_agent.doctor import library, usb
from edge_agent.doctor.findings import Finding, Level
from edge_agent.doctor.machine import Machine, holder
from edge_agent.edgetpu import (
    LIBRARY,
    Device,
    DeviceLock,
    Listing,
    delegate_options,
    is_misfit,
    list_devices,
    runtimes,
)
from edge_agent.errors import (
    DeviceBusyError,
    ModelRefusedError,
    RuntimeMissingError,
    WorkerDiedError,
    WorkerError,
    WorkerStartError,
    WorkerStuckError,
    ending,
)
from edge_agent.kernel_files import read_text
from edge_agent.runner import Ready, Runner
from edge_agent.sealed import SealedFile
from edge_agent.worker_process import WorkerSettings

NETWORK = "proof"


@dataclass(frozen=True)
class Setup:
    """What is to work together: the worker as it would be started (its ``library`` None: the system's), the
    ``device`` as configured, and models compiled for it.
    """

    worker: WorkerSettings = dataclasses.field(default_factory=WorkerSettings)
    device: str = "auto"
    performance: str = "max"
    models: tuple[SealedFile, ...] = ()

    @property
    def library(self) -> str:
        """Libedgetpu's name or path."""
        return self.worker.library or LIBRARY


def look(machine: Machine, setup: Setup, clock: Clock) -> Iterator[Finding]:
    """``libedgetpu``, ``stick``, ``access``, ``speed``, ``in-use``, ``listing`` and ``pair``, as far as each
    has what it needs.
    """
    absent: Level = "note" if setup.device == "cpu" else "problem"
    loaded = library.look(machine, setup.library, absent)
    yield loaded
    found = sticks(machine.sys, machine.dev)
    if not found:
        yield _no_stick(absent)
        return
    opened = True
    for stick in found:
        yield Finding("stick", "ok", f"an Edge TPU on {stick.kind}: {stick.path}")
        for finding in usb.look(machine, stick):
            opened &= finding.name != "access" or finding.level != "problem"
            yield finding
    if loaded.level == "ok" and opened:
        yield from _ask_the_sticks(machine, found, setup, clock)


def _no_stick(level: Level) -> Finding:
    return Finding(
        "stick",
        level,
        "the kernel sees no Edge TPU (USB 1a6e:089a or 18d1:9302, or /dev/apex_*)",
        "the CPU serves, at its speed",
        "plug the stick in, or try another port and cable; without one, set inference.device to cpu",
    )


def _ask_the_sticks(machine: Machine, found: list[Stick], setup: Setup, clock: Clock) -> Iterator[Finding]:
    with contextlib.ExitStack() as held:
        for number, stick in enumerate(found):
            busy = _take(machine, stick, number, held)
            if busy is not None:
                yield busy
                return
        yield Finding("in-use", "ok", "no other process has the stick")
        try:
            listing = list_devices(setup.library)
        except WorkerStartError as error:
            why = "nothing can run on the Edge TPU"
            yield Finding("listing", "problem", error.what, why, error.remedy or "plug the stick in again")
            return
        device = next(iter(listing.fitting(setup.device)), None)
        yield _listed(listing, len(found), device, setup)
        if device is not None:
            yield from _prove_all(machine, device, setup, clock)


def _take(machine: Machine, stick: Stick, number: int, held: contextlib.ExitStack) -> Finding | None:
    """Lock the stick, or say who has it."""
    why = "a second process on a stick ends the first one's, so nothing was opened: neither were devices "
    why += "listed, nor was libedgetpu tried with the runtime"
    try:
        lock = DeviceLock.acquire(Device(stick.kind, number, stick.path), machine.locks)
    except DeviceBusyError as error:
        if error.pid is None:
            return Finding("in-use", "problem", error.what, why, "look as the user that the agent runs as")
        return _in_use(machine, stick, error.pid, why)
    held.callback(lock.close)
    # Programs other than edge-agent take no lock.
    pid = holder(machine, stick.node)
    return None if pid is None else _in_use(machine, stick, pid, why)


def _in_use(machine: Machine, stick: Stick, pid: int, why: str) -> Finding:
    name = read_text(machine.proc / str(pid) / "comm")
    found = f"{stick.path} is in use by pid {pid}" + (f" ({name})" if name else "")
    return Finding("in-use", "note", found, why, f"to have the rest looked at, stop pid {pid} and ask again")


def _listed(listing: Listing, seen: int, device: Device | None, setup: Setup) -> Finding:
    names = ", ".join(each.name for each in listing.devices) or "no device"
    found = f"libedgetpu lists {names}"
    if device is None and listing.devices:
        why = f"inference.device is {setup.device}"
        return Finding("listing", "problem", found, why, "set inference.device to one of them, or to auto")
    if len(listing.devices) < seen:
        return Finding(
            "listing",
            "problem",
            f"{found}, the kernel {seen}",
            "what libedgetpu does not list cannot be opened: it is wedged, or taken by another program",
            "plug the stick in again; if that does not help, restart the board",
        )
    return Finding("listing", "ok", found)


def _prove_all(machine: Machine, device: Device, setup: Setup, clock: Clock) -> Iterator[Finding]:
    if not setup.models:
        yield Finding(
            "pair",
            "note",
            "whether libedgetpu fits the runtime could not be proven: no compiled model was given",
            "a pair that does not fit ends by a segmentation fault once a model is loaded",
            "give one, or a configuration whose bundles have one",
            "edge-agent doctor --model MODEL_edgetpu.tflite",
        )
    for model in setup.models:
        yield prove(machine, model, device, setup, clock)


def prove(machine: Machine, model: SealedFile, device: Device, setup: Setup, clock: Clock) -> Finding:
    """Run ``model`` once on ``device`` in a worker of its own: the finding ``pair``.

    Where any runtime will do, each is tried until libedgetpu fits one, as the agent does.
    """
    misfits: list[WorkerError] = []
    for runtime in runtimes(setup.worker.runtime):
        try:
            ready = _run_once(model, device, setup, runtime, clock)
        except WorkerError as error:
            if not is_misfit(error):
                return _unproven(machine, model, device, setup, error)
            misfits.append(error)
        else:
            warm_ms = ready.networks[NETWORK].warm_ms
            found = f"{setup.library} and {ready.runtime} run {model.name} on {device.name}"
            return Finding("pair", "ok", f"{found}, the first time in {warm_ms:.1f} ms")
    # That a runtime is not installed tells less than how another one failed.
    misfits.sort(key=lambda error: isinstance(error, RuntimeMissingError))
    return _unproven(machine, model, device, setup, misfits[0])


def _run_once(model: SealedFile, device: Device, setup: Setup, runtime: str, clock: Clock) -> Ready:
    options = delegate_options(device, setup.performance)
    settings = dataclasses.replace(
        setup.worker, runtime=runtime, library=setup.library, delegate_options=options
    )
    runner = Runner({NETWORK: model}, settings, clock)
    try:
        return runner.wait_ready()
    finally:
        runner.retire()


def _unproven(
    machine: Machine, model: SealedFile, device: Device, setup: Setup, error: WorkerError
) -> Finding:
    found = f"{model.name} on {device.name}"
    code = error.returncode if isinstance(error, WorkerDiedError) else 0
    refused = error.what if isinstance(error, ModelRefusedError) else ""
    if is_misfit(error) and not isinstance(error, RuntimeMissingError):
        said = ending(code) if code else error.what
        return _misfit(machine, f"{found}: {said}: this libedgetpu was built for another runtime")
    if "requires runtime version" in refused:
        remedy = "compile the model for an older runtime, or install a newer libedgetpu"
        fix = f"edgetpu_compiler --min_runtime_version 13 {_uncompiled(model.name)}"
        return Finding("pair", "problem", f"{found}: {refused}", "the model cannot run", remedy, fix)
    why = "the CPU serves instead"
    if isinstance(error, WorkerStuckError) or code == -signal.SIGALRM:
        found += f": no answer within {setup.worker.start_timeout_s:g} s: the stick is wedged"
        return Finding("pair", "problem", found, why, "plug the stick in again")
    if code == -signal.SIGABRT:
        remedy = "try another cable and port, and a powered hub: libedgetpu aborts when a USB transfer fails"
        return Finding("pair", "problem", f"{found}: {error.what}", why, remedy)
    remedy = error.remedy or "compile the model again with edgetpu_compiler"
    return Finding("pair", "problem", f"{found}: {error.what}", why, remedy)


def _misfit(machine: Machine, found: str) -> Finding:
    remedy, fix = library.how_to_install(machine)
    own = "or give the stick a Python of its own whose runtime this libedgetpu fits (inference.python)"
    why = "libedgetpu must be of the runtime's own TensorFlow generation; until then only the CPU serves"
    return Finding("pair", "problem", found, why, f"{remedy}; {own}" if remedy else own, fix)


def _uncompiled(name: str) -> str:
    return os.path.basename(name).replace("_edgetpu.tflite", ".tflite")  # noqa: PTH119
