"""``picamera:0``: a Raspberry Pi camera module, through the camera program of Raspberry Pi OS.

The program is a child process: when the camera stack hangs, it is killed; when we are killed, so is it.
"""

from __future__ import annotations

import collections
import contextlib
import os
import selectors
import shutil
import subprocess

from edge_agent.cameras.jpegs import JpegSplitter
from edge_agent.cameras.options import split_options
from edge_agent.cameras.source import Picture
from edge_agent.errors import CameraError, CameraSetupError, ImageError, one_line
from edge_agent.images import decode_image

PROGRAMS = ("rpicam-vid", "libcamera-vid")
"""The newer name first."""

_LAST_WORDS = 3
_PIPE_BYTES = 1 << 16
_EXIT_WAIT_S = 2.0


class PicameraSource:
    """Motion JPEG from the program's stdout; only what is retrieved is decoded."""

    lossless = False
    has_sensor = True
    retry_cap_s = 5.0

    def __init__(self, source: str) -> None:
        """Raises CameraSetupError."""
        self.unreadable = 0
        number, options = split_options(source, {"width": 640, "height": 480, "framerate": 30.0})
        if not (number.isascii() and number.isdigit()):
            raise CameraSetupError(f"{source} names no camera", "write picamera:0 for the first")
        self._arguments = [
            *("--camera", number, "--timeout", "0", "--nopreview", "--codec", "mjpeg", "--flush"),
            *(f"--{key}={value:g}" for key, value in options.items()),
            *("--output", "-"),
        ]
        self._child: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()
        self._jpegs = JpegSplitter()
        self._said: collections.deque[bytes] = collections.deque(maxlen=_LAST_WORDS)
        self._grabbed = b""

    def open(self) -> None:
        """Start the program. Raises CameraSetupError where there is none."""
        program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
        if program is None:
            raise CameraSetupError(f"there is no {PROGRAMS[0]}", "`sudo apt install rpicam-apps`")
        try:
            self._child = subprocess.Popen(
                [*_tied_to_this_thread(), program, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise CameraError(
                f"cannot start {program}: {error.strerror}", "`sudo apt install rpicam-apps`"
            ) from error
        for pipe in (self._child.stdout, self._child.stderr):
            assert pipe is not None
            self._selector.register(pipe, selectors.EVENT_READ)

    def grab(self) -> bool:
        """Wait for a whole picture; the newest, where several have come."""
        while not self._jpegs.complete:
            self._receive()
        self._grabbed = self._jpegs.complete[-1]
        self._jpegs.complete.clear()
        return True

    def retrieve(self) -> Picture | None:
        """It, decoded."""
        try:
            return Picture(decode_image(self._grabbed, "a picture of the camera"))
        except ImageError:
            self.unreadable += 1
            return None

    def interrupt(self) -> None:
        """Kill the program; its pipes end."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """End the program and its pipes."""
        self._selector.close()
        if self._child is None:
            return
        self._child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_EXIT_WAIT_S)
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _receive(self) -> None:
        """Take what the program wrote, to stdout and to stderr. Raises CameraError at its end."""
        assert self._child is not None
        for key, _events in self._selector.select(1.0):
            received = os.read(key.fd, _PIPE_BYTES)
            if not received:
                self._selector.unregister(key.fileobj)
            elif key.fileobj is self._child.stdout:
                self._jpegs.feed(received)
            else:
                self._said.extend(received.splitlines())
        if not self._selector.get_map():
            said = one_line(b" ".join(self._said).decode(errors="replace"))
            remedy = "`rpicam-hello --list-cameras` shows what is there; check the camera's ribbon cable"
            raise CameraError(f"the camera program ended{': ' if said else ''}{said}", remedy)


def _tied_to_this_thread() -> list[str]:
    """The words before a command that let the kernel kill it with the thread that started it.

    A program that writes would die of its broken pipe; one that hangs would hold the camera for ever.
    """
    setpriv = shutil.which("setpriv")  # of util-linux, which Debian always has
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
