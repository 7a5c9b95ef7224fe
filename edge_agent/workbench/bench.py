"""How fast this machine is, and what the agent adds to the bare model."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from edge_agent.cameras import Bell
from edge_agent.classifier import Classifier, RankingRule
from edge_agent.clock import SystemClock
from edge_agent.config.environment import PREFIX
from edge_agent.config.text import toml
from edge_agent.errors import EdgeAgentError
from edge_agent.frames import Frame, Pixels
from edge_agent.lane import Lane, LaneCamera
from edge_agent.messages import Topics
from edge_agent.mqtt import BrokerSettings, Publisher, Subscription
from edge_agent.predictions import Prediction
from edge_agent.preprocess import Preprocessor
from edge_agent.reporter import Reporter
from edge_agent.runner import Runner
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.workbench.measure import (
    RoundsInChild,
    Spread,
    children_of,
    each_ms,
    pss_mb,
    this_python,
)
from edge_agent.worker_process import WorkerSettings

CLOCK = SystemClock()
TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
PACKAGES = ("edge-agent", "numpy", "opencv-python-headless", "paho-mqtt")


@dataclass(frozen=True)
class Plan:
    """What to measure: the bundle, frames per round, rounds, threads of the worker, the broker's port, and a
    script to run beside (see bench/naive.py), or None.
    """

    bundle: Path
    port: int
    threads: int = 1
    frames: int = 300
    rounds: int = 7
    starts: int = 3
    yardstick: Path | None = None


@dataclass
class Figures:
    """What was measured; ms per frame, ratios to the bare invoke of the same round, MB, s."""

    bare_ms: Spread
    path_ms: Spread
    path_ratio: Spread
    yardstick_ms: Spread | None
    yardstick_ratio: Spread | None
    preprocess_ms: float
    resize_ms: float
    preprocess_ratio: float
    memory_mb: dict[str, float]
    first_prediction_s: Spread
    conditions: dict[str, str] = field(default_factory=dict)


def measure(plan: Plan, progress: Callable[[str], None]) -> Figures:
    """Everything in one run, rounds interleaved. Raises BundleError, EdgeAgentError."""
    settings = WorkerSettings(threads=plan.threads)
    progress("vetting the model")
    vetted = vet_bundle(plan.bundle, settings, CLOCK)
    bare, path, beside = _throughput(plan, vetted, settings, progress)
    progress("preprocessing")
    prepare_ms, resize_ms = _preprocessing(vetted)
    starts: list[float] = []
    memory: dict[str, float] = {}
    for number in range(plan.starts):
        progress(f"start {number + 1} of {plan.starts}")
        start_s, memory = _start_agent(plan)
        starts.append(start_s)
    return Figures(
        bare_ms=Spread.of(bare),
        path_ms=Spread.of(path),
        path_ratio=Spread.of([own / floor for own, floor in zip(path, bare, strict=True)]),
        yardstick_ms=Spread.of(beside) if beside else None,
        yardstick_ratio=Spread.of([own / floor for own, floor in zip(beside, bare, strict=True)])
        if beside
        else None,
        preprocess_ms=prepare_ms,
        resize_ms=resize_ms,
        preprocess_ratio=prepare_ms / resize_ms,
        memory_mb=memory,
        first_prediction_s=Spread.of(starts),
        conditions=_conditions(plan, vetted),
    )


def _throughput(
    plan: Plan, vetted: VettedBundle, settings: WorkerSettings, progress: Callable[[str], None]
) -> tuple[list[float], list[float], list[float]]:
    """Ms per frame of each round: bare invoke, the agent's path, the yardstick (or nothing)."""
    runtime = vetted.runtime.split()[0]
    descriptor = vetted.for_cpu().fileno()
    model = f"/proc/self/fd/{descriptor}"
    numbers = [str(plan.threads), str(plan.frames)]
    command = [*this_python(), "-m", "edge_agent.workbench.bare", model, runtime, *numbers]
    bare, path, beside = [], [], []
    with contextlib.ExitStack() as stack:
        child = RoundsInChild("the bare invoke", command, [descriptor])
        stack.callback(child.close)
        own = _Path(plan, vetted, settings)
        stack.callback(own.close)
        naive = None
        if plan.yardstick is not None:
            naive = RoundsInChild(
                str(plan.yardstick), _yardstick_command(plan, plan.yardstick, model), [descriptor]
            )
            stack.callback(naive.close)
        for number in range(plan.rounds):
            progress(f"round {number + 1} of {plan.rounds}")
            bare.append(child.round())
            path.append(own.round())
            if naive is not None:
                beside.append(naive.round())
    return bare, path, beside


def _yardstick_command(plan: Plan, script: Path, model: str) -> list[str]:
    options = ["--port", str(plan.port), "--threads", str(plan.threads), "--frames", str(plan.frames)]
    return [*this_python(), str(script), model, *options]


class _MemoryCamera:
    """Frames that are in memory already, as fast as they are taken."""

    name = "bench"
    lossless = True

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.left = 0

    def take(self) -> Frame | None:
        """The same picture, until the round is over."""
        if self.left == 0:
            return None
        self.left -= 1
        return Frame(self._pixels, self.left, CLOCK.monotonic_ns(), CLOCK.wall_ns())


@dataclass(frozen=True)
class _AlwaysServing:
    """What a lane asks for its classifier, where nothing is ever lost."""

    classifier: Classifier

    def serving(self, slot: str, timeout_s: float) -> Classifier:  # noqa: ARG002  the supervisor's shape
        return self.classifier

    def lost(self, classifier: Classifier, error: EdgeAgentError) -> None:  # noqa: ARG002
        raise error


class _Path:
    """The agent's own rooms from a frame in memory to the broker."""

    def __init__(self, plan: Plan, vetted: VettedBundle, settings: WorkerSettings) -> None:
        self._frames = plan.frames
        topics = Topics("edge-agent", f"bench-{os.getpid()}")
        self._publisher = Publisher(BrokerSettings(port=plan.port), topics, CLOCK)
        self._reporter = Reporter(self._publisher, topics, "bench", CLOCK)
        self._runner = Runner({vetted.bundle.digest: vetted.for_cpu()}, settings, CLOCK)
        self._runner.wait_ready()
        classifier = Classifier.build("default", vetted, self._runner, RankingRule(), TIMEOUT_S, CLOCK)
        self._camera, self._bell = _MemoryCamera(_picture()), Bell()
        self._answered = 0
        self._done = threading.Event()
        self._lane = Lane(
            "default",
            self._bell,
            _AlwaysServing(classifier),
            CLOCK,
            self._deliver,
            self._fail,
            self._has_room,
        )
        self._lane.cameras = (self._camera,)
        self._publisher.start()
        if not self._publisher.wait_connected(TIMEOUT_S):
            raise EdgeAgentError(self._publisher.status().fault or f"no broker on port {plan.port}")
        self._lane.start()

    def round(self) -> float:
        """Ms per frame, until the broker has acknowledged the last. Raises EdgeAgentError."""
        self._answered = 0
        self._done.clear()
        start = time.perf_counter()
        self._camera.left = self._frames
        self._bell.ring()
        while not self._done.wait(1.0):
            if self._lane.crash is not None:
                raise EdgeAgentError(f"the round ended: {self._lane.crash}", "run it again")
        self._publisher.drain(TIMEOUT_S)
        return (time.perf_counter() - start) / self._frames * 1e3

    def close(self) -> None:
        """End it."""
        self._lane.stop()
        self._lane.join(TIMEOUT_S)
        self._publisher.close(1.0)
        self._runner.retire()

    def _deliver(self, camera: LaneCamera, prediction: Prediction) -> None:
        self._reporter.prediction(camera.name, prediction, live=False)
        self._count()

    def _fail(self, _camera: LaneCamera, _frame: Frame, _error: EdgeAgentError) -> None:
        self._count()

    def _count(self) -> None:
        self._answered += 1
        if self._answered == self._frames:
            self._done.set()

    def _has_room(self) -> bool:
        return self._publisher.wait_for_room(0.0)


def _picture(height: int = 480, width: int = 640) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def _preprocessing(vetted: VettedBundle) -> tuple[float, float]:
    """Ms to prepare a 640x480 picture, and of a plain cv2.resize of it to the input's size; interleaved."""
    bundle = vetted.bundle
    preprocessor = Preprocessor(bundle.convention, bundle.input)
    picture, buffer = _picture(), np.empty(bundle.input.shape, bundle.input.dtype)
    _, height, width, _ = bundle.input.shape
    plain = np.empty((height, width, 3), np.uint8)
    pairs = [
        (
            each_ms(lambda: preprocessor.prepare(picture, buffer), 50),
            each_ms(lambda: cv2.resize(picture, (width, height), dst=plain), 50),
        )
        for _ in range(20)
    ]
    return statistics.median(own for own, _ in pairs), statistics.median(alone for _, alone in pairs)


def _start_agent(plan: Plan) -> tuple[float, dict[str, float]]:
    """Seconds from the start of `edge-agent run` to its first prediction at a subscriber, and the memory of
    its processes in MB after a hundred more.
    """
    with tempfile.TemporaryDirectory() as folder:
        name = f"bench-{os.getpid()}"
        config = Path(folder, "config.toml")
        config.write_text(
            f"[agent]\nname = {toml(name)}\nlog_level = 'error'\n"
            "state_dir = 'state'\nsocket = 'control.sock'\n"
            f"[mqtt]\nport = {plan.port}\n[inference]\nthreads = {plan.threads}\n"
            f"[models.default]\npath = {toml(str(plan.bundle.absolute()))}\n"
            f"[cameras.folder]\nsource = {toml(folder + '/pictures/')}\nfps = 30\nloop = true\n"
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        Path(folder, "pictures").mkdir()
        cv2.imwrite(f"{folder}/pictures/one.jpg", _picture())
        topic = Topics("edge-agent", name).prediction("folder")
        with Subscription(BrokerSettings(port=plan.port), [topic], CLOCK) as subscription:
            subscription.open()
            start = time.perf_counter()
            command = [*this_python(), "-m", "edge_agent", "run", "-c", str(config)]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as agent:
                try:
                    first_s = _await_predictions(subscription, agent, 1) - start
                    _await_predictions(subscription, agent, 100)
                    memory = {"daemon": pss_mb(agent.pid)}
                    memory["workers"] = sum(pss_mb(child) for child in children_of(agent.pid))
                finally:
                    agent.terminate()
    return first_s, memory


def _await_predictions(subscription: Subscription, agent: subprocess.Popen[bytes], count: int) -> float:
    """perf_counter() when the last of ``count`` messages came. Raises EdgeAgentError."""
    deadline = time.perf_counter() + START_TIMEOUT_S
    while count > 0:
        count -= sum(1 for _ in subscription.receive(0.1))
        if time.perf_counter() > deadline or agent.poll() is not None:
            raise EdgeAgentError("`edge-agent run` published nothing", "try it by itself: edge-agent demo")
    return time.perf_counter()


def _conditions(plan: Plan, vetted: VettedBundle) -> dict[str, str]:
    """The machine and the versions that the figures belong to."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    cores = len(os.sched_getaffinity(0))
    return {
        "machine": f"{_processor()}, {cores} cores",
        "governor": governor.read_text().strip() if governor.is_file() else "not told",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{each} {version(each)}" for each in PACKAGES),
        "model": f"{vetted.bundle.name} {vetted.bundle.short} on {vetted.runtime}, {plan.threads} threads",
        "rounds": f"{plan.rounds} of {plan.frames} frames of 640x480 in memory, QoS 1",
    }


def _processor() -> str:
    for key, source in (("model name", "/proc/cpuinfo"), ("Model", "/proc/cpuinfo")):
        for line in Path(source).read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return platform.machine()
