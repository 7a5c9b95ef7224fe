"""When a picture of a camera is taken, and where it goes.

The lane hands over a frame where one is wanted; it is encoded beside the main loop, one at a time, published,
and forgotten.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from edge_agent.beside import Beside
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, EdgeAgentError
from edge_agent.frames import Pixels
from edge_agent.predictions import Prediction
from edge_agent.snapshots import Jpeg, SnapshotStyle, encode
from edge_agent.topics import UNKNOWN

logger = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""How long a request waits for the camera's next frame: longer than a slow model or a pause in a stream."""

Told = Callable[["Snapshot | EdgeAgentError"], None]
Publish = Callable[[str, bytes], None]


@dataclass(frozen=True)
class SnapshotRule:
    """When one is taken without being asked for, and how it looks; ``every_s`` 0: not by the clock."""

    on_event: bool = False
    every_s: float = 0.0
    style: SnapshotStyle = field(default_factory=SnapshotStyle)


@dataclass(frozen=True)
class Snapshot:
    """A picture that was published, and the prediction that goes with it."""

    camera: str
    prediction: Prediction
    jpeg: Jpeg


@dataclass(frozen=True)
class _Asked:
    """Who asked at ``at_ns`` for a picture that is taken after number ``after``."""

    at_ns: int
    after: int
    told: Told


class Shutter:
    """``see`` may be called from any thread, the rest belongs to the main one.

    ``publish(camera, jpeg)`` hands a picture over; ``seen(prediction)`` gives the part of its frame that the
    model looked at; ``wake`` is called when a picture waits to be encoded.
    """

    def __init__(
        self,
        publish: Publish,
        seen: Callable[[Prediction], Pixels],
        beside: Beside,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._publish = publish
        self._seen = seen
        self._beside = beside
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._rules: Mapping[str, SnapshotRule] = {}
        self._due_ns: dict[str, int] = {}
        self._count = 0
        self._latest: dict[str, int] = {}
        self._taken: dict[str, tuple[int, Prediction]] = {}
        self._asked: dict[str, list[_Asked]] = {}
        self._encoding = False

    def set_rules(self, rules: Mapping[str, SnapshotRule]) -> None:
        """From now on; of a camera that has none no picture is taken, and none that waits is published."""
        with self._lock:
            self._rules = rules
            for camera in [camera for camera in self._taken if camera not in rules]:
                del self._taken[camera]
        for camera in [camera for camera in self._asked if camera not in rules]:
            self._tell(camera, CameraError(f"camera {camera} is paused"))

    def ask(self, camera: str, told: Told) -> None:
        """Take the next picture of a camera that has a rule, and tell what became of it."""
        with self._lock:
            asked = _Asked(self._clock.monotonic_ns(), self._count, told)
            self._asked.setdefault(camera, []).append(asked)

    def see(self, camera: str, prediction: Prediction, *, began: bool) -> None:
        """A frame was looked at; ``began``: a label began with it. It is kept only where it is wanted."""
        rule = self._rules.get(camera)
        if rule is None:
            return
        due = rule.every_s > 0 and self._clock.monotonic_ns() >= self._due_ns.get(camera, 0)
        if not (due or self._is_asked_for(camera) or (began and rule.on_event)):
            return
        with self._lock:
            if camera not in self._rules:
                return
            if due:
                self._due_ns[camera] = self._clock.monotonic_ns() + int(rule.every_s * 1e9)
            if camera in self._taken:
                return  # the one before, perhaps of an event, is not encoded yet
            self._count += 1
            self._taken[camera] = self._count, prediction
            self._latest[camera] = self._count
        self._wake()

    def _is_asked_for(self, camera: str) -> bool:
        """Whether somebody asked since the latest picture of it was taken."""
        asked = self._asked.get(camera)
        return asked is not None and asked[-1].after >= self._latest.get(camera, 0)

    def turn(self) -> None:
        """Encode what waits, one at a time, and give up what waited too long."""
        oldest_ns = self._clock.monotonic_ns() - int(PATIENCE_S * 1e9)
        for camera in [camera for camera, asked in self._asked.items() if asked[0].at_ns < oldest_ns]:
            what = f"no picture of camera {camera} was looked at within {PATIENCE_S:.0f} s"
            remedy = "see the faults that `edge-agent status` tells"
            self._tell(camera, CameraError(what, remedy))
        if self._encoding:
            return
        with self._lock:
            if not self._taken:
                return
            camera = next(iter(self._taken))
            (number, prediction), style = self._taken.pop(camera), self._rules[camera].style
        self._encoding = True
        encode = partial(self._encode, prediction, style)
        self._beside.start("snapshot", encode, partial(self._done, camera, number))

    def _encode(self, prediction: Prediction, style: SnapshotStyle) -> tuple[Prediction, Jpeg]:
        pixels = self._seen(prediction) if style.kind == "crop" else prediction.frame.pixels
        caption = _caption(prediction) if style.caption else None
        return prediction, encode(pixels, style.max_size, style.quality, caption)

    def _done(self, camera: str, number: int, outcome: tuple[Prediction, Jpeg] | EdgeAgentError) -> None:
        self._encoding = False
        if camera not in self._rules:
            return
        if isinstance(outcome, EdgeAgentError):
            logger.warning("no picture of camera %s: %s", camera, outcome)
            self._tell(camera, outcome, number)
            return
        snapshot = Snapshot(camera, *outcome)
        self._publish(camera, snapshot.jpeg.encoded)
        self._tell(camera, snapshot, number)

    def _tell(self, camera: str, what: Snapshot | EdgeAgentError, number: int | None = None) -> None:
        """Tell those that asked before the picture of that number was taken, else all; the others wait."""
        with self._lock:
            asked = self._asked.pop(camera, [])
            waiting = [] if number is None else [each for each in asked if each.after >= number]
            if waiting:
                self._asked[camera] = waiting
        for each in asked:
            if each not in waiting:
                each.told(what)


def _caption(prediction: Prediction) -> str:
    if not prediction.ranking:
        return UNKNOWN
    best = prediction.ranking[0]
    return f"{best.label} {best.score:.0%}"
