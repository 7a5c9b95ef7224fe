"""Half an hour at full speed while everything around the agent fails: does it creep, is anything lost untold?

    python bench/soak.py --minutes 30 --seed 7

Driven: the real program with four cameras (a folder that is looped at full speed, drawn pictures, MJPEG and
RTSP), mosquitto behind a network that can be cut. At random the cameras are killed, frozen and garbled, the
broker is killed, stopped and frozen, the network is cut, torn, slowed and closed, the model is swapped, a
worker is killed or hung, cameras are paused, the configuration is read again, requests come in. Every two
seconds is looked at what the agent holds. It exits with 1 where something does not hold:

- memory, descriptors, threads and processes grow by more than noise (Theil and Sen's slope, the first fifth
  left out, its 99 % band above zero);
- a prediction is missing at the broker that the agent has not counted as dropped when it was asked before
  and after (`sequence` has a gap that is not explained), or one of the folder's, which may not be dropped;
- the agent ends, tells an error that is not of a model, or not every camera predicts again at the end.

In less than twenty minutes the warm-up is not over: memory counts as growing then.
It needs the tests' data, mosquitto and ffmpeg.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.agents import Agent
from tests.soaking.hearing import Hearing
from tests.soaking.holdings import Holding, Watch
from tests.soaking.sequences import Arrivals, unexplained, windows
from tests.soaking.slopes import slope
from tests.soaking.stage import staged
from tests.soaking.torments import Torments

OF_MODELS = ("edge_agent.succession:", "edge_agent.slot:", "edge_agent.admission:")
"""They tell as an error what a worker that is killed at the wrong moment costs; nobody else has any."""

LOSSLESS = "clip"

PATIENCE_S = 150.0
"""Who soon lost its broker three times in a row suspects a namesake, and tells so for two minutes."""


def main() -> int:
    """The whole run; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        stage = stack.enter_context(staged(folder))
        hearing = stack.enter_context(Hearing(stage))
        agent = stack.enter_context(Agent(folder, stage.text()))
        assert hearing.every_camera_predicts(PATIENCE_S), agent.log()
        with Watch(agent.process.pid, stage.socket) as watch:
            torments = Torments(stage, agent)
            torment(options, torments, hearing, watch, agent)
            faults = recovered(hearing, watch)
        code = agent.stop()
        hearing.settle()
        faults += [f"it exited with {code}"] if code else []
        errors = agent.log(" ERROR ")
        faults += [line for line in errors if not any(room in line for room in OF_MODELS)]
        print(f"torments: {dict(sorted(torments.done.items()))}")
        warnings = len(agent.log(" WARNING "))
        print(f"log: {warnings} warnings, {len(errors)} errors; {watch.silences} questions without an answer")
        print(*errors, sep="\n")
        faults += told_holdings(watch.holdings) + told_sequences(hearing.arrivals, watch)
    if faults:
        print("the log ends with:", *agent.log()[-40:], sep="\n")
    for fault in faults:
        print(f"does not hold: {fault}")
    print("all of it holds" if not faults else f"{len(faults)} faults")
    return bool(faults)


def torment(
    options: argparse.Namespace, torments: Torments, hearing: Hearing, watch: Watch, agent: Agent
) -> None:
    """One after the other, with a breath in between; a line each minute."""
    chance, begun_s, told = random.Random(options.seed), time.monotonic(), 0
    while (spent_s := time.monotonic() - begun_s) < options.minutes * 60 and agent.process.poll() is None:
        if spent_s >= told * 60:
            told += 1
            print(f"{spent_s / 60:4.1f} min: {progress(torments, hearing, watch)}", flush=True)
        torments.one(chance)
        time.sleep(chance.uniform(2.0, 8.0))


def progress(torments: Torments, hearing: Hearing, watch: Watch) -> str:
    """How it stands, on one line."""
    arrived = {camera: hearing.arrivals.last(run) for run in hearing.arrivals.runs() for camera in run[1:]}
    dropped = watch.counts[-1].dropped if watch.counts else 0
    held = watch.holdings[-1] if watch.holdings else ""
    return f"{torments.done.total()} torments; {arrived}, {dropped} dropped; {held}"


def recovered(hearing: Hearing, watch: Watch) -> list[str]:
    """What has not come back though nothing is done to it any more."""
    faults = []
    if not hearing.every_camera_predicts(PATIENCE_S):
        faults.append("not every camera predicts again")
    until_s = time.monotonic() + PATIENCE_S
    while (status := watch.ask())["health"]["faults"] and time.monotonic() < until_s:
        time.sleep(0.5)
    faults += [f"still told at the end: {fault}" for fault in status["health"]["faults"]]
    return faults


def told_holdings(holdings: Sequence[Holding]) -> list[str]:
    """A line for each thing that is held; what grows."""
    faults = []
    for name in Holding._fields[1:]:
        found = [getattr(each, name) for each in holdings]
        grows = slope([(each.minutes, getattr(each, name)) for each in holdings])
        line = (
            f"{name}: first {found[0]:.1f}, least {min(found):.1f}, most {max(found):.1f}, "
            f"last {found[-1]:.1f}; slope {grows.at * 60:+.3f} an hour "
            f"({grows.low * 60:+.3f} to {grows.high * 60:+.3f})"
        )
        print(line)
        if grows.creeps:
            faults.append(f"{name} grows by {grows.at * 60:+.3f} an hour")
    return faults


def told_sequences(arrivals: Arrivals, watch: Watch) -> list[str]:
    """A line for each session and camera; what is missing and was not told."""
    faults, every = [], []
    for run in arrivals.runs():
        gaps = arrivals.gaps(run)
        missing = sum(gap.missing for gap in gaps)
        every += gaps
        last = arrivals.last(run)
        print(f"session {run[0]}, {run[1]}: {last} predictions, {len(gaps)} gaps, {missing} missing")
        if run[1] == LOSSLESS and gaps:
            faults.append(f"{missing} predictions of {LOSSLESS} are missing")
    found = windows(every, watch.counts)
    left = unexplained(found)
    missing, counted = (sum(each) for each in zip(*found, strict=True)) if found else (0, 0)
    print(
        f"{len(every)} gaps in {len(found)} spans of time: {missing} missing, {counted} counted as dropped "
        f"by the agent meanwhile, pictures and answers included ({watch.counts[-1].dropped} in all); "
        f"not explained: {left}"
    )
    return [*faults, f"{left} gaps in sequence are not explained"] if left else faults


if __name__ == "__main__":
    sys.exit(main())
