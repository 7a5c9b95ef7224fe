"""A desk: a supervisor whose main loop turns in a thread, and a lane with one camera; no broker."""

from __future__ import annotations

import contextlib
import queue
import select
import threading
from collections.abc import Callable

import numpy as np

from edge_agent.cameras import Bell
from edge_agent.classifier import RankingRule
from edge_agent.clock import SystemClock
from edge_agent.cross_check import CrossCheck
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import EdgeAgentError, SlotDownError
from edge_agent.frames import Frame
from edge_agent.lane import Lane, LaneCamera
from edge_agent.predictions import Prediction
from edge_agent.supervisor import Supervisor
from edge_agent.vetting import VettedBundle
from edge_agent.worker_process import WorkerSettings

CLOCK = SystemClock()
RULE = RankingRule(top_k=2)
PATIENCE_S = 30.0
"""How long a test waits for what must come; nothing waits that long when all is well."""


class CountingCamera:
    """As many frames as it was told to show, each of its own noise."""

    name = "fake"

    def __init__(self, bell: Bell, frames: int = 0) -> None:
        self.frames = frames
        self.lossless = False
        self.taken_ns: list[int] = []
        self._bell = bell
        self._noise = np.random.default_rng(2).integers(0, 256, (64, 96, 96, 3), np.uint8)

    def show(self, frames: int) -> None:
        """So many more."""
        self.frames += frames
        self._bell.ring()

    def take(self) -> Frame | None:
        """The next one."""
        number = len(self.taken_ns) + 1
        if number > self.frames:
            return None
        self.taken_ns.append(CLOCK.monotonic_ns())
        return Frame(self._noise[number % 64], number, self.taken_ns[-1], CLOCK.wall_ns())


class Desk:
    """Starts nothing by itself; ``told`` has every prediction in the order in which it was made."""

    def __init__(
        self,
        vetted: VettedBundle,
        settings: WorkerSettings,
        frames: int = 0,
        timeout_s: float = 30.0,
        *,
        edgetpu: EdgeTpuSettings | None = None,
        standby: bool = True,
    ) -> None:
        self._ring = threading.Event()
        self._ending = threading.Event()
        self._news = threading.Condition()
        self.supervisor = Supervisor(
            settings, timeout_s, CLOCK, self._ring.set, edgetpu=edgetpu, standby=standby
        )
        self.supervisor.aspire("default", vetted, RULE)
        self._next: queue.SimpleQueue[VettedBundle] = queue.SimpleQueue()
        bell = Bell()
        self.camera = CountingCamera(bell, frames)
        self.told: list[Prediction] = []
        self.told_ns: list[int] = []
        self.failed: list[tuple[int, EdgeAgentError]] = []
        check = None
        if edgetpu is not None and edgetpu.cross_check_every:
            check = CrossCheck(
                edgetpu.cross_check_every,
                edgetpu.cross_check_agreement,
                lambda: self.supervisor.standby("default"),
                self.supervisor.lost,
            )
        self.lane = Lane(
            "default", bell, self.supervisor, CLOCK, self._publish, self._fail, cross_check=check
        )
        self.lane.cameras = (self.camera,)
        self._main = threading.Thread(target=self._turn)

    @property
    def done(self) -> list[int]:
        """The numbers of the frames that were predicted, in order."""
        return [prediction.frame.number for prediction in self.told]

    @property
    def devices(self) -> list[str]:
        """Where they were predicted, in order."""
        return [prediction.device for prediction in self.told]

    def run(self) -> None:
        """Until every frame is accounted for."""
        self.start()
        self.wait()

    def start(self) -> None:
        """Let frames flow."""
        self._main.start()
        self.lane.start()

    def aspire(self, vetted: VettedBundle) -> None:
        """Let that serve, from the loop's next turn on."""
        self._next.put(vetted)
        self._ring.set()

    def show(self, frames: int) -> list[Prediction]:
        """Show so many more frames and wait for them: the predictions made of them."""
        before = len(self.told)
        self.camera.show(frames)
        self.wait()
        return self.told[before:]

    def wait(self) -> None:
        """Until every frame is accounted for."""
        self.until(lambda: len(self.told) + len(self.failed) == self.camera.frames)

    def until(self, condition: Callable[[], bool]) -> None:
        """Until it holds; it is looked at after each turn and each frame."""
        with self._news:
            assert self._news.wait_for(condition, PATIENCE_S), self.supervisor.device()

    def until_on(self, device: str) -> None:
        """Until the slot is served there."""

        def serves() -> bool:
            serving = self.supervisor.status()[0].classifier
            return serving is not None and serving.device == device

        self.until(serves)

    def wait_until_down(self) -> None:
        """Until the slot is given up."""
        with contextlib.suppress(SlotDownError):
            while True:
                self.supervisor.serving("default", 30.0)

    def close(self) -> None:
        """End lane, loop and workers."""
        self.lane.stop()
        if self.lane.ident is not None:
            self.lane.join(30)
        self._ending.set()
        self._ring.set()
        if self._main.ident is not None:
            self._main.join(30)
        self.supervisor.close()

    def _turn(self) -> None:
        while not self._ending.is_set():
            while not self._next.empty():
                self.supervisor.aspire("default", self._next.get(), RULE)
            while self.supervisor.step():
                pass
            with self._news:
                self._news.notify_all()
            awaited = self.supervisor.awaited()
            if not self._ring.is_set() and awaited:
                select.select(awaited, [], [], 0.01)
            else:
                self._ring.wait(0.05)
            self._ring.clear()

    def _publish(self, _camera: LaneCamera, prediction: Prediction) -> None:
        with self._news:
            self.told_ns.append(CLOCK.monotonic_ns())
            self.told.append(prediction)
            self._news.notify_all()

    def _fail(self, _camera: LaneCamera, frame: Frame, error: EdgeAgentError) -> None:
        with self._news:
            self.failed.append((frame.number, error))
            self._news.notify_all()
