"""The path of frames to one worker: a thread that takes the newest frames of its cameras in turn."""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.cameras import Bell
from edge_agent.canary import Canary
from edge_agent.classifier import IN_FLIGHT, Classifier, Ticket
from edge_agent.clock import Clock
from edge_agent.cross_check import CrossCheck
from edge_agent.errors import DisagreementError, EdgeAgentError, InferenceError, SlotDownError, WorkerError
from edge_agent.frames import Frame
from edge_agent.predictions import Prediction

logger = logging.getLogger(__name__)

MAX_TRIES = 3
"""Workers that one frame may cost before it is given up: a frame that kills each must not end the slot."""

IDLE_WAIT_S = 0.25
"""How long a lane waits before it looks whether it should stop; every wait of it is at most this, or
bounded by the worker's deadline.
"""


class LaneCamera(Protocol):
    """What a lane needs of a camera; see :class:`edge_agent.cameras.Camera`."""

    name: str
    lossless: bool

    def take(self) -> Frame | None:
        """The next frame, never blocking."""
        ...


class Serving(Protocol):
    """What a lane needs of the supervisor."""

    def serving(self, slot: str, timeout_s: float) -> Classifier | None:
        """See :class:`edge_agent.supervisor.Supervisor`."""
        ...

    def lost(self, classifier: Classifier, error: WorkerError) -> None:
        """See :class:`edge_agent.supervisor.Supervisor`."""
        ...


@dataclass(eq=False)
class _Work:
    """A frame on its way; without a ticket it is with no worker."""

    camera: LaneCamera | Canary
    frame: Frame
    ticket: Ticket | None = None
    tries: int = 0

    def is_with(self, classifier: Classifier) -> bool:
        """Whether that one's worker has it."""
        return self.ticket is not None and self.ticket.classifier.runner is classifier.runner


class Lane(threading.Thread):
    """Frames of one slot's cameras in, predictions out, in order per camera.

    ``publish(camera, prediction)`` and ``fail(camera, frame, error)`` are called on this thread, one
    of them exactly once for each frame taken. A source that loses no frame waits while ``has_room()`` says
    that what it gives could not be kept. The ``cross_check`` and the ``canary`` are this lane's own; what
    comes of the canary's frames only the canary hears.
    """

    def __init__(
        self,
        slot: str,
        bell: Bell,
        supervisor: Serving,
        clock: Clock,
        publish: Callable[[LaneCamera, Prediction], None],
        fail: Callable[[LaneCamera, Frame, EdgeAgentError], None],
        has_room: Callable[[], bool] = lambda: True,
        cross_check: CrossCheck | None = None,
        canary: Canary | None = None,
    ) -> None:
        super().__init__(name=f"lane-{slot}", daemon=True)
        self.slot = slot
        self.cameras: Sequence[LaneCamera] = ()
        self.bell = bell
        self.crash: BaseException | None = None
        self.cross_check = cross_check
        self.canary = canary
        self._supervisor = supervisor
        self._clock = clock
        self._publish = publish
        self._fail = fail
        self._has_room = has_room
        self._stopping = threading.Event()
        self._turn_of = 0
        self._works: collections.deque[_Work] = collections.deque()
        self._turn_ns = clock.monotonic_ns()
        self._allowed_s = IDLE_WAIT_S

    def holds(self, camera: LaneCamera | None = None) -> bool:
        """Whether a frame (of ``camera``) is on its way."""
        return any(camera is None or work.camera is camera for work in list(self._works))

    def overdue_s(self) -> float:
        """By how much the turn under way is past its deadline; 0 when it is not."""
        spent_s = (self._clock.monotonic_ns() - self._turn_ns) / 1e9
        return max(0.0, spent_s - self._allowed_s) if self.is_alive() else 0.0

    def stop(self) -> None:
        """Let the thread end after the frames on their way; does not wait."""
        self._stopping.set()
        self.bell.ring()

    def run(self) -> None:
        """The thread: a turn after another."""
        try:
            while not (self._stopping.is_set() and not self._works):
                self._turn()
        except Exception as error:  # the top of a thread: the main loop makes it a fault
            logger.exception("lane %s ended", self.slot)
            self.crash = error

    def _turn(self) -> None:
        """Hand over what waits, then finish the oldest frame if two are begun or no other comes."""
        classifier = self._wait_serving()
        if classifier is None:
            if self._stopping.is_set():
                self._works.clear()
            return
        # At most: a send and an answer, again for a frame that was lost, again for one that is checked.
        self._allow(6 * classifier.timeout_s + IDLE_WAIT_S)
        if not self._settle_check():
            return
        taken = None if self._stopping.is_set() or len(self._works) == IN_FLIGHT else self._take(classifier)
        if taken is not None:
            self._works.append(taken)
        for work in [work for work in self._works if work.ticket is None]:
            if not self._begin(work, classifier):
                return
        if self._works and (taken is None or len(self._works) == IN_FLIGHT):
            self._finish(self._works[0])
        elif taken is None:
            self.bell.wait(IDLE_WAIT_S)

    def _wait_serving(self) -> Classifier | None:
        """What serves; None after a short wait in which nothing did: frames wait in their cameras."""
        self._allow(2 * IDLE_WAIT_S)
        try:
            return self._supervisor.serving(self.slot, IDLE_WAIT_S)
        except SlotDownError as error:
            # What must not be lost waits here for another model, or for SIGHUP.
            for work in [work for work in self._works if not work.camera.lossless]:
                self._give_up(work, error)
            self._stopping.wait(IDLE_WAIT_S)
            return None

    def _take(self, classifier: Classifier) -> _Work | None:
        """The canary's frame if it is due, else the newest one of the next camera that has one."""
        if self.canary is not None and (shown := self.canary.take(classifier)) is not None:
            return _Work(self.canary, shown)
        cameras = self.cameras
        for step in range(len(cameras)):
            turn = (self._turn_of + step) % len(cameras)
            if cameras[turn].lossless and not self._has_room():
                continue
            frame = cameras[turn].take()
            if frame is not None:
                self._turn_of = turn + 1
                return _Work(cameras[turn], frame)
        return None

    def _begin(self, work: _Work, classifier: Classifier) -> bool:
        """Hand a frame to the worker; False when that showed the worker to be lost."""
        try:
            work.ticket = classifier.begin(work.frame)
        except WorkerError as error:
            self._lose(classifier, error)
            return False
        except EdgeAgentError as error:
            self._give_up(work, error)
            return True
        if self.cross_check is not None and classifier.device == "edgetpu":
            self.cross_check.ask(work.ticket)
        return True

    def _finish(self, work: _Work) -> None:
        """Wait for the oldest frame's answer and publish it."""
        assert work.ticket is not None
        classifier = work.ticket.classifier
        try:
            answer = classifier.answer(work.ticket)
            prediction = classifier.prediction(work.ticket, answer, work.camera.name)
        except InferenceError as error:
            if classifier.device == "edgetpu":
                # The CPU twin has the answer that the stick will not give.
                self._lose(classifier, error)
            else:
                self._give_up(work, error)
        except WorkerError as error:
            self._lose(classifier, error)
        else:
            if self.cross_check is not None:
                self.cross_check.hear(work.ticket, answer)
            self._works.popleft()
            if isinstance(work.camera, Canary):
                work.camera.hear(prediction)
            else:
                self._publish(work.camera, prediction)

    def _settle_check(self) -> bool:
        """Hear the CPU on frames that were published; False when that showed the Edge TPU to be wrong."""
        found = self.cross_check.settle() if self.cross_check is not None else None
        if found is not None:
            self._lose(*found)
        return found is None

    def _lose(self, classifier: Classifier, error: WorkerError) -> None:
        """The worker is gone: its frames are begun again, in order, with the one that comes next."""
        self._supervisor.lost(classifier, error)
        if self.cross_check is not None:
            self.cross_check.drop()
        lost = [work for work in self._works if work.is_with(classifier)]
        for work in lost:
            work.ticket = None
        # Only the oldest was being worked on, the others merely waited; and a wrong answer was an earlier
        # frame's.
        if lost and lost[0] is self._works[0] and not isinstance(error, DisagreementError):
            lost[0].tries += 1
            if lost[0].tries >= MAX_TRIES:
                self._give_up(lost[0], error)

    def _give_up(self, work: _Work, error: EdgeAgentError) -> None:
        self._works.remove(work)
        if isinstance(work.camera, Canary):
            work.camera.failed(error)
        else:
            self._fail(work.camera, work.frame, error)

    def _allow(self, seconds: float) -> None:
        """Start the clock of this part of the turn."""
        self._turn_ns = self._clock.monotonic_ns()
        self._allowed_s = seconds
