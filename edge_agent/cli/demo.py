"""``edge-agent demo``: the daemon with a drawn scene, the bundled model and a broker of its own."""

from __future__ import annotations

import contextlib
import errno
import importlib.resources
import os
import shlex
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from edge_agent.broker import DEFAULT_PORT, HOST, EmbeddedBroker
from edge_agent.config import Config
from edge_agent.daemon import run_daemon
from edge_agent.logs import set_up_logs
from edge_agent.predictions import Prediction

AGENT = "demo"
CAMERA = "scene"
PICTURE_S = 0.5
"""How long the scene shows each picture: a few predictions; drawing one more often is much work for a Pi."""

BAR_WIDTH = 20

BANNER = """\
edge-agent demo: a drawn scene as the camera "{camera}", the bundled model, an MQTT broker on port {port}.
Look on from another terminal:
  mosquitto_sub -h {host} -p {port} -v -t 'edge-agent/{agent}/#'
  {program} watch --host {host} --port {port}
{ending}
"""


@click.command()
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="End by itself after N predictions.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Where the broker listens; the next free port if taken, 0: any.",
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0, max=1000),
    default=5.0,
    show_default=True,
    help="Frames per second; 0: as fast as it goes.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 999_999),
    default=0,
    show_default=True,
    help="The first picture; the same seed shows the same pictures.",
)
def demo(frames: int | None, port: int, fps: float, seed: int) -> int:
    """Show the whole agent at work, without a camera, a stick or a broker.

    Ctrl-C ends it.
    """
    set_up_logs("warning", os.environ)
    board = Board()
    with EmbeddedBroker(port) as broker, _configured(broker.port, fps, seed) as config:
        ending = "Ctrl-C ends it." if frames is None else f"It ends by itself after {frames} predictions."
        program = program_name(sys.executable)
        board.show(
            BANNER.format(
                agent=AGENT, camera=CAMERA, host=HOST, port=broker.port, program=program, ending=ending
            )
        )
        status = run_daemon(config, frames=frames, on_prediction=board.add)
    board.show(board.summary())
    return status


def program_name(python: str) -> str:
    """What to type for this program; in a checkout it lies beside its ``python``, and not on PATH."""
    if shutil.which("edge-agent"):
        return "edge-agent"
    return shlex.quote(str(Path(python).with_name("edge-agent")))


@contextlib.contextmanager
def _configured(port: int, fps: float, seed: int) -> Iterator[Config]:
    """The configuration of the demo; what it keeps is gone at its end."""
    bundle = importlib.resources.files("edge_agent.models") / "finishes"
    with importlib.resources.as_file(bundle) as path, tempfile.TemporaryDirectory() as state:
        scene = f"scene:finishes?seed={seed}&hold_s={PICTURE_S}"
        yield Config.model_validate(
            {
                "agent": {
                    "name": AGENT,
                    "log_level": "warning",
                    "state_dir": state,
                    "socket": f"{state}/control.sock",
                },
                "mqtt": {"host": HOST, "port": port, "protocol": "3.1.1"},
                "models": {"default": {"path": path}},
                "cameras": {CAMERA: {"source": scene, "fps": fps}},
            }
        )


class Board:
    """Prints a line per prediction and keeps the count for the summary."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()
        self._right: list[bool] = []
        self._work_ms: list[float] = []

    def add(self, camera: str, prediction: Prediction) -> None:
        """Show one prediction; called by the thread that made it."""
        truth = true_label(prediction)
        if truth is not None:
            self._right.append(best_label(prediction) == truth)
        self._work_ms.append(work_ms(prediction))
        self.show(prediction_line(camera, prediction))

    def summary(self) -> str:
        """What has been seen, in one line."""
        if not self._work_ms:
            return "Ended before the first prediction."
        said = (
            f"Ended after {len(self._work_ms)} predictions in {time.monotonic() - self._begun_s:.1f} s,"
            f" {statistics.median(self._work_ms):.1f} ms each (median)"
        )
        if self._right:
            said += f"; {sum(self._right)} of {len(self._right)} were right"
        return f"{said}."

    def show(self, text: str) -> None:
        """Print, unless nobody reads any more: then the demo has no reason to go on."""
        try:
            click.echo(text)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: its terminal is closed
                raise
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            signal.raise_signal(signal.SIGINT)


def best_label(prediction: Prediction) -> str | None:
    """The label with the highest score, None where no score reached the threshold."""
    return prediction.ranking[0].label if prediction.ranking else None


def work_ms(prediction: Prediction) -> float:
    """What the answer cost; ``total_ms`` has the wait for the worker's start in it, too."""
    return prediction.preprocess_ms + prediction.inference_ms


def true_label(prediction: Prediction) -> str | None:
    """What the picture shows: drawn ones are named ``finishes/<seed>/<label>``. None for all others."""
    scene, _, rest = (prediction.frame.source or "").partition("/")
    return rest.partition("/")[2] if scene == "finishes" else None


def prediction_line(camera: str, prediction: Prediction) -> str:
    """Time, camera, label, score as a bar and a number, milliseconds; and the truth, where it is known."""
    taken = datetime.fromtimestamp(prediction.frame.captured_at_ns / 1e9)  # local time: read by a person
    label = best_label(prediction)
    score = prediction.ranking[0].score if prediction.ranking else 0.0
    bar = ("#" * round(score * BAR_WIDTH)).ljust(BAR_WIDTH, ".")
    line = (
        f"{taken:%H:%M:%S}  {camera}  {label or '-':<20}  {bar} {score:6.1%}"
        f"  {work_ms(prediction):5.1f} ms on {prediction.device}"
    )
    truth = true_label(prediction)
    if truth is None:
        return line
    return f"{line}  {'right' if truth == label else f'wrong: it is {truth}'}"
