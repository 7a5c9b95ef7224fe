"""What is asked of the agent as a whole and of its cameras: ping, config/get, snapshot, pause, resume,
threshold/set, restart.

docs/control.md has the requests and the answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.asked import Asked, Verb
from edge_agent.beside import Beside
from edge_agent.config import Config
from edge_agent.config.overrides import Overrides
from edge_agent.config.text import values
from edge_agent.errors import CameraError, EdgeAgentError, UsageError
from edge_agent.messages import timestamp
from edge_agent.reports import CameraReport
from edge_agent.shutter import Shutter, Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agent:
    """How the verbs reach into the running agent.

    ``config`` is what is in force; ``follow`` brings the agent in line with overrides that changed;
    ``lingering`` is :meth:`edge_agent.rig.Rig.lingering`; ``restart`` begins one, or raises why not.
    """

    name: str
    config: Callable[[], Config]
    cameras: Callable[[], Sequence[CameraReport]]
    follow: Callable[[], None]
    lingering: Callable[[Collection[str]], list[str]]
    restart: Callable[[], None]


class AgentVerbs:
    """Every method belongs to the main thread."""

    def __init__(self, agent: Agent, overrides: Overrides, shutter: Shutter, beside: Beside) -> None:
        self._agent = agent
        self._overrides = overrides
        self._shutter = shutter
        self._beside = beside

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """What is answered here."""
        return {
            "ping": Verb(self._ping),
            "config/get": Verb(self._get_config),
            "snapshot": Verb(self._snapshot, ("camera",)),
            "pause": Verb(self._pause, ("camera", "paused")),
            "resume": Verb(self._resume, ("camera",)),
            "threshold/set": Verb(self._set_threshold, ("threshold", "camera", "slot")),
            "restart": Verb(self._restart),
        }

    def _ping(self, asked: Asked) -> None:
        asked.end({"agent": self._agent.name})

    def _get_config(self, asked: Asked) -> None:
        asked.end({"values": values(self._agent.config()), "overrides": self._overrides.dotted()})

    def _snapshot(self, asked: Asked) -> None:
        (camera,) = self._cameras(asked, one=True)
        found = {each.name: each for each in self._agent.cameras()}.get(camera)
        if found is None or found.paused:
            raise CameraError(f"camera {camera} is paused", f"resume it: edge-agent resume {camera}")
        if found.status.state != "online":
            raise CameraError(f"camera {camera} is {found.status.state}", found.status.fault)

        def told(outcome: Snapshot | EdgeAgentError) -> None:
            if isinstance(outcome, EdgeAgentError):
                asked.fail(outcome)
            else:
                asked.end(_described(outcome))

        self._shutter.ask(camera, told)

    def _pause(self, asked: Asked) -> None:
        # A switch sends both to one topic.
        self._set_paused(asked, paused=asked.argument("paused", bool, True))

    def _resume(self, asked: Asked) -> None:
        self._set_paused(asked, paused=False)

    def _set_paused(self, asked: Asked, *, paused: bool) -> None:
        cameras = self._cameras(asked)
        with self._overrides.or_as_before():
            self._overrides.pause(cameras, paused=paused)
            self._agent.follow()
        for camera in cameras:
            logger.info("camera %s is %s", camera, "paused" if paused else "resumed")

        def state(*, kept: bool) -> object:
            lingering = self._agent.lingering(cameras)
            return {
                "cameras": [
                    {"camera": each, "paused": paused, "released": paused and each not in lingering}
                    for each in cameras
                ],
                "kept": kept,
            }

        self._keep(asked, state)

    def _set_threshold(self, asked: Asked) -> None:
        threshold = asked.share("threshold")
        camera, slot = asked.argument("camera", str, ""), asked.argument("slot", str, "")
        if camera and slot:
            raise UsageError("a camera and a slot are named", "name one of them")
        known = self._agent.config()
        if camera:
            section, name = "cameras", _known(camera, known.cameras, "camera")
        else:
            section, name = "models", _known(slot or _only(known.models, "slot"), known.models, "slot")
        with self._overrides.or_as_before():
            self._overrides.set_threshold(section, name, threshold)
            self._agent.follow()
        in_force = getattr(self._agent.config(), section)[name].threshold
        logger.info("%s.%s.threshold is %s", section, name, in_force)
        told = {"camera": camera or None, "slot": None if camera else name, "threshold": in_force}
        self._keep(asked, lambda *, kept: {**told, "kept": kept})

    def _restart(self, asked: Asked) -> None:
        self._agent.restart()
        asked.end({"agent": self._agent.name})

    def _keep(self, asked: Asked, content: Callable[..., object]) -> None:
        """Write the overrides, then answer: what could not be written is in force until the agent ends."""

        def done(outcome: EdgeAgentError | None) -> None:
            if outcome is not None:
                logger.warning("%s", outcome)
            asked.end(content(kept=outcome is None))

        self._beside.start("overrides", self._overrides.write, done)

    def _cameras(self, asked: Asked, *, one: bool = False) -> Sequence[str]:
        """The named one, else all; where ``one`` is needed, the only one."""
        known = self._agent.config().cameras
        camera = asked.argument("camera", str, "")
        if camera:
            return [_known(camera, known, "camera")]
        return [_only(known, "camera")] if one else list(known)


def _known(name: str, known: Collection[str], what: str) -> str:
    if name not in known:
        raise UsageError(f"there is no {what} {name[:80]!r}", f"there are: {', '.join(known)}")
    return name


def _only(known: Collection[str], what: str) -> str:
    if len(known) > 1:
        raise UsageError(f"there are several {what}s: {', '.join(known)}", "name one of them")
    return next(iter(known))


def _described(snapshot: Snapshot) -> object:
    frame, (height, width) = snapshot.prediction.frame, snapshot.jpeg.size
    return {
        "camera": snapshot.camera,
        "frame": frame.number,
        "captured_at": timestamp(frame.captured_at_ns),
        "width": width,
        "height": height,
        "bytes": len(snapshot.jpeg.encoded),
    }
