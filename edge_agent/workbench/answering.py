"""Images to a model's answers, several at a time: a thread and a worker process each."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError, ImageError, WorkerDiedError, WorkerError, WorkerStuckError
from edge_agent.frames import Frame
from edge_agent.images import read_image
from edge_agent.predictions import Prediction
from edge_agent.workbench.journal import Answer
from edge_agent.workbench.one_shot import OneShot

TRIES = 3
"""Workers that one image may cost, as a frame of the agent's: the first may have been killed by somebody."""

_LOOK_S = 0.2
"""How often a thread that waits looks whether it is to end."""

Opener = Callable[[], OneShot]
"""Starts a worker with the model. Raises BundleError, WorkerError."""


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be judged, by its place in the dataset, and why."""

    image: int
    reason: str


def answer_images(
    paths: Sequence[Path], wanted: Iterable[int], shots: Sequence[OneShot], reopen: Opener, clock: Clock
) -> Generator[Answer | Unreadable]:
    """The model's answers to the ``wanted`` of ``paths``, as they come; ``shots`` answer side by side.

    A worker that dies or hangs is replaced through ``reopen`` and its image run again. The shots are closed
    when the iterator is. Raises WorkerError where an image costs TRIES workers or the model refuses it, and
    what ``reopen`` raises.
    """
    turns = _Turns(wanted)
    answers: queue.Queue[Answer | Unreadable | EdgeAgentError | None] = queue.Queue(2 * len(shots))
    lanes = [_Lane(paths, turns, shot, reopen, clock, answers) for shot in shots]
    for lane in lanes:
        lane.start()
    try:
        running = len(lanes)
        while running:
            try:
                answer = answers.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if answer is None:
                running -= 1
            elif isinstance(answer, EdgeAgentError):
                raise answer
            else:
                yield answer
    finally:
        turns.stop.set()
        for lane in lanes:
            lane.join()


class _Turns:
    """Whose turn is next, for all lanes; ``stop``: nobody's."""

    def __init__(self, wanted: Iterable[int]) -> None:
        self.stop = threading.Event()
        self._left = iter(wanted)
        self._lock = threading.Lock()

    def next(self) -> int | None:
        """The next image; None at the end."""
        with self._lock:
            return None if self.stop.is_set() else next(self._left, None)


class _Lane(threading.Thread):
    """Reads, prepares and runs one image after another. At its end it leaves None, or what ended it."""

    def __init__(
        self,
        paths: Sequence[Path],
        turns: _Turns,
        shot: OneShot,
        reopen: Opener,
        clock: Clock,
        answers: queue.Queue[Answer | Unreadable | EdgeAgentError | None],
    ) -> None:
        super().__init__(name="evaluate", daemon=True)
        self._paths = paths
        self._turns = turns
        self._reopen = reopen
        self._clock = clock
        self._answers = answers
        self._shot: OneShot | None = shot

    def run(self) -> None:
        """Until the images, or the worker's replacements, are used up."""
        try:
            self._put(self._all())
        finally:
            self._close()

    def _all(self) -> EdgeAgentError | None:
        try:
            while (image := self._turns.next()) is not None:
                self._put(self._judge(image))
        except EdgeAgentError as error:
            return error
        except Exception as error:
            return EdgeAgentError(
                f"internal fault: {type(error).__name__}: {error}", "run again with --debug"
            )
        return None

    def _put(self, answer: Answer | Unreadable | EdgeAgentError | None) -> None:
        """Unless nobody listens any more."""
        while not self._turns.stop.is_set():
            with contextlib.suppress(queue.Full):
                self._answers.put(answer, timeout=_LOOK_S)
                break

    def _judge(self, image: int) -> Answer | Unreadable:
        path = self._paths[image]
        try:
            pixels = read_image(path)
            frame = Frame(pixels, image, self._clock.monotonic_ns(), self._clock.wall_ns(), str(path))
            said = self._classify(frame)
        except ImageError as error:
            return Unreadable(image, str(error))
        return Answer(image, said.device, said.preprocess_ms, said.inference_ms, said.scores)

    def _classify(self, frame: Frame) -> Prediction:
        """Replacing a worker that dies or hangs, while it starts or runs."""
        for left in reversed(range(TRIES)):
            try:
                if self._shot is None:
                    self._shot = self._reopen()
                return self._shot.classify(frame)
            except (WorkerDiedError, WorkerStuckError) as error:
                self._close()
                if left == 0 or self._turns.stop.is_set():
                    raise WorkerError(
                        f"no answer to {frame.source}: {error}", "leave the image out, or use another model"
                    ) from error
            except WorkerError as error:
                raise WorkerError(f"no answer to {frame.source}: {error}") from error
        raise AssertionError

    def _close(self) -> None:
        if self._shot is not None:
            self._shot.close()
            self._shot = None
