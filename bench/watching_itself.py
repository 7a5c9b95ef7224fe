"""What it costs a frame that the agent watches itself: frozen pictures, the canary, counting for Prometheus.

    python bench/watching_itself.py

Microseconds, the median of all calls; the clock's own part is in them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.cameras.repeats import Repeats
from edge_agent.canary import Canary, CanaryRule
from edge_agent.clock import SystemClock
from edge_agent.frames import Frame
from edge_agent.metrics import Tally
from edge_agent.predictions import ModelIdentity, Prediction

SIZES = {"640x480": (480, 640, 3), "1920x1080": (1080, 1920, 3), "3840x2160": (2160, 3840, 3)}


def main() -> None:
    """Each part in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    calls = parser.parse_args().calls
    for name, shape in SIZES.items():
        pictures = np.random.default_rng(1).integers(0, 256, (2, *shape), np.uint8)
        same = [pictures[0].copy(), pictures[0].copy()]
        changing, repeated = seen(list(pictures), calls), seen(same, calls)
        print(f"frozen?  {name:<10} changing {changing:7.2f}  repeated {repeated:7.2f}")
    canary = Canary("default", CanaryRule(3600.0), SystemClock())
    serving = cast("Any", SimpleNamespace(network="a" * 64))
    print(f"canary, not due     {median(lambda _turn: canary.take(serving), calls):7.2f}")
    tally, made = Tally(), prediction()
    print(f"counted             {median(lambda _turn: tally.predicted('door', made), calls):7.2f}")


def seen(pictures: list[Any], calls: int) -> float:
    """Of two pictures in turn."""
    repeats = Repeats(3600.0)
    return median(lambda turn: repeats.see(pictures[turn % 2], turn), calls)


def prediction() -> Prediction:
    """Any."""
    model, scores = ModelIdentity("default", "finish", "0" * 12, None), np.zeros(1, np.float32)
    frame = Frame(np.zeros((1, 1, 3), np.uint8), 1, 0, 0)
    return Prediction(frame, model, "cpu", False, (), 0.1, 2.6, 3.0, scores, ("a",))


def median(work: Callable[[int], object], calls: int) -> float:
    """Microseconds per call."""
    taken = []
    for turn in range(calls):
        begun_ns = time.perf_counter_ns()
        work(turn)
        taken.append(time.perf_counter_ns() - begun_ns)
    return statistics.median(taken) / 1e3


if __name__ == "__main__":
    main()
