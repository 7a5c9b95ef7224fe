"""An Edge TPU that is lost again and again, under an agent at full speed: what a frame waits, what leaks.

    python bench/edgetpu_losses.py latency
    python bench/edgetpu_losses.py endurance

Driven: the real program, mosquitto, and the tests' stand-in for libedgetpu, whose workers abort and hang for
real. ``latency``: how late the frame is that a worker was lost with; under the whole agent, and under
supervisor and lane alone. ``endurance``: losses in a row with no pause worth the name between them, and what
the agent holds meanwhile. Both check every answer. They need the tests' data, mosquitto and gcc.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytest

from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.recovery import Ladder
from edge_agent.vetting import vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests import losses
from tests.agents import TOPICS, Agent, Clocked, sturdy_broker
from tests.desks import CLOCK, Desk
from tests.edgetpu import Stick, libedgetpu
from tests.edgetpu.stick import Fault
from tests.sticks import CPU_LARGE, CPU_SMALL, LARGE, SMALL, bundle_of, own_stick

CAMERA = "clip"
MODELS = {"small": (CPU_SMALL, SMALL), "large": (CPU_LARGE, LARGE)}
MOST_MS = 50
"""What a loss may cost its frame beside the CPU's inference, and the deadline where that was waited for."""

SHOWN = 2000
"""Pictures in the folder, which is looped."""

AGENT_CLOCKS = """
The whole agent, by the lost frame's own message: timing_ms.total, which runs from its capture (so it has its
wait behind the frame before it) to its labels; and from captured_at until a subscriber in Python holds it."""

DESK_CLOCKS = """
Supervisor and lane alone, on CLOCK_MONOTONIC: from a frame's being taken from its camera (so it has its wait
behind the frame before it) to its prediction."""

KINDS: tuple[Fault, ...] = ("abort", "hang", "error", "segfault")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["latency", "endurance"])
    parser.add_argument("--losses", type=int, help="latency: of each kind, 100; endurance: in all, 1000")
    parser.add_argument("--model", choices=MODELS, default="small", help="MobileNet v1 0.25 128, v2 1.0 224")
    parser.add_argument("--timeout-s", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(f"{options.what}, {options.model} model, 1 CPU thread, timeout_s = {options.timeout_s}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        _, stick = stack.enter_context(own_stick(folder, patch))
        model = bundle_of(folder / "both", *MODELS[options.model])
        if options.what == "latency":
            agent_latency(options, folder, model, stick)
            desk_latency(options, model, stick)
        else:
            endurance(options, folder, model, stick)


# The agent, and who listens


class Attentive(Clocked):
    """Waits for a device."""

    def serves_on(self, device: str) -> bool:
        """Wait until the last prediction was made there."""
        return self.tells(TOPICS.prediction(CAMERA), lambda last: last["device"] == device)


@dataclass
class Scene:
    """A running agent, its stick, and the right answers."""

    agent: Agent
    listener: Attentive
    stick: Stick
    answers: Sequence[Any]

    def lose(self, fault: Fault, after: int) -> None:
        """One loss, and the return from it."""
        # From that invoke on: one alone may have begun before it could be ordered.
        self.stick.always(fault, since=self.stick.invokes + after)
        assert self.listener.serves_on("cpu"), self.agent.log()
        self.stick.heal()
        assert self.listener.serves_on("edgetpu"), self.agent.log()

    def end(self, count: int) -> list[dict[str, Any]]:
        """Stop the agent and say what is wrong with its predictions, which are returned."""
        code = self.agent.stop()
        heard = self.listener.predictions(CAMERA)
        wrong = losses.faults_of(heard, self.answers)
        health = json.loads(self.listener.payloads(TOPICS.health)[-1])["edgetpu"]
        told = [line for line in self.agent.log("WARNING") if "edge_agent.stick" in line]
        print(f"{count} losses under {len(heard)} frames; exit code {code}")
        print(f"frames lost, doubled, out of order or with another one's answer: {len(wrong)} {wrong[:3]}")
        print(f"health counts {health['losses']} losses, {health['recoveries']} recoveries; ", end="")
        print(f"the log has {len(told)} warnings, {len(self.agent.log('ERROR'))} errors")
        return heard


@contextmanager
def scene(options: argparse.Namespace, folder: Path, model: Path, stick: Stick) -> Iterator[Scene]:
    """An agent at full speed, served by the stick."""
    with ExitStack() as stack:
        shown = losses.pictures(folder, SHOWN)
        answers = losses.answers(folder, model)
        stick.spare(losses.UNHARMED)
        broker = stack.enter_context(sturdy_broker())
        listener = stack.enter_context(Attentive(broker.port, CAMERA))
        text = losses.text(broker.port, shown, model, loop=True, timeout_s=options.timeout_s)
        agent = stack.enter_context(Agent(folder, text))
        assert listener.serves_on("edgetpu"), agent.log()
        yield Scene(agent, listener, stick, answers)


# Latency


def shuffled(options: argparse.Namespace) -> tuple[random.Random, list[Fault]]:
    """As many aborts as hangs, in any order."""
    chance = random.Random(options.seed)
    faults: list[Fault] = ["abort", "hang"] * (options.losses or 100)
    chance.shuffle(faults)
    return chance, faults


def agent_latency(options: argparse.Namespace, folder: Path, model: Path, stick: Stick) -> None:
    """Under the whole agent."""
    chance, faults = shuffled(options)
    with scene(options, folder, model, stick) as one:
        for fault in faults:
            one.lose(fault, chance.randrange(40))
        heard = one.end(len(faults))
    places = losses.takeovers(heard)
    cpu = [each["timing_ms"]["inference"] for each in heard if each["device"] == "cpu"]
    tpu = [each["timing_ms"]["total"] for each in heard if each["device"] == "edgetpu"]
    print(AGENT_CLOCKS)
    print(
        f"CPU inference, every frame on it: {said_of(cpu)}; capture to labels, on the stick: {said_of(tpu)}"
    )
    totals = [heard[place]["timing_ms"]["total"] for place in places]
    tell("capture to labels", totals, cpu, faults, options.timeout_s)
    arrivals = [one.listener.came_ns[place] / 1e6 - captured_ms(heard[place]) for place in places]
    tell("capture to subscriber", arrivals, cpu, faults, options.timeout_s)


def captured_ms(message: Mapping[str, Any]) -> float:
    """Unix time in ms."""
    return datetime.fromisoformat(message["captured_at"]).timestamp() * 1e3


def desk_latency(options: argparse.Namespace, model: Path, stick: Stick) -> None:
    """Under supervisor and lane alone: no camera, no broker; the picture is in memory."""
    chance, faults = shuffled(options)
    ladder = Ladder(1, 0, 0, backoff_s=0.001, backoff_max_s=0.002)
    settings = EdgeTpuSettings(library=str(libedgetpu()), recovery=ladder, look_every_s=0.05, threads=1)
    worker = WorkerSettings(threads=1)
    desk = Desk(vet_bundle(model, worker, CLOCK), worker, timeout_s=options.timeout_s, edgetpu=settings)
    stick.spare(losses.UNHARMED + 64)  # its 64 pictures are answered once before anything befalls it
    desk.start()
    try:
        desk.until_on("edgetpu")
        desk.show(64)
        stick.spare(losses.UNHARMED)
        for fault in faults:
            stick.always(fault, since=stick.invokes + chance.randrange(40))
            while desk.show(10)[-1].device != "cpu":
                pass
            stick.heal()
            while desk.show(10)[-1].device != "edgetpu":
                pass
    finally:
        desk.close()
    in_order = list(range(1, len(desk.told) + 1)) == desk.done
    print(DESK_CLOCKS)
    print(f"{len(desk.told)} frames, each once and in order: {in_order}")
    cpu = [each.inference_ms for each in desk.told if each.device == "cpu"]
    print(f"CPU inference: {said_of(cpu)}")
    places = losses.takeovers([{"device": each.device} for each in desk.told])
    spent = [(desk.told_ns[place] - desk.camera.taken_ns[place]) / 1e6 for place in places]
    tell("taken to prediction", spent, cpu, faults, options.timeout_s)


def tell(
    what: str, spent: Sequence[float], cpu: Sequence[float], faults: Sequence[str], timeout_s: float
) -> None:
    """How late the frames were, less what they may wait for: the deadline, and the CPU's inference."""
    assert len(spent) == len(faults), f"{len(spent)} frames were taken over after {len(faults)} losses"
    inference = statistics.median(cpu)
    for fault, allowed in (("abort", 0.0), ("hang", timeout_s * 1e3)):
        mine = [each for each, cause in zip(spent, faults, strict=True) if cause == fault]
        over = [each - allowed - inference for each in mine]
        late = sum(each > MOST_MS for each in over)
        less = f" - {allowed:g} ms" if allowed else ""
        print(f"{fault}, {what}{less} - median CPU inference: {said_of(over)}; ", end="")
        print(f"over {MOST_MS} ms: {late} of {len(over)}")


def said_of(milliseconds: Sequence[float]) -> str:
    """Median, 99th percentile and the most."""
    worst = statistics.quantiles(milliseconds, n=100, method="inclusive")[-1]
    return f"{statistics.median(milliseconds):.1f} ms (p99 {worst:.1f}, max {max(milliseconds):.1f})"


# Endurance


def endurance(options: argparse.Namespace, folder: Path, model: Path, stick: Stick) -> None:
    """So many losses in a row; samples are taken while the stick serves."""
    count = options.losses or 1000
    chance = random.Random(options.seed)
    samples: list[tuple[int, dict[str, int]]] = []
    with scene(options, folder, model, stick) as one:
        pid = one.agent.process.pid
        for number in range(count + 1):
            if number % max(count // 50, 1) == 0:
                samples.append((number, held_by(pid)))
                print(number, samples[-1][1], file=sys.stderr, flush=True)
            if number < count:
                one.lose(chance.choice(KINDS), chance.randrange(5))
        runs = one.agent.process.poll() is None
        print(f"the daemon, pid {pid}, {'runs still' if runs else 'has ended'}")
        one.end(count)
    settled = samples[len(samples) // 5 :]
    print("| held | first | last | most | per 1,000 losses, the first fifth left out |")
    print("|---|---|---|---|---|")
    for what, first in samples[0][1].items():
        slope = statistics.linear_regression(
            [number for number, _ in settled], [held[what] for _, held in settled]
        ).slope
        most = max(held[what] for _, held in samples)
        print(f"| {what} | {first} | {samples[-1][1][what]} | {most} | {slope * 1000:+.1f} |")


def held_by(pid: int) -> dict[str, int]:
    """What the daemon holds right now, and its workers."""
    proc = Path("/proc", str(pid))
    links = links_of(pid)
    maps = (proc / "maps").read_text().splitlines()
    workers = [child for child in children(pid) if b"edge_agent.worker" in cmdline(child)]
    standby = [worker for worker in workers if b"--library" not in cmdline(worker)]
    return {
        "processes": 1 + len(children(pid)),
        "descriptors": len(links),
        "sockets": sum(link.startswith("socket:") for link in links),
        "threads": len(list((proc / "task").iterdir())),
        "mappings": len(maps),
        "mappings of memfds": sum("memfd:" in line for line in maps),
        "files in /dev/shm": len(list(Path("/dev/shm").iterdir())),
        "daemon RSS, kB": kilobytes(pid, "Rss"),
        "daemon PSS, kB": kilobytes(pid, "Pss"),
        "daemon private, kB": kilobytes(pid, "Private_Dirty"),
        "standby RSS, kB": sum(kilobytes(worker, "Rss") for worker in standby),
        "standby private, kB": sum(kilobytes(worker, "Private_Dirty") for worker in standby),
        "standby descriptors": sum(len(links_of(worker)) for worker in standby),
    }


def links_of(pid: int) -> list[str]:
    """What its descriptors lead to."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(link.readlink()))
    return links


def children(pid: int) -> list[int]:
    """Its child processes, zombies too."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def cmdline(pid: int) -> bytes:
    """Empty where it is a zombie."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def kilobytes(pid: int, what: str) -> int:
    """A line of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


if __name__ == "__main__":
    main()
