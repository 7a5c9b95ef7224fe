"""A stage: slots whose models follow one another, with real workers and a real repository; no cameras.

The test turns the main loop itself, in :meth:`Stage.until`, and looks at frames as a lane would.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

import numpy as np

from edge_agent.admission import Admission, Offer, Passed
from edge_agent.beside import Beside
from edge_agent.classifier import Classifier, RankingRule
from edge_agent.clock import SystemClock
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import EdgeAgentError, WorkerError
from edge_agent.frames import Frame
from edge_agent.predictions import Prediction
from edge_agent.probation import ProbationRules
from edge_agent.repository import Repository
from edge_agent.succession import Succession
from edge_agent.supervisor import Supervisor
from edge_agent.turns import Serves, Told
from edge_agent.worker_process import WorkerSettings
from tests.places import CORAL

PATIENCE_S = 30.0
SMALL_MODEL = CORAL / "mobilenet_v1_0.25_128_quant.tflite"
CLOCK = SystemClock()
FRAME = Frame(np.full((96, 96, 3), 90, np.uint8), 1, 0, 0)
LONG = ProbationRules(frames=1_000, seconds=3_600.0)
"""A trial that no test outlives."""


def outcome(what: Serves | Passed | EdgeAgentError) -> str:
    """What became of it: "serves", "unchanged", "unwritten" where a restart would undo it, why nothing was
    done, or the error, after its class.
    """
    match what:
        case Serves(unwritten=str()):
            return "unwritten"
        case Serves(unchanged=unchanged):
            return "unchanged" if unchanged else "serves"
        case Passed(why=why):
            return why
        case error:
            return f"{type(error).__name__}: {error}"


def bundle(folder: Path, name: str, *models: Path, text: str = "") -> Path:
    """A bundle of the small model, or of these; each name gives it another digest."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    place.mkdir()
    for model in models or (SMALL_MODEL,):
        shutil.copy(model, place)
    (place / "bundle.toml").write_text(f'name = "{name}"\n{text}')
    return place


def offer(path: Path, way: str = "path", *, asked: bool = False) -> Offer:
    """What lies there."""
    return Offer(way, path, str(path), asked)


class Stage:
    """Starts with what is installed in ``state_dir``, else with ``first``; ends cleanly with the ``with``.

    ``state_dir`` is None where nothing can be kept.
    """

    def __init__(
        self,
        state_dir: Path | None,
        first: Path,
        *,
        rules: ProbationRules = LONG,
        slots: Iterable[str] = ("default",),
        edgetpu: EdgeTpuSettings | None = None,
        settings: WorkerSettings | None = None,
        public_key: Path | None = None,
    ) -> None:
        self._public_key = public_key
        self._ring = threading.Event()
        settings = settings or WorkerSettings(threads=1)
        self.supervisor = Supervisor(settings, 30.0, CLOCK, self._ring.set, edgetpu=edgetpu)
        self._beside = Beside(self._ring.set)
        self.repositories: list[Repository] = []
        self.successions = {slot: self._succession(state_dir, slot, settings, rules) for slot in slots}
        for succession in self.successions.values():
            succession.boot(offer(first))
        self.succession = next(iter(self.successions.values()))

    def _succession(
        self, state_dir: Path | None, slot: str, settings: WorkerSettings, rules: ProbationRules
    ) -> Succession:
        repository = None if state_dir is None else Repository(state_dir, slot, 3, CLOCK)
        if repository is not None:
            self.repositories.append(repository)
        admission = Admission(slot, repository, settings, CLOCK, self._public_key)
        return Succession(admission, self.supervisor, self._beside, RankingRule(), rules, CLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for succession in self.successions.values():
            succession.stop()
        self.supervisor.close()

    def dies(self) -> None:
        """As with SIGKILL: nothing more is written down, and its locks are gone."""
        for repository in self.repositories:
            repository.close()
        self.successions = {}

    @property
    def repository(self) -> Repository:
        """The first slot's."""
        return self.repositories[0]

    @property
    def serving(self) -> str | None:
        """The name of what serves the first slot."""
        classifier = self.classifier()
        return None if classifier is None else classifier.identity.name

    def classifier(self, slot: str | None = None) -> Classifier | None:
        """What serves the slot."""
        wanted = slot or self.succession.slot
        return next((each.classifier for each in self.supervisor.status() if each.slot == wanted), None)

    def turn(self) -> None:
        """Of the main loop, as the daemon's."""
        self._ring.clear()
        self._beside.settle()
        for succession in self.successions.values():
            succession.step()
        booting = any(succession.booting for succession in self.successions.values())
        while self.supervisor.step(hold=booting):
            continue
        for news in self.supervisor.news():
            self.successions[news.slot].heard(news)

    def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop until it holds."""
        end = time.monotonic() + PATIENCE_S
        while True:
            self.turn()
            if condition():
                return
            assert time.monotonic() < end, (self.succession.report(), self.supervisor.status())
            if not self._ring.is_set() and (awaited := self.supervisor.awaited()):
                select.select(awaited, [], [], 0.01)
            else:
                self._ring.wait(0.02)

    def until_serving(self, name: str) -> None:
        """Turn the loop until a bundle of this name serves, and nothing else is to come."""
        self.until(lambda: self.serving == name and self.state in ("serving", "probation"))

    @property
    def state(self) -> str:
        """The first slot's."""
        return self.succession.report().state

    def offers(self, path: Path, way: str = "path", *, asked: bool = False) -> str:
        """Offer what lies there, and wait for what becomes of it."""
        return self.hears(lambda told: self.succession.offer(offer(path, way, asked=asked), told))

    def hears(self, ask: Callable[[Told], None]) -> str:
        """Ask for something, and wait for what is told of it."""
        told: list[str] = []
        ask(lambda what: told.append(outcome(what)))
        self.until(lambda: told)
        return told[0]

    def look(self, frames: int = 1) -> Prediction:
        """Classify so many frames, as a lane does; the last one's prediction."""
        while True:
            prediction = self._try()
            if prediction is None:
                self.turn()
                continue
            self.succession.observe(prediction)
            frames -= 1
            if not frames:
                return prediction

    def _try(self) -> Prediction | None:
        """None where nothing serves, or its worker was lost with the frame."""
        classifier = self.supervisor.serving(self.succession.slot, 0.05)
        if classifier is None:
            return None
        try:
            return classifier.classify(FRAME)
        except WorkerError as error:
            self.supervisor.lost(classifier, error)
            return None

    def crash(self) -> None:
        """Kill the worker that serves, as a bad model does."""
        classifier = self.classifier()
        assert classifier is not None
        os.kill(classifier.runner.pid, signal.SIGSEGV)
