"""Cameras: where frames come from, and what happens while none come (owns cv2.VideoCapture)."""

from edge_agent.cameras.capture import Camera
from edge_agent.cameras.kinds import source_for
from edge_agent.cameras.settings import CameraSettings, CameraState, CameraStatus, Region, Rotation
from edge_agent.cameras.slot import Bell
from edge_agent.cameras.source import Picture, Source

__all__ = [
    "Bell",
    "Camera",
    "CameraSettings",
    "CameraState",
    "CameraStatus",
    "Picture",
    "Region",
    "Rotation",
    "Source",
    "source_for",
]
