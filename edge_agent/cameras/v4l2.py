"""USB cameras and other Video4Linux devices: a number, ``/dev/videoN``, ``/dev/v4l/by-id/...``."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

import cv2

from edge_agent.cameras.opencv import CaptureSource
from edge_agent.errors import CameraError

_GONE = ("{device} is gone", "plug the camera in again")
_REASONS = {
    errno.ENOENT: (
        "there is no {device}",
        "plug the camera in; `v4l2-ctl --list-devices` shows what is there",
    ),
    errno.EACCES: (
        "no permission to open {device}",
        "add the agent's user to the group video, `sudo usermod -aG video USER`, and restart it",
    ),
    errno.EBUSY: ("{device} is in use", "`sudo fuser -v {device}` names the program that holds it"),
    errno.ENODEV: _GONE,
    errno.ENXIO: _GONE,
}


_QUERY_CAPABILITY = struct.Struct("=16s32s32sIII12x")
_QUERY_CAPABILITY_REQUEST = 0x80685600
"""VIDIOC_QUERYCAP of linux/videodev2.h: driver, card, bus, version, capabilities of all, of this node."""

_CAPTURES = 0x1 | 0x1000
_HAS_OWN = 0x8000_0000


def device_path(source: str) -> str | None:
    """The device that a source of the configuration means; None for what is none."""
    if source.isascii() and source.isdigit():
        return f"/dev/video{int(source)}"
    return source if source.startswith(("/dev/video", "/dev/v4l/")) else None


def captures(device: Path) -> bool | None:
    """Whether it gives pictures: many a camera has a second device that does not. None where it does not say;
    whoever reads from it is not disturbed.
    """
    answer = bytearray(_QUERY_CAPABILITY.size)
    try:
        opened = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(opened, _QUERY_CAPABILITY_REQUEST, answer)
        finally:
            os.close(opened)
    except OSError:
        return None
    return gives_pictures(bytes(answer))


def gives_pictures(capability: bytes) -> bool:
    """By the driver's answer, 104 bytes."""
    *_, of_all, own = _QUERY_CAPABILITY.unpack(capability)
    return bool((own if of_all & _HAS_OWN else of_all) & _CAPTURES)


class V4l2Source(CaptureSource):
    """A device, asked for Motion JPEG: raw pictures over 640x480 do not fit through USB 2 at 30 fps."""

    lossless = False
    has_sensor = True
    retry_cap_s = 2.0

    def __init__(self, device: str) -> None:
        """``device``: a path, or a number N for ``/dev/videoN``."""
        super().__init__()
        self.device = device_path(device) or device

    def open(self) -> None:
        """Start streaming; one buffer, so that what is grabbed is what the camera sees now."""
        check_access(self.device)
        parameters = [
            *(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
            *(cv2.CAP_PROP_BUFFERSIZE, 1),
        ]
        if not self.connect(self.device, cv2.CAP_V4L2, parameters):
            raise CameraError(
                f"{self.device} gives no video",
                f"it may be in use (`sudo fuser -v {self.device}`), or be a camera's second device: "
                "`v4l2-ctl --list-devices` names the first of each",
            )

    def grab(self) -> bool:
        """Wait for the driver's next buffer; it is decoded only in :meth:`retrieve`."""
        if not self.advance():
            check_access(self.device)
            raise CameraError(
                f"{self.device} gives no more pictures", "plug the camera in again, or elsewhere"
            )
        return True


def check_access(device: str) -> None:
    """Whether the device is there and may be opened, which OpenCV does not tell apart. Raises CameraError."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        what, remedy = _REASONS.get(
            error.errno or 0, (f"cannot open {{device}}: {error.strerror}", "check the camera")
        )
        raise CameraError(what.format(device=device), remedy.format(device=device)) from error
