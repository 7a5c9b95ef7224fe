"""``scene:finishes``: guitars drawn from a seed, which no model was trained on; a camera for any machine."""

from __future__ import annotations

import threading
import time

from edge_agent.cameras.finishes import SCENE_SEEDS, render
from edge_agent.cameras.options import split_options
from edge_agent.cameras.source import Picture
from edge_agent.errors import CameraError, CameraSetupError

SCENE_FPS = 30.0
"""As many as a camera gives; the picture changes every ``hold_s``."""


class SceneSource:
    """Live pictures; each is named by its seed and what it shows: ``finishes/3000007/sunburst``."""

    lossless = False
    has_sensor = False
    retry_cap_s = 2.0

    def __init__(self, source: str) -> None:
        """Raises CameraSetupError."""
        self.unreadable = 0
        name, options = split_options(source, {"seed": 0, "hold_s": 1.0})
        if name != "finishes":
            raise CameraSetupError(f"there is no scene {name!r}", "use scene:finishes")
        self._first = int(options["seed"])
        self._hold_s = options["hold_s"]
        self._interrupted = threading.Event()
        self._begun_s = 0.0
        self._next_s = 0.0
        self._shown: int | None = None
        self._picture: Picture | None = None

    def open(self) -> None:
        """The first picture is there at once."""
        self._begun_s = self._next_s = time.monotonic()

    def grab(self) -> bool:
        """Wait as long as a camera would."""
        if self._interrupted.wait(max(self._next_s - time.monotonic(), 0.0)):
            raise CameraError("the scene was interrupted")
        self._next_s = max(self._next_s + 1 / SCENE_FPS, time.monotonic())
        return True

    def retrieve(self) -> Picture | None:
        """The picture that is shown now; drawn once, then held."""
        turn = int((time.monotonic() - self._begun_s) / self._hold_s)
        if turn != self._shown or self._picture is None:
            seed = SCENE_SEEDS[(self._first + turn) % len(SCENE_SEEDS)]
            pixels, label = render(seed)
            self._shown, self._picture = turn, Picture(pixels, f"finishes/{seed}/{label}")
        return self._picture

    def interrupt(self) -> None:
        """End the wait in :meth:`grab`."""
        self._interrupted.set()

    def close(self) -> None:
        """Nothing is held."""
