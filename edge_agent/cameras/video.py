"""A video file: every frame of it, in order."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import cv2

from edge_agent.cameras.opencv import SPOILT_IN_A_ROW, CaptureSource
from edge_agent.cameras.source import Picture
from edge_agent.errors import CameraError

logger = logging.getLogger(__name__)

CUT_SHORT = 0.9
"""Fewer frames than this part of what the container announces is told; its count may be an estimate."""


class VideoSource(CaptureSource):
    """A file that FFmpeg reads."""

    lossless = True
    has_sensor = False
    retry_cap_s = 10.0

    def __init__(self, path: Path, *, loop: bool) -> None:
        super().__init__()
        self._path = path
        self._loop = loop
        self._in_turn = 0

    def open(self) -> None:
        """Raises CameraError, which can be retried: the file may still be on its way here."""
        self._in_turn = 0
        if not self.connect(str(self._path), cv2.CAP_FFMPEG, []):
            raise self._unusable("is no video that can be read")

    def grab(self) -> bool:
        """The next frame, past spoilt ones; the first again after the last of a loop."""
        if self._grab_next():
            return True
        if not self._in_turn:
            raise self._unusable("has no frame that can be read")
        self._tell_if_cut_short()
        if not self._loop:
            return False
        self.close()
        self.open()
        if not self._grab_next():
            raise self._unusable("has no more frames")
        return True

    def retrieve(self) -> Picture | None:
        """The frame in BGR, under the file's name."""
        picture = super().retrieve()
        return picture and dataclasses.replace(picture, name=self._path.name)

    def _grab_next(self) -> bool:
        for spoilt in range(SPOILT_IN_A_ROW):
            if self.advance():
                self.unreadable += spoilt
                self._in_turn += spoilt + 1
                return True
        return False

    def _tell_if_cut_short(self) -> None:
        assert self.capture is not None
        announced = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._in_turn < announced * CUT_SHORT:
            logger.warning(
                "%s is cut short: it ends after %d of %d frames", self._path, self._in_turn, announced
            )

    def _unusable(self, what: str) -> CameraError:
        return CameraError(f"{self._path} {what}", f"see what `ffprobe {self._path}` says of it")
