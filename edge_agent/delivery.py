"""What a lane hands over: its predictions and its failures, given to the rooms that want them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from edge_agent.cameras import Bell
from edge_agent.canary import Canary
from edge_agent.clock import Clock
from edge_agent.cross_check import CrossCheck
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import CameraError, EdgeAgentError
from edge_agent.frames import Frame, Pixels
from edge_agent.lane import Lane, LaneCamera
from edge_agent.metrics import Tally
from edge_agent.mqtt import Publisher
from edge_agent.predictions import Prediction
from edge_agent.reporter import Reporter
from edge_agent.shutter import Shutter
from edge_agent.succession import Succession
from edge_agent.supervisor import Supervisor

OnPrediction = Callable[[str, Prediction], None]


class Delivery:
    """Makes the lanes, and hears what they have. All but ``lane`` and ``full`` belongs to their threads.

    ``full`` is True once ``frames`` predictions were taken; ``ring`` is called after the last of them.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        successions: Mapping[str, Succession],
        publisher: Publisher,
        reporter: Reporter,
        shutter: Shutter,
        is_paused: Callable[[str], bool],
        ring: Callable[[], None],
        *,
        tally: Tally | None = None,
        frames: int | None = None,
        on_prediction: OnPrediction | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._successions = successions
        self._publisher = publisher
        self._reporter = reporter
        self._shutter = shutter
        self._is_paused = is_paused
        self._ring = ring
        self._tally = tally
        self._frames_left = frames
        self._on_prediction = on_prediction
        self._counted = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether as many predictions were told as were wanted."""
        return self._frames_left == 0

    def lane(
        self, edgetpu: EdgeTpuSettings | None, canary: Canary | None, clock: Clock, slot: str, bell: Bell
    ) -> Lane:
        """One whose frames are delivered here; cross-checked where ``edgetpu`` says so."""
        return Lane(
            slot,
            bell,
            self._supervisor,
            clock,
            self.deliver,
            self._fail,
            self._has_room,
            self._cross_check(edgetpu, slot),
            canary,
        )

    def _cross_check(self, edgetpu: EdgeTpuSettings | None, slot: str) -> CrossCheck | None:
        if edgetpu is None or not edgetpu.cross_check_every:
            return None
        return CrossCheck(
            edgetpu.cross_check_every,
            edgetpu.cross_check_agreement,
            partial(self._supervisor.standby, slot),
            self._supervisor.lost,
        )

    def deliver(self, camera: LaneCamera, prediction: Prediction) -> None:
        """One prediction is there."""
        if not camera.lossless and self._is_paused(camera.name):
            return  # it was on its way
        with self._counted:
            if self._frames_left is not None:
                if self._frames_left == 0:
                    return
                self._frames_left -= 1
        self._successions[prediction.model.slot].observe(prediction)
        began = self._reporter.prediction(camera.name, prediction, live=not camera.lossless)
        if self._tally is not None:
            self._tally.predicted(camera.name, prediction)
        self._shutter.see(camera.name, prediction, began=began)
        if self._on_prediction is not None:
            self._on_prediction(camera.name, prediction)
        if self.full:
            self._ring()

    def _fail(self, camera: LaneCamera, frame: Frame, error: EdgeAgentError) -> None:
        """A frame could not be looked at."""
        self._reporter.failed(camera.name, frame.number, error)
        if self._tally is not None:
            self._tally.failed(camera.name)

    def _has_room(self) -> bool:
        """Whether what must not be lost would be kept."""
        return self._publisher.wait_for_room(0.0)


def seen_part(supervisor: Supervisor, prediction: Prediction) -> Pixels:
    """What the model looks at of a frame. Raises SlotDownError, CameraError where none serves now."""
    serving = supervisor.serving(prediction.model.slot, 0.0)
    if serving is None:
        raise CameraError("no model serves now", "try again")
    return serving.preprocessor.seen_part(prediction.frame.pixels)
