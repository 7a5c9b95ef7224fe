"""The cameras and the lanes that take their frames, as the configuration wants them now."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Sequence

from edge_agent import assembly
from edge_agent.cameras import Bell, Camera, CameraSettings
from edge_agent.canary import CanaryStatus
from edge_agent.clock import Clock
from edge_agent.config import Config
from edge_agent.cross_check import CrossCheckStatus
from edge_agent.errors import CameraSetupError, ConfigError
from edge_agent.facts import EndReason
from edge_agent.lane import Lane
from edge_agent.reports import CameraReport

logger = logging.getLogger(__name__)

CLOSE_S = 0.3
"""A reader that waits for the next frame of a 5 fps camera has ended by then."""


class Rig:
    """One lane per slot, each camera on the lane of its slot. One thread uses it."""

    def __init__(self, config: Config, make_lane: Callable[[str, Bell], Lane], clock: Clock) -> None:
        """Build everything, start nothing. Raises ConfigError for a source that can never work."""
        self._clock = clock
        self._config = config
        self._lanes = {slot: make_lane(slot, Bell()) for slot in config.models}
        self._cameras = {name: self._build(name, config) for name in config.cameras}
        self._started: set[str] = set()
        self._left: dict[str, Camera] = {}

    def start(self) -> None:
        """Let frames flow."""
        self._share()
        self._start_cameras()
        for name in self._cameras.keys() - self._started:
            logger.info("camera %s is paused", name)
        for lane in self._lanes.values():
            lane.start()

    def change(self, config: Config) -> Sequence[str]:
        """Make the cameras those of another configuration; the names of those that went.

        One that is paused now is released; a file or folder is held where it is. Cameras of slots that are
        not there wait for a restart. Raises ConfigError; nothing changed then.
        """
        wanted = {name: each for name, each in config.cameras.items() if each.model in self._lanes}
        kept = {name for name in wanted if self._stays(name, config)}
        fresh = {name: self._build(name, config) for name in wanted if name not in kept}
        for name in kept:
            self._cameras[name].update(fps=wanted[name].fps)
        gone = {name: camera for name, camera in self._cameras.items() if name not in kept}
        self._cameras = {name: fresh.get(name) or self._cameras[name] for name in wanted}
        self._started.difference_update(gone)
        self._config = config
        self._share()
        for name, camera in gone.items():
            # A moment, for a device takes no second reader; a source that hangs ends when it can.
            if not camera.close(CLOSE_S):
                self._left[name] = camera
        self._start_cameras()
        return [name for name in gone if name not in fresh]

    def lingering(self, names: Collection[str]) -> list[str]:
        """Those of the cameras that were released, but whose source has not let go of its device yet."""
        for name in [name for name, camera in self._left.items() if camera.close(0.0)]:
            del self._left[name]
        return [name for name in names if name in self._left]

    def ended(self, down: Collection[str]) -> bool:
        """Whether every source has ended and every frame of it is answered; of slots that are ``down``,
        files and folders wait for nothing.
        """
        blocked = self.blocked(down)
        waiting = [name for name, camera in self._cameras.items() if not camera.ended]
        busy = [slot for slot, lane in self._lanes.items() if lane.holds() and slot not in down]
        return not busy and all(name in blocked for name in waiting)

    def blocked(self, down: Collection[str]) -> list[str]:
        """Files and folders that were not seen to their end and whose slot is ``down``."""
        slots = {name: self._config.cameras[name].model for name in self._cameras}
        return [
            name
            for name, camera in self._cameras.items()
            if camera.lossless
            and slots[name] in down
            and (not camera.ended or self._lanes[slots[name]].holds(camera))
        ]

    def reports(self, down: Collection[str]) -> list[CameraReport]:
        """Every camera as it stands; nothing serves the slots that are ``down``."""
        return [self._report(name, camera, down) for name, camera in self._cameras.items()]

    def _report(self, name: str, camera: Camera, down: Collection[str]) -> CameraReport:
        wanted, status = self._config.cameras[name], camera.status()
        if wanted.paused and name not in self._started:
            status = dataclasses.replace(status, state="offline")
        # The last frames of a camera that has ended are answered yet.
        watched = status.state == "online" or self._lanes[wanted.model].holds(camera)
        blind: EndReason | None = None
        if wanted.paused:
            blind = "paused"
        elif wanted.model in down:
            blind = "model"
        elif not watched:
            blind = "camera"
        return CameraReport(name, assembly.threshold_of(self._config, name), status, blind)

    def cross_checks(self) -> dict[str, CrossCheckStatus]:
        """By slot, where frames are checked against the CPU."""
        lanes = self._lanes.items()
        return {slot: lane.cross_check.status for slot, lane in lanes if lane.cross_check is not None}

    def canaries(self) -> dict[str, CanaryStatus]:
        """By slot, where there is one."""
        return {slot: lane.canary.status for slot, lane in self._lanes.items() if lane.canary is not None}

    def faults(self) -> list[str]:
        """What is wrong with cameras, and with models that their canary saw to be, a line each."""
        told = [(name, camera.status().fault) for name, camera in self._cameras.items()]
        faults = [f"camera {name}: {fault}" for name, fault in told if fault]
        return faults + [f"slot {slot}: {each.fault}" for slot, each in self.canaries().items() if each.fault]

    def stuck(self) -> list[str]:
        """Lanes that do not go on, a line each: nothing but a restart brings them back."""
        stuck = []
        for slot, lane in self._lanes.items():
            if lane.crash is not None:
                stuck.append(f"lane {slot} ended by an internal fault: {lane.crash!r}; restart the agent")
            elif lane.overdue_s() > 0:  # by how much is no news: each fault that changes is an event
                stuck.append(f"lane {slot} is past its deadline; if that lasts, restart the agent")
        return stuck

    def stop(self, timeout_s: float) -> None:
        """Let the frames on their way be answered, then end; what hangs is left behind in time."""
        for lane in self._lanes.values():
            lane.stop()
        for camera in self._cameras.values():
            camera.close(0.0)
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        for lane in self._lanes.values():
            if lane.is_alive():
                lane.join(max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9))
        for camera in self._cameras.values():
            camera.close(max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9))

    def _stays(self, name: str, config: Config) -> bool:
        """Whether a camera goes on as it is, but for its rate."""
        if name not in self._cameras:
            return False
        camera, before, wanted = self._cameras[name], self._config.cameras[name], config.cameras[name]
        same = wanted.model == before.model and _without_fps(camera.settings) == _without_fps(
            assembly.camera_settings(name, wanted)
        )
        return same and not (wanted.paused and name in self._started and not camera.lossless)

    def _build(self, name: str, config: Config) -> Camera:
        wanted = config.cameras[name]
        try:
            settings = assembly.camera_settings(name, wanted)
            return Camera(settings, self._lanes[wanted.model].bell, self._clock)
        except CameraSetupError as error:
            raise ConfigError(f"cameras.{name}: {error.what}", error.remedy) from error

    def _start_cameras(self) -> None:
        """Those that are not paused and do not run."""
        for name, camera in self._cameras.items():
            if name not in self._started and not self._config.cameras[name].paused:
                self._started.add(name)
                camera.start()

    def _share(self) -> None:
        """Give each lane its cameras, but for paused ones: a file or folder waits until it is taken from."""
        for slot, lane in self._lanes.items():
            lane.cameras = tuple(
                camera
                for name, camera in self._cameras.items()
                if self._config.cameras[name].model == slot and not self._config.cameras[name].paused
            )
            lane.bell.ring()


def _without_fps(settings: CameraSettings) -> CameraSettings:
    return dataclasses.replace(settings, fps=0.0)
