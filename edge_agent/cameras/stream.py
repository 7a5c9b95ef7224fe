"""Network cameras: ``rtsp://``, ``rtsps://``, and MJPEG or any other stream over ``http(s)://``."""

from __future__ import annotations

import time

import cv2

from edge_agent.cameras.address import endpoint
from edge_agent.cameras.network import reach, refusal
from edge_agent.cameras.opencv import DECODER_THREADS, SPOILT_IN_A_ROW, CaptureSource
from edge_agent.cameras.settings import CameraSettings
from edge_agent.errors import CameraError, CameraStalledError

FFMPEG_PART = 0.9
"""FFmpeg gives up at this part of the time allowed, so that its thread comes back by itself."""

LIVE_WAIT_S = 0.002
"""A grab that waits for less found its picture in a buffer."""

MAX_OLD = 90
"""FFmpeg probes an RTSP stream for about a second, and then gives what it has read meanwhile in one go,
aged up to 1.1 s. This many at most are passed over to get to what the camera sees now.
"""


class StreamSource(CaptureSource):
    """A stream, read by FFmpeg inside OpenCV."""

    lossless = False
    retry_cap_s = 1.0
    """A stream takes up to 1.3 s to open (RTSP); with this pause a camera that returns is seen within 3 s."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        """Raises CameraSetupError where the address names no host."""
        super().__init__()
        endpoint(url)
        self._url = url
        self._open_s = settings.open_timeout_s * FFMPEG_PART
        self._read_s = settings.stall_timeout_s * FFMPEG_PART
        self._may_be_old = MAX_OLD

    def open(self) -> None:
        """Connect and wait until the codec is known."""
        reach(self._url)
        parameters = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(self._open_s * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(self._read_s * 1000)),
            *(cv2.CAP_PROP_N_THREADS, DECODER_THREADS),
        ]
        begun_s = time.monotonic()
        if not self.connect(self._url, cv2.CAP_FFMPEG, parameters):
            if time.monotonic() - begun_s >= self._open_s:
                raise CameraError("it takes the connection and sends no picture", "restart the camera")
            raise refusal(self._url)

    def grab(self) -> bool:
        """Wait for the next picture; FFmpeg decodes it here, as every later one may build on it."""
        for _ in range(self._may_be_old):
            waited_s = -_idle_s()
            self._grab_next()
            waited_s += _idle_s()
            if waited_s > LIVE_WAIT_S:
                self._may_be_old = 0
                return True
        self._may_be_old = 0
        self._grab_next()
        return True

    def _grab_next(self) -> None:
        begun_s = time.monotonic()
        for spoilt in range(SPOILT_IN_A_ROW):
            if self.advance():
                self.unreadable += spoilt
                return
            if time.monotonic() - begun_s >= self._read_s:
                raise CameraStalledError("the stream stands still", "look after the camera and its network")
        raise CameraError("the stream ended", "look after the camera and its network")


def _idle_s() -> float:
    """A clock of the time in which this thread waited rather than decoded."""
    return time.monotonic() - time.thread_time()
