"""A model that is replaced again and again under an agent at work: what is lost, how long labels pause.

    python bench/swaps.py swaps --device cpu --fps 20
    python bench/swaps.py kills
    python bench/swaps.py kills --boundaries
    python bench/swaps.py damaged
    python bench/swaps.py copies

Driven: the real program, mosquitto, and on the Edge TPU the tests' stand-in for libedgetpu. ``swaps``: half
overwrite the file in place, half rename over it; each prediction is held against the answer of the model that
it names, and as many predictions without swaps follow. ``--fps`` paces the pictures; with ``--live`` they
come from a camera that waits for nobody. ``kills``: SIGKILL at random instants during swaps and installs,
then a start; with ``--boundaries`` instead just before each fsync, fdatasync and rename. ``damaged``: bundles
cut short or with bits turned, in the inbox. ``copies``: 25 MB at 1 MB/s, by whatever people copy with. They
need the tests' data and mosquitto; for the Edge TPU and the boundaries gcc; for the copies rsync and unzip.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytest

from tests import copies, swaps
from tests.agents import Agent, Clocked, Listener, sturdy_broker
from tests.boundaries import Boundaries
from tests.edgetpu import libedgetpu
from tests.losses import pictures
from tests.places import CORAL, FINISHES
from tests.stages import bundle
from tests.sticks import CPU_LARGE, LARGE, own_stick
from tests.swaps import CAMERA

MODELS = (CPU_LARGE, CORAL / "mobilenet_v2_1.0_224_quant_2021.tflite")
MEGABYTE = 1 << 20

WITHOUT = 20_000
"""Predictions without swaps, at most, that the others are compared with."""

BATCH = 50
"""So many are done between two lines of progress."""

WAITS = 30
"""A batch of damaged bundles takes half a minute on an idle machine, and more than one wait on a busy one."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["swaps", "kills", "damaged", "copies"])
    parser.add_argument("--count", type=int, help="swaps: 1000; kills: 300; damaged: 10000")
    parser.add_argument("--boundaries", action="store_true", help="kills: at each fsync and rename, once")
    parser.add_argument("--device", choices=["cpu", "edgetpu"], default="cpu")
    parser.add_argument("--fps", type=float, default=0.0, help="0: pictures at full speed")
    parser.add_argument("--live", action="store_true", help="a live camera instead of a folder")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listener = stack.enter_context(Clocked(stack.enter_context(sturdy_broker()).port, CAMERA))
        match options.what:
            case "swaps":
                patch = stack.enter_context(pytest.MonkeyPatch.context())
                if options.device == "edgetpu":
                    stack.enter_context(own_stick(folder, patch))
                run_swaps(options, folder, listener)
            case "kills" if options.boundaries:
                run_boundaries(folder, listener)
            case "kills":
                run_kills(options, folder, listener)
            case "damaged":
                run_damaged(options, folder, listener)
            case "copies":
                run_copies(folder, listener)


# Swaps


def run_swaps(options: argparse.Namespace, folder: Path, listener: Clocked) -> None:
    """The models take turns; the answers are checked, and what the agent holds is counted."""
    count = options.count or 1000
    shown = pictures(folder, swaps.SHOWN)
    path, turns = sources(options.device, folder)
    digests = [swaps.digest(each) for each in turns]
    edgetpu = options.device == "edgetpu"
    tables: dict[str, dict[str, object]] = {}
    if edgetpu:
        tables["inference"] = {"device": "auto", "library": libedgetpu(), "look_every_s": 0.2}
    tables["camera"] = {"fps": options.fps}
    if options.live:
        tables["camera"] |= {"source": "scene:finishes?hold_s=3600", "loop": False}
    with Agent(folder, swaps.text(listener.port, shown, path, folder, **tables)) as agent:
        assert serves(listener, digests[0], edgetpu=edgetpu), agent.log()
        listener.predicts_on(CAMERA, 20)
        settled, begun_s = len(listener.predictions(CAMERA)), time.monotonic()
        held = [holds(agent.process.pid)]
        for turn in range(1, count + 1):
            put(turns[turn % 2], path, in_place=turn % 4 < 2)
            assert serves(listener, digests[turn % 2], edgetpu=edgetpu), agent.log()[-30:]
            if turn in (count // 10, count):
                held.append(holds(agent.process.pid))
            if turn % BATCH == 0:
                say(f"{turn} swaps in {time.monotonic() - begun_s:.0f} s; {holds(agent.process.pid)}")
        took_s = time.monotonic() - begun_s
        swapped = len(listener.predictions(CAMERA))
        listener.predicts_on(CAMERA, min(swapped - settled, WITHOUT))
        assert agent.stop() == 0
        errors = agent.log("ERROR")
    heard = listener.predictions(CAMERA)
    order = [digests[turn % 2] for turn in range(count + 1)]
    print(
        f"{count} swaps on the {options.device} in {took_s:.0f} s, {swapped - settled} predictions meanwhile"
    )
    print(f"models in the order in which they were put there: {order == swaps.models_of(heard)}")
    print(f"errors in the log: {len(errors)}")
    print("held at first, after a tenth, at the end: " + "; ".join(held))
    sequences = [each["sequence"] for each in heard]
    print(f"lost or out of order on the way: {sum(a != b for a, b in enumerate(sequences, start=1))}")
    if not options.live:
        right = dict(zip(digests, [swaps.answers(folder, each) for each in turns], strict=True))
        faults = swaps.faults_of(heard, right)
        print(f"frames lost, out of order, or not what their model answers: {len(faults)} {faults[:3]}")
    pauses("during swaps", heard[settled:swapped], listener.came_ns[settled:swapped])
    pauses("without", heard[swapped:], listener.came_ns[swapped : len(heard)])
    if options.fps:
        during = long_gaps(options.fps, listener.came_ns[settled:swapped])
        without = long_gaps(options.fps, listener.came_ns[swapped : len(heard)])
        print(f"gaps of more than two intervals: {during} during swaps; without: {without}")


def sources(device: str, folder: Path) -> tuple[Path, list[Path]]:
    """The path that is configured, and what takes turns there."""
    if device == "cpu":
        path = folder / "model.tflite"
        shutil.copyfile(MODELS[0], path)
        return path, list(MODELS)
    both = [bundle(folder / "bundles", name, CPU_LARGE, LARGE) for name in ("ash", "birch")]
    path = folder / "model"
    shutil.copytree(both[0], path)
    return path, both


def put(source: Path, path: Path, *, in_place: bool) -> None:
    """Replace the model; of a folder what makes the digest another one."""
    if source.is_dir():
        source, path = source / "bundle.toml", path / "bundle.toml"
    (swaps.overwrite if in_place else swaps.rename_over)(source, path)


def serves(listener: Listener, short: str, *, edgetpu: bool) -> bool:
    """Wait until it does, where it should."""
    device = "edgetpu" if edgetpu else "cpu"
    return listener.tells(
        swaps.MODEL,
        lambda model: (
            model["serving"] is not None
            and (model["serving"]["digest"], model["serving"]["device"]) == (short, device)
            and (model["state"], model["candidate"]) == ("serving", None)
        ),
    )


def holds(pid: int) -> str:
    """What a process holds, in words."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(status.partition("VmRSS:")[2].split()[0]) // 1024
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return f"{memory} MB, {files} files, {len(children_of(pid))} children"


def pauses(when: str, heard: Sequence[Mapping[str, Any]], came_ns: Sequence[int]) -> None:
    """How late predictions are, and how long nothing comes."""
    late = sorted(each["timing_ms"]["total"] for each in heard)
    gaps = sorted((after - before) / 1e6 for before, after in pairwise(came_ns))
    for name, each in (("capture to labels", late), ("between results", gaps)):
        p999 = each[int(len(each) * 0.999)]
        print(
            f"{when}, {name}: median {each[len(each) // 2]:.1f}, p99.9 {p999:.1f}, largest {each[-1]:.1f} ms"
        )


def long_gaps(fps: float, came_ns: Sequence[int]) -> str:
    """How many gaps are longer than two intervals, and how long the longest is, in intervals."""
    gaps = [(after - before) * fps / 1e9 for before, after in pairwise(came_ns)]
    return f"{sum(gap > 2 for gap in gaps)} of {len(gaps)} (largest {max(gaps):.2f})"


def say(progress: str) -> None:
    """At once, also where it is written to a file."""
    print(progress, flush=True)


# Kills


def run_kills(options: argparse.Namespace, folder: Path, listener: Clocked) -> None:
    """Each start must serve one of the models, whole."""
    count, chance = options.count or 300, random.Random(options.seed)
    shown = pictures(folder, swaps.SHOWN)
    path = folder / "model.zip"
    known = [swaps.answers(folder, each) for each in MODELS]
    right = {swaps.put_fresh(MODELS[0], path, "first"): known[0]}
    written = swaps.text(listener.port, shown, path, folder)
    starts_s = []
    for life in range(count):
        place = folder / f"life-{life}"
        place.mkdir()
        with Agent(place, written) as agent:
            begun_s = time.monotonic()
            assert agent.logged("serves on the CPU"), agent.log()
            starts_s.append(time.monotonic() - begun_s)
            right[swaps.put_fresh(MODELS[life % 2], path, f"life-{life}")] = known[life % 2]
            time.sleep(chance.random() * 1.5)
            agent.stop(signal.SIGKILL)
            assert agent.leaves_no_process()
        shutil.rmtree(place)
        if (life + 1) % BATCH == 0:
            say(f"{life + 1} kills; starts of {max(starts_s):.1f} s at most")
    heard = listener.predictions(CAMERA)
    sessions = swaps.sessions_of(heard)
    faults = [fault for each in sessions for fault in swaps.faults_of(each, right)]
    served = [{each["model"]["digest"] for each in session} for session in sessions]
    print(f"{count} kills; every start served a model, after {max(starts_s):.1f} s at most")
    print(f"predictions that were not what a whole model answers: {len(faults)} of {len(heard)}")
    print(f"runs that swapped before they were killed: {sum(len(each) > 1 for each in served)}")
    print(f"disk: {swaps.size_of(folder / 'state') / MEGABYTE:.1f} MB")


def run_boundaries(folder: Path, listener: Clocked) -> None:
    """One after the other, until the agent gets through."""
    boundaries = Boundaries(folder, listener, pictures(folder, swaps.SHOWN))
    right = {swaps.digest(each): swaps.answers(folder, each) for each in boundaries.bundles}
    at, killed, steps = 0, True, []
    while killed:
        at += 1
        killed, steps = boundaries.killed(at)
    kinds = Counter(step.name for step in steps)
    sessions = swaps.sessions_of(listener.predictions(CAMERA))
    faults = [fault for each in sessions for fault in swaps.faults_of(each, right)]
    print(f"killed before each of {at - 1} boundaries ({dict(kinds)}); every start served what is installed")
    print(f"runs {len(sessions)}; predictions that were not what a whole model answers: {len(faults)}")


# Copies


def run_copies(folder: Path, listener: Clocked) -> None:
    """One after the other into the inbox of the same agent."""
    first = copies.sized(folder / "from", "first", 0)
    inbox = folder / "state" / "inbox" / "default"
    written = swaps.text(
        listener.port,
        pictures(folder, swaps.SHOWN),
        first,
        folder,
        updates={"settle_s": 2.0},
        camera={"fps": 20},
    )
    order = [swaps.digest(first)]
    with Agent(folder, written) as agent:
        assert swaps.serves(listener, order[0]), agent.log()
        for name, copy in copies.WAYS.items():
            bundle = copies.sized(folder / "from", name, 25 * MEGABYTE)
            order.append(swaps.digest(bundle))
            begun_s = time.monotonic()
            copy(bundle, inbox, MEGABYTE)
            copied_s = time.monotonic() - begun_s
            assert swaps.serves(listener, order[-1]), agent.log()[-30:]
            print(f"{name}: {copied_s:.1f} s, serves {time.monotonic() - begun_s - copied_s:.1f} s later")
        listener.predicts_on(CAMERA, 20)
        assert agent.stop() == 0
        swapped, errors = len(agent.log("has taken over")), len(agent.log("ERROR"))
    print(f"{len(order) - 1} copies: {swapped} swaps, {errors} errors in the log")
    print(f"in order, each once: {order == swaps.models_of(listener.predictions(CAMERA))}")


# Damaged bundles


def run_damaged(options: argparse.Namespace, folder: Path, listener: Clocked) -> None:
    """In batches; after each a whole bundle is to take over, and what was heard since the last is checked."""
    count, chance = options.count or 10_000, random.Random(options.seed)
    shown = pictures(folder, swaps.SHOWN)
    inbox = folder / "state" / "inbox" / "default"
    heard = Heard(swaps.answers(folder, FINISHES), swaps.digest(FINISHES))
    written = swaps.text(listener.port, shown, FINISHES, folder)
    begun_s, offered, most = time.monotonic(), 0, 0
    with Agent(folder, written) as agent, Ages(agent.process.pid) as ages:
        assert agent.logged("serves on the CPU"), agent.log()
        while offered < count:
            size = min(BATCH, count - offered)
            whole = swaps.digest(put_damaged(inbox, folder / "next", chance, offered, size))
            offered += size
            heard.add(whole)
            assert any(swaps.serves(listener, whole) for _ in range(WAITS)), agent.log()[-30:]
            most = max(most, swaps.size_of(folder / "state" / "models"))
            shutil.rmtree(inbox)
            heard.check(listener)
            refused = len(agent.log("ERROR"))
            say(
                f"{offered} in {time.monotonic() - begun_s:.0f} s: {refused} refused aloud; {heard.told()}; "
                f"oldest worker {ages.oldest_s:.1f} s; disk {most / MEGABYTE:.1f} MB at most; "
                f"{holds(agent.process.pid)}"
            )
        assert agent.stop() == 0
        assert agent.leaves_no_process()
    heard.check(listener)
    print(f"{count} damaged bundles in {time.monotonic() - begun_s:.0f} s; {heard.told()}")
    print(f"{ages.seen} throw-away workers were seen, the oldest of them {ages.oldest_s:.1f} s old")
    for fault in heard.faults[:20]:
        print(fault)


def put_damaged(inbox: Path, beside: Path, chance: random.Random, first: int, count: int) -> Path:
    """So many of them into the inbox, then a whole one: where that is."""
    inbox.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        swaps.damaged(beside, FINISHES, chance, number)
        ending = ".zip" if beside.is_file() else ""
        beside.rename(inbox / f"new-{number:06}{ending}")
    whole = inbox / "the-last"
    shutil.copytree(FINISHES, whole)
    toml = whole / "bundle.toml"
    toml.write_text(toml.read_text().replace('"finishes"', f'"whole-{first}"', 1))
    return whole


class Heard:
    """The predictions of a whole run, batch by batch: what was wrong with them, and how long none came."""

    def __init__(self, answers: Sequence[Any], short: str) -> None:
        self._answers = answers
        self._right = {short: answers}
        self._last_ns: list[int] = []
        self._count = 0
        self._gap_ns = 0
        self._unknown: Counter[str] = Counter()
        self.faults: list[str] = []

    def add(self, short: str) -> None:
        """A bundle that is to answer the same."""
        self._right[short] = self._answers

    def check(self, listener: Clocked) -> None:
        """Those that came since the last call; only what is wrong with them is kept."""
        heard, came_ns = listener.take()
        self.faults += swaps.faults_of(heard, self._right, self._count + 1)
        self._count += len(heard)
        named = (each["model"]["digest"] for each in heard)
        self._unknown.update(short for short in named if short not in self._right)
        came_ns = self._last_ns + came_ns
        self._gap_ns = max([self._gap_ns, *(after - before for before, after in pairwise(came_ns))])
        self._last_ns = came_ns[-1:]

    def told(self) -> str:
        """As it stands, in words."""
        return (
            f"lost, out of order, or not what their model answers: {len(self.faults)} of {self._count}; "
            f"labels paused for {self._gap_ns / 1e6:.0f} ms at most; served though damaged, as a flipped "
            f"weight may: {len(self._unknown)}, in {self._unknown.total()} predictions"
        )


class Ages(threading.Thread):
    """Looks at the throw-away workers of an agent, again and again: how old any of them grew."""

    def __init__(self, agent: int) -> None:
        super().__init__(daemon=True)
        self._agent = agent
        self._over = threading.Event()
        self._first_seen_s: dict[str, float] = {}
        self.seen = 0
        self.oldest_s = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Until it is over."""
        while not self._over.wait(0.05):
            there = [child for child in children_of(self._agent) if is_throw_away(child)]
            now_s = time.monotonic()
            self.seen += len(set(there) - self._first_seen_s.keys())
            # The number of one that has gone may come again.
            self._first_seen_s = {each: self._first_seen_s.get(each, now_s) for each in there}
            self.oldest_s = max(
                [self.oldest_s, *(now_s - since_s for since_s in self._first_seen_s.values())]
            )


def is_throw_away(pid: str) -> bool:
    """Whether it is a worker that only looks at a model."""
    try:
        return b"--describe" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def children_of(pid: int) -> list[str]:
    """Its child processes."""
    tasks = Path(f"/proc/{pid}/task")
    found = []
    for children in tasks.glob("*/children"):
        with suppress(OSError):
            found += children.read_text().split()
    return found


if __name__ == "__main__":
    main()
