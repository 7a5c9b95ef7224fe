"""An Edge TPU as others see it: in words for ``health``, and what was heard of its worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.errors import WorkerError
from edge_agent.recovery import Rung
from edge_agent.runner import Runner
from edge_agent.states import EdgeTpuState


@dataclass(frozen=True)
class StickStatus:
    """The Edge TPU as ``health`` tells it; ``device`` and ``library`` (its version) once there was one.

    ``trouble`` says why it does not serve; where it was lost, ``lost_ns`` is when (monotonic), and the cause
    of that comes first.
    """

    state: EdgeTpuState
    device: str | None
    library: str | None
    runtime: str | None
    losses: int
    recoveries: int
    rungs: Mapping[Rung, int]
    trouble: str | None
    lost_ns: int | None

    def reason(self, now_ns: int) -> str | None:
        """The trouble in words, with how long ago it began."""
        if self.trouble is None or self.lost_ns is None:
            return self.trouble
        return f"Edge TPU {self.device} lost {(now_ns - self.lost_ns) // 1_000_000_000} s ago: {self.trouble}"


@dataclass(frozen=True)
class Heard:
    """What is new of a worker: it is READY, or the error of its end."""

    runner: Runner
    ready: bool = False
    error: WorkerError | None = None
