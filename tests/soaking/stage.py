"""What the agent works with: pictures, two network cameras, a broker behind a network, a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.agents import SMALL_MODEL, Table, configuration, sturdy_broker, toml
from tests.brokers import Broker, free_port
from tests.losses import pictures
from tests.proxies import Proxy
from tests.streams import MjpegServer, RtspServer
from tests.swaps import put_fresh

CAMERAS = ("clip", "scene", "door", "yard")
"""A folder that is looped at full speed, drawn pictures, MJPEG, RTSP; the last three wait for nobody."""

SHOWN = 2000


@dataclass(frozen=True)
class Stage:
    """``socket`` is where the agent is asked, ``metrics`` the port where it tells Prometheus."""

    folder: Path
    broker: Broker
    proxy: Proxy
    door: MjpegServer
    yard: RtspServer
    shown: Path
    metrics: int

    @property
    def model(self) -> Path:
        """The path that is configured; what lies there is replaced."""
        return self.folder / "model.zip"

    @property
    def socket(self) -> Path:
        """Of the agent."""
        return self.folder / "control.sock"

    def text(self, scene_fps: float = 10) -> str:
        """The configuration: a trial of a model is brief, what waited is sent as fast as it goes."""
        cameras: dict[str, Table] = {
            "clip": {"source": self.shown, "loop": True},
            "scene": {"source": "scene:finishes", "fps": scene_fps},
            "door": {"source": self.door.url, "fps": 15},
            "yard": {"source": self.yard.url, "fps": 10},
        }
        text = configuration(
            self.proxy.port,
            cameras,
            agent={"state_dir": self.folder / "state", "socket": self.socket},
            model={"path": self.model},
            inference={"threads": 1},
        )
        return text + toml(
            {
                "cameras.scene.snapshots": {"every_s": 5},
                "updates": {"settle_s": 0.2, "probation_frames": 20, "probation_s": 1.0},
                "outbox": {"replay_per_s": 1000},
                "metrics": {"port": self.metrics},
            }
        )


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """All of it runs for as long as the block lasts."""
    with ExitStack() as stack:
        broker = stack.enter_context(sturdy_broker())
        proxy = stack.enter_context(Proxy(broker.port))
        door = stack.enter_context(MjpegServer(fps=15))
        yard = stack.enter_context(RtspServer(fps=10))
        stage = Stage(folder, broker, proxy, door, yard, pictures(folder, SHOWN), free_port())
        put_fresh(SMALL_MODEL, stage.model, "turn-0")
        yield stage
