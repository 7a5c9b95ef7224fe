"""USB cameras and other Video4Linux devices: a number, ``/dev/videoN``, ``/dev/v4l/by-id/...``."""

from __future__ import annotations

import errno
import os

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


class V4l2Source(CaptureSource):
    """A device, asked for Motion JPEG: raw pictures over 640x480 do not fit through USB 2 at 30 fps."""

    lossless = False
    has_sensor = True
    retry_cap_s = 2.0

    def __init__(self, device: str) -> None:
        """``device``: a path, or a number N for ``/dev/videoN``."""
        super().__init__()
        self.device = f"/dev/video{int(device)}" if device.isdigit() else device

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
