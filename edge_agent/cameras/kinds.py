"""Which kind of source the text in the configuration means."""

from __future__ import annotations

from pathlib import Path

from edge_agent.addresses import PORTS, masked, scheme_of
from edge_agent.cameras.path import PathSource
from edge_agent.cameras.picamera import PicameraSource
from edge_agent.cameras.scene import SceneSource
from edge_agent.cameras.settings import CameraSettings
from edge_agent.cameras.source import Source
from edge_agent.cameras.stream import StreamSource
from edge_agent.cameras.v4l2 import V4l2Source, device_path
from edge_agent.errors import CameraSetupError

_REMEDY = "use /dev/video0, rtsp:// or http://, a video, a folder of images, picamera:0 or scene:finishes"


def source_for(settings: CameraSettings) -> Source:
    """A source that has not been opened. Raises CameraSetupError for one that can never work."""
    text = settings.source
    scheme = scheme_of(text)
    if not text.strip() or "\0" in text:
        raise CameraSetupError(f"camera {settings.name} has no source", _REMEDY)
    if scheme in PORTS:
        return StreamSource(text, settings)
    if scheme is not None:
        raise CameraSetupError(f"{masked(text)}: there is no kind of source {scheme}://", _REMEDY)
    if text.startswith("scene:"):
        return SceneSource(text)
    if text.startswith("picamera:"):
        return PicameraSource(text)
    if device_path(text) is not None:
        return V4l2Source(text)
    return PathSource(Path(text), settings)
