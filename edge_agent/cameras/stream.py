"""Network cameras: ``rtsp://``, ``rtsps://``, and MJPEG or any other stream over ``http(s)://``."""

from __future__ import annotations

import time

import cv2

from edge_agent.addresses import endpoint
from edge_agent.cameras.network import reach, refusal
from edge_agent.cameras.opencv import DECODER_THREADS, SPOILT_IN_A_ROW, CaptureSource
from edge_agent.cameras.settings import CameraSettings
from edge_agent.cameras.source import Picture
from edge_agent.errors import CameraError, CameraStalledError, ImageError
from edge_agent.images import decode_image

FFMPEG_PART = 0.9
"""FFmpeg gives up at this part of the time allowed, so that its thread comes back by itself."""

MJPEG = cv2.VideoWriter.fourcc(*"MJPG")
"""Each picture is a JPEG of its own. FFmpeg then hands on its bytes, and decoding is done here: only for
pictures that are wanted, and right when a camera changes its size, which OpenCV does not notice.
"""

LIVE_WAIT_S = 0.002
"""A grab that waits for less found its picture in a buffer."""

MAX_OLD = 90
"""FFmpeg probes an RTSP stream for about a second, and then gives what it has read meanwhile in one go,
aged up to 1.1 s. This many at most are passed over to get to what the camera sees now.
"""


class StreamSource(CaptureSource):
    """A stream, read by FFmpeg inside OpenCV."""

    lossless = False
    has_sensor = True
    retry_cap_s = 1.0
    """A stream takes up to 1.3 s to open (RTSP); with this pause a camera that returns is seen within 3 s."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        """Raises CameraSetupError where the address names no host."""
        super().__init__()
        endpoint(url)
        self._url = url
        self._open_s = settings.open_timeout_s * FFMPEG_PART
        self._read_s = settings.stall_timeout_s * FFMPEG_PART
        self._is_mjpeg = False
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
        assert self.capture is not None
        self._is_mjpeg = int(self.capture.get(cv2.CAP_PROP_FOURCC)) == MJPEG and bool(
            self.capture.set(cv2.CAP_PROP_FORMAT, -1)
        )

    def grab(self) -> bool:
        """Wait for the next picture; H.264 is decoded here, as every later picture may build on it."""
        waited_s = 0.0
        while waited_s < LIVE_WAIT_S and self._may_be_old > 0:
            idle_s = _idle_s()
            self._grab_next()
            waited_s = _idle_s() - idle_s
            self._may_be_old -= 1
        if waited_s < LIVE_WAIT_S:
            self._grab_next()
        self._may_be_old = 0
        return True

    def retrieve(self) -> Picture | None:
        """The picture in BGR."""
        if not self._is_mjpeg:
            return super().retrieve()
        encoded = self.packet()
        try:
            return Picture(decode_image(encoded, "a picture of the camera"))
        except ImageError:
            self.unreadable += 1
            return None

    def _grab_next(self) -> None:
        begun_s = time.monotonic()
        for spoilt in range(SPOILT_IN_A_ROW):
            grabbed = self.advance()
            # A picture that comes when FFmpeg has given up was in its decoder all the time.
            if time.monotonic() - begun_s >= self._read_s:
                raise CameraStalledError("the stream stands still", "look after the camera and its network")
            if grabbed:
                self.unreadable += spoilt
                return
        raise CameraError("the stream ended", "look after the camera and its network")


def _idle_s() -> float:
    """A clock of the time in which this thread waited rather than decoded."""
    return time.monotonic() - time.thread_time()
