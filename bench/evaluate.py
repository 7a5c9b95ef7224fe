"""An evaluation of 5,000 images: what it takes of memory, and whether stopping or killing changes a figure.

    python bench/evaluate.py
    python bench/evaluate.py --images 500 --work /tmp/evaluate

It draws the images (once for a --work folder) and evaluates the bundled model on them with the real program:
undisturbed, its memory taken ten times a second; ended by SIGINT again and again, and gone on with; ended
once by SIGKILL; with a worker killed again and again. Figures are held against those of the undisturbed run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.errors import EdgeAgentError
from edge_agent.workbench.measure import children_of, pss_mb, this_python
from tests.evaluations import draw_image, figures, kill_a_worker, report_in
from tests.places import FINISHES

LOOK_S = 0.1
STOPS = 10
KILLS = 8


@dataclass(frozen=True)
class Look:
    """How many images were answered, and the memory of the program and its workers, in MB."""

    done: int
    memory_mb: float


class Evaluation:
    """`edge-agent evaluate` on the images, into a folder of its own."""

    def __init__(self, images: Path, output: Path, workers: int) -> None:
        self.output = output
        self._command = [*this_python(), "-m", "edge_agent", "evaluate", str(images), "-m", str(FINISHES)]
        self._command += ["-o", str(output), "--workers", str(workers)]

    def run(self, disturb: Callable[[subprocess.Popen[bytes], Look], None]) -> int:
        """Until it ends; ``disturb`` is called ten times a second. The exit code."""
        silence = subprocess.DEVNULL
        with subprocess.Popen(self._command, stdout=silence) as process:
            while process.poll() is None:
                # Processes come and go while they are looked at.
                with suppress(OSError, EdgeAgentError, IndexError):
                    disturb(process, self._look(process.pid))
                time.sleep(LOOK_S)
        return process.returncode

    def _look(self, pid: int) -> Look:
        memory_mb = sum(map(pss_mb, [pid, *children_of(pid)]))
        sizes = [path.stat().st_size for path in self.output.glob("*.journal")]
        return Look(sum(sizes) // RECORD, memory_mb)


RECORD = 4 + 1 + 8 + 8 + 12 * 4 + 4
"""Bytes per answer in the journal of a model of twelve labels."""


def main() -> None:
    """Draw, then run each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, help="where the images are drawn, and kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        images = draw(arguments.work or Path(scratch, "images"), arguments.images)
        for name, run in (("plain", plain), ("stops", stops), ("kill", kill), ("workers", workers)):
            run(Evaluation(images, Path(scratch, name), arguments.workers), arguments.images)
            if name != "plain":
                same = figures(report_in(Path(scratch, name))) == figures(report_in(Path(scratch, "plain")))
                print(f"  figures {'are the same' if same else 'DIFFER'}", flush=True)


def draw(folder: Path, count: int) -> Path:
    """The images of the first ``count`` seeds; those that are there already are taken."""
    with multiprocessing.Pool() as pool:
        pool.starmap(draw_image, ((folder, number) for number in range(count)), chunksize=50)
    return folder


def plain(evaluation: Evaluation, count: int) -> None:
    """Memory over the images answered, a tenth at the start left out."""
    looks: list[Look] = []
    begun = time.monotonic()
    code = evaluation.run(lambda _process, look: looks.append(look))
    took_s = time.monotonic() - begun
    steady = [look for look in looks if count / 10 <= look.done < count]
    done, memory = np.array([(look.done, look.memory_mb) for look in steady]).T
    slope = np.polyfit(done, memory, 1)[0] * 1000
    report = report_in(evaluation.output)
    print(f"plain: exit {code}, {report['total']} images in {took_s:.1f} s, {report['correct']} right")
    print(f"  memory (PSS) {memory[0]:.1f} MB after {done[0]:.0f}, {memory[-1]:.1f} after {done[-1]:.0f}:")
    print(
        f"  {slope:+.3f} MB per 1,000 images, {len(steady)} looks, {memory.max():.1f} MB at most", flush=True
    )


def stops(evaluation: Evaluation, count: int) -> None:
    """SIGINT after each tenth of the images, then the same command again."""
    codes: list[int] = []
    for number in range(1, STOPS):
        codes.append(evaluation.run(_signal_at(signal.SIGINT, number * count // STOPS)))
    codes.append(evaluation.run(lambda _process, _look: None))
    print(f"stopped and gone on with: exits {codes}", flush=True)


def kill(evaluation: Evaluation, count: int) -> None:
    """SIGKILL for the program once half is done."""
    codes = [
        evaluation.run(_signal_at(signal.SIGKILL, count // 2)),
        evaluation.run(lambda _process, _look: None),
    ]
    print(f"killed and gone on with: exits {codes}", flush=True)


def _signal_at(number: signal.Signals, done: int) -> Callable[[subprocess.Popen[bytes], Look], None]:
    """Once so many images are answered, and only once."""
    sent: list[int] = []

    def disturb(process: subprocess.Popen[bytes], look: Look) -> None:
        if look.done >= done and not sent:
            sent.append(look.done)
            process.send_signal(number)

    return disturb


def workers(evaluation: Evaluation, count: int) -> None:
    """SIGKILL for a worker, evenly over the run."""
    killed: list[int] = []

    def disturb(process: subprocess.Popen[bytes], look: Look) -> None:
        if look.done >= (len(killed) + 1) * count // (KILLS + 1) and len(killed) < KILLS:
            kill_a_worker(process.pid)
            killed.append(look.done)

    code = evaluation.run(disturb)
    print(f"workers killed: {len(killed)}, exit {code}", flush=True)


if __name__ == "__main__":
    main()
