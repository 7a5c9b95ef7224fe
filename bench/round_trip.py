"""What a process of its own costs a tensor: the round trip to a worker and back, minus the time in invoke().

    python bench/round_trip.py MODEL.tflite MODEL_edgetpu.tflite

The Edge TPU's worker runs on the tests' stand-in for libedgetpu, compiled here where there is gcc: its
invoke() takes as long as it is told to, the rest of the way is that of a real stick. ``alone``: nothing
overlaps, a request is submitted when the last one was answered. ``two in flight``: from answer to answer, as
a lane does it. Rounds are interleaved; median and 99th percentile are over all of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.clock import SystemClock
from edge_agent.runner import Runner
from edge_agent.sealed import SealedFile
from edge_agent.worker_process import WorkerSettings
from tests.edgetpu.build import libedgetpu
from tests.edgetpu.stick import Bus

NETWORK = "model"
TIMEOUT_S = 30.0
WARM_UP = 20


def main() -> None:
    """Start the workers, then the rounds, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("compiled", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500, help="in each round of each worker")
    parser.add_argument("--stick-ms", type=float, default=2.6, help="how long the stand-in's invoke() takes")
    options = parser.parse_args()

    with ExitStack() as stack:
        workers = {
            f"CPU, threads = {threads or 'all'}": start(stack, options.model, WorkerSettings(threads=threads))
            for threads in (1, 0)
        }
        if shutil.which("gcc") is not None:
            workers["Edge TPU (stand-in)"] = start_on_stick(stack, options.compiled, options.stick_ms)
        alone: dict[str, list[float]] = {name: [] for name in workers}
        paired: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(options.rounds):
            for name, runner in workers.items():
                alone[name] += round_alone(runner, options.requests)
                paired[name] += round_in_pairs(runner, options.requests)
    print(f"| ms over invoke(), {options.rounds} x {options.requests} | alone | two in flight |")
    print("|---|---|---|")
    for name in workers:
        print(f"| {name} | {said_of(alone[name])} | {said_of(paired[name])} |")


def start(stack: ExitStack, model: Path, settings: WorkerSettings) -> Runner:
    """A READY worker."""
    file = SealedFile(model.read_bytes(), model.name)
    stack.callback(file.close)
    runner = Runner({NETWORK: file}, settings, SystemClock())
    stack.callback(runner.retire)
    runner.wait_ready()
    return runner


def start_on_stick(stack: ExitStack, compiled: Path, stick_ms: float) -> Runner:
    """A READY worker on the stand-in."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    bus = stack.enter_context(Bus(Path(folder) / "bus"))
    os.environ.update(bus.environment)
    stick = bus.add("usb")
    runner = start(
        stack,
        compiled,
        WorkerSettings(library=str(libedgetpu()), delegate_options=(("device", "usb:0"),)),
    )
    stick.slow(stick_ms)
    return runner


def round_alone(runner: Runner, count: int) -> list[float]:
    """Ms over invoke() of each request, submitted when the last one was answered."""
    place = runner.place(NETWORK)
    spent = []
    for _ in range(count + WARM_UP):
        start_ns = time.perf_counter_ns()
        answer = runner.receive(runner.submit(place, TIMEOUT_S), TIMEOUT_S)
        spent.append((time.perf_counter_ns() - start_ns) / 1e6 - answer.inference_ms)
    return spent[WARM_UP:]


def round_in_pairs(runner: Runner, count: int) -> list[float]:
    """Ms over invoke() from answer to answer, with two requests in flight."""
    spent = list(_answers_in_pairs(runner, count + WARM_UP))
    return spent[WARM_UP:]


def _answers_in_pairs(runner: Runner, count: int) -> Iterator[float]:
    places = [runner.place(NETWORK), runner.place(NETWORK)]
    requests = [runner.submit(place, TIMEOUT_S) for place in places]
    last_ns = time.perf_counter_ns()
    for turn in range(count):
        answer = runner.receive(requests[turn % 2], TIMEOUT_S)
        now_ns = time.perf_counter_ns()
        yield (now_ns - last_ns) / 1e6 - answer.inference_ms
        last_ns = now_ns
        requests[turn % 2] = runner.submit(places[turn % 2], TIMEOUT_S)
    for request in requests:
        runner.receive(request, TIMEOUT_S)


def said_of(milliseconds: list[float]) -> str:
    """Median and 99th percentile."""
    worst = statistics.quantiles(milliseconds, n=100)[-1]
    return f"{statistics.median(milliseconds):.3f} (p99 {worst:.3f})"


if __name__ == "__main__":
    main()
