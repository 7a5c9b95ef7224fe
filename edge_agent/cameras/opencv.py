"""What is read through cv2.VideoCapture, and what it and the FFmpeg inside it are told."""

from __future__ import annotations

import os

import cv2

from edge_agent.cameras.picture import as_bgr
from edge_agent.cameras.source import Picture
from edge_agent.errors import CameraError

# All of these are read when the first capture is opened; what the user set wins.
# Silence: FFmpeg's own messages name addresses with their passwords.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# TCP, for over UDP cameras lose packets on Wi-Fi and every loss smears the picture until the next key frame.
# Not `nobuffer`: it throws away the key frame that was read while the stream was probed, and the next one
# may be ten seconds off.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
# Without this one lock serves all captures of a process: a camera that takes the connection and stays silent
# holds it until its timeout, and two of them kept every other stream and video from ever being opened. FFmpeg
# does its own locking; OpenCV's is for FFmpeg before 4.0.
os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
# Seconds; 10 by default, longer than the stall timeout.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")

_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 5, and 4
_set_log_level(0)

DECODER_THREADS = 1
"""Each further decoder thread delays an H.264 stream by one frame: 75 ms at two threads, 41 ms at one."""

SPOILT_IN_A_ROW = 30
"""A grab fails on a spoilt picture as it does at the end; after the end each fails at once."""


class CaptureSource:
    """What every source that is a cv2.VideoCapture has in common."""

    def __init__(self) -> None:
        self.unreadable = 0
        self.capture: cv2.VideoCapture | None = None

    def connect(self, source: str, backend: int, parameters: list[int]) -> bool:
        """Whether the backend took the source; blocks until it has made up its mind."""
        try:
            self.capture = cv2.VideoCapture(source, backend, parameters)
        except cv2.error:
            return False
        return self.capture.isOpened()

    def advance(self) -> bool:
        """Whether another picture was grabbed. Raises CameraError."""
        assert self.capture is not None
        try:
            return self.capture.grab()
        except cv2.error as error:
            raise CameraError(f"reading failed: {error.err}") from error

    def retrieve(self) -> Picture | None:
        """The picture that was grabbed, in BGR."""
        assert self.capture is not None
        try:
            good, pixels = self.capture.retrieve()
        except cv2.error:
            good = False
        picture = as_bgr(pixels) if good else None
        if picture is None:
            self.unreadable += 1
            return None
        return Picture(picture)

    def packet(self) -> bytes:
        """What was grabbed, still encoded, where the backend was asked for it; empty when there is none."""
        assert self.capture is not None
        try:
            good, encoded = self.capture.retrieve()
        except cv2.error:
            return b""
        return encoded.tobytes() if good else b""

    def interrupt(self) -> None:
        """A capture cannot be interrupted from outside: the backend gives up by itself, or never."""

    def close(self) -> None:
        """Let go of it."""
        if self.capture is not None:
            self.capture.release()
