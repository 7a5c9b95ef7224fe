"""How an Edge TPU is to be used, and the worker on it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.edgetpu.devices import LIBRARY, Device
from edge_agent.edgetpu.taking import Taken
from edge_agent.errors import ModelRefusedError, RuntimeMissingError, WorkerDiedError, WorkerError, ending
from edge_agent.recovery import Ladder
from edge_agent.worker_process import WorkerSettings

MISFIT = (
    "this libedgetpu was built for another runtime; install libedgetpu1-std built on TensorFlow 2.19 or "
    "newer (edge-agent doctor names the package), or give the stick a Python of its own whose runtime it "
    "fits (inference.python)"
)
"""What a pair of libedgetpu and runtime amounts to that does not fit, and what helps."""


@dataclass(frozen=True)
class EdgeTpuSettings:
    """What the configuration says of the Edge TPU.

    ``wanted`` is auto, edgetpu or the like of edgetpu:usb:0; ``library`` libedgetpu's name or path;
    ``performance`` low, medium, high or max. While there is no device one is looked for every
    ``look_every_s``. Every ``cross_check_every``-th frame (0: none) also runs on the CPU, and an agreement
    below ``cross_check_agreement`` (0..1) is a loss. The worker on it: see WorkerSettings.
    """

    wanted: str = "auto"
    library: str = LIBRARY
    performance: str = "max"
    look_every_s: float = 30.0
    recovery: Ladder = field(default_factory=Ladder)
    cross_check_every: int = 0
    cross_check_agreement: float = 0.875
    runtime: str = "auto"
    python: str | None = None
    threads: int = 0
    start_timeout_s: float = 30.0


def worker_settings(settings: EdgeTpuSettings, taken: Taken, runtime: str) -> WorkerSettings:
    """How the worker on that device is started, with that runtime; it shares the device's lock."""
    return WorkerSettings(
        runtime=runtime,
        threads=settings.threads,
        python=settings.python,
        start_timeout_s=settings.start_timeout_s,
        library=settings.library,
        delegate_options=delegate_options(taken.device, settings.performance),
        inherits=(taken.lock.fileno(),),
    )


def delegate_options(device: Device, performance: str) -> tuple[tuple[str, str], ...]:
    """What libedgetpu's plugin is given: it takes Low to Max, for a device named by index only."""
    return (("device", device.name), ("Performance", performance.capitalize()))


MISFIT_SIGNALS = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL)
"""How a process ends in which a libedgetpu meets a runtime that it was not built for: the runtime calls
through a table of functions that has another layout there (google-coral/libedgetpu#53).
"""


RUNTIMES = ("litert", "tflite-runtime")


def runtimes(wanted: str) -> tuple[str, ...]:
    """The runtimes to try with libedgetpu, in this order: with ``auto`` the first that it fits is the one."""
    return RUNTIMES if wanted == "auto" else (wanted,)


def misfit(library: str, tried: Mapping[str, WorkerError]) -> str:
    """What to tell where none of the runtimes that were ``tried`` goes with ``library``, with what helps."""
    ended = {
        runtime: ending(error.returncode) if isinstance(error, WorkerDiedError) else error.what
        for runtime, error in tried.items()
    }
    shown = "; ".join(f"{runtime}: {how}" for runtime, how in ended.items())
    missing = [error for error in tried.values() if isinstance(error, RuntimeMissingError)]
    remedy = str(missing[0].remedy) if len(missing) == len(tried) else MISFIT
    return f"{library} fits no runtime here ({shown}); {remedy}"


def is_misfit(error: WorkerError) -> bool:
    """Whether another runtime may do what a worker that could not start has failed at: there was none, it
    ended by one of those signals, or its runtime does not know the delegate's operator.
    """
    if isinstance(error, RuntimeMissingError):
        return True
    if isinstance(error, WorkerDiedError):
        return error.returncode in MISFIT_SIGNALS
    return isinstance(error, ModelRefusedError) and "unresolved custom op" in error.what
