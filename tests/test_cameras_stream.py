"""Network cameras under every fault that can be made on a loopback, with real MJPEG and H.264."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edge_agent.cameras import Bell, Camera, CameraSettings
from edge_agent.cameras.stream import FFMPEG_PART
from edge_agent.clock import SystemClock
from tests.fakes.cameras import next_frame, until
from tests.streams import MjpegServer, RtspServer, StreamServer, read_number

SMALL = (128, 192)
LOGIN = "admin:s3cret"


@contextlib.contextmanager
def watching(
    url: str, *, open_timeout_s: float = 20.0, stall_timeout_s: float = 20.0, frozen_after_s: float = 0.0
) -> Iterator[tuple[Camera, Bell]]:
    """A started camera on the address."""
    bell = Bell()
    settings = CameraSettings(
        "door",
        url,
        open_timeout_s=open_timeout_s,
        stall_timeout_s=stall_timeout_s,
        frozen_after_s=frozen_after_s,
    )
    camera = Camera(settings, bell, SystemClock())
    camera.start()
    try:
        yield camera, bell
    finally:
        assert camera.close(30.0)


def wait_fault(camera: Camera, bell: Bell, words: str) -> None:
    """Until the camera's fault holds the words."""
    until(lambda: words in str(camera.status().fault), bell)
    assert camera.status().state == "offline"


@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_stream_is_read(kind: type[StreamServer]) -> None:
    """Numbered pictures arrive as they were sent, in order, and none that was never sent."""
    with kind(size=SMALL) as server, watching(server.url) as (camera, bell):
        numbers = []
        for _ in range(5):
            frame = next_frame(camera, bell)
            assert frame is not None
            assert frame.pixels.shape == (*SMALL, 3)
            numbers.append(read_number(frame.pixels))
        assert numbers == sorted(set(numbers))
        assert set(numbers) <= set(server.sent_ns)


@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_stream_that_comes_back_is_read_again(kind: type[StreamServer]) -> None:
    """Offline while the server is away, with the reason; online again by itself."""
    with kind(size=SMALL) as server, watching(server.url) as (camera, bell):
        assert next_frame(camera, bell) is not None
        with server.away():
            wait_fault(camera, bell, "nothing listens at 127.0.0.1")
            camera.take()
        assert next_frame(camera, bell) is not None
        assert camera.status().reconnects == 1


def test_a_silent_camera_holds_up_no_other() -> None:
    """While one is being opened that takes the connection and says nothing, another one comes online."""
    with (
        MjpegServer(size=SMALL) as server,
        socket.create_server(("127.0.0.1", 0)) as listener,
        watching(f"http://127.0.0.1:{listener.getsockname()[1]}/") as (silent, _),
    ):
        ours, ffmpegs = listener.accept()[0], listener.accept()[0]
        with ours, ffmpegs, watching(server.url) as (camera, bell):
            assert next_frame(camera, bell) is not None
            assert silent.status().state == "connecting"


@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_frozen_stream_is_a_stall(kind: type[StreamServer]) -> None:
    """A connection that stays open and gives nothing is told, given up, and tried anew."""
    with (
        kind(size=SMALL) as server,
        watching(server.url, open_timeout_s=3.0, stall_timeout_s=1.0) as (camera, bell),
    ):
        assert next_frame(camera, bell) is not None
        server.freeze()
        until(lambda: camera.status().state == "offline", bell)
        camera.take()
        server.thaw()
        assert next_frame(camera, bell) is not None
        until(lambda: camera.status().abandoned_threads == 0, bell)


def test_a_camera_that_repeats_itself_is_frozen() -> None:
    """Its sensor hangs and the rest of it goes on: it stays online, with a fault, until it sees again."""
    with MjpegServer(size=SMALL) as server, watching(server.url, frozen_after_s=0.2) as (camera, bell):
        assert next_frame(camera, bell) is not None
        assert camera.status().fault is None
        server.repeats = True
        until(lambda: "the very same picture" in str(camera.status().fault), bell)
        assert "online" == camera.status().state
        server.repeats = False
        until(lambda: camera.status().fault is None, bell)


def test_a_picture_that_a_stall_held_back_is_not_shown_as_new() -> None:
    """An H.264 decoder gives its last picture when FFmpeg gives up; it is as old as the stall was long."""
    stall_s = 3.0
    frames = []
    with RtspServer(size=SMALL) as server, watching(server.url, stall_timeout_s=stall_s) as (camera, bell):
        assert next_frame(camera, bell) is not None
        server.freeze()
        while camera.status().state == "online":
            bell.wait(0.1)
            frames.append(camera.take())
        ages_ns = [frame.captured_ns - server.sent_ns[read_number(frame.pixels)] for frame in frames if frame]
        assert max(ages_ns, default=0) < stall_s * FFMPEG_PART * 1e9


@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_server_that_never_answers_is_told(kind: type[StreamServer]) -> None:
    """It accepts the connection and says nothing: no camera blocks on that."""
    server = kind(size=SMALL)
    server.silent = True
    with server, watching(server.url, open_timeout_s=1.0) as (camera, bell):
        wait_fault(camera, bell, "it takes the connection and sends no picture")
        server.stop()
        server.silent = False
        server.start()
        assert next_frame(camera, bell) is not None


@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_login_is_used_and_never_shown(kind: type[StreamServer], caplog: pytest.LogCaptureFixture) -> None:
    """The password goes to the camera and nowhere else."""
    caplog.set_level(logging.DEBUG)
    with kind(size=SMALL, login=LOGIN) as server:
        with watching(server.url_with(LOGIN)) as (camera, bell):
            assert next_frame(camera, bell) is not None
            server.drop_clients()
            until(lambda: camera.status().reconnects > 0, bell)
        with watching(server.url_with("admin:wr0ng")) as (camera, bell):
            wait_fault(camera, bell, "401 Unauthorized; check the user and the password")
            seen = f"{camera.status()} {camera.settings} {caplog.text}"
    assert "s3cret" not in seen
    assert "wr0ng" not in seen


def test_a_wrong_password_is_not_tried_again_and_again() -> None:
    """Cameras lock a user out after a few wrong passwords."""
    with MjpegServer(login=LOGIN) as server, watching(server.url_with("admin:wr0ng")) as (camera, bell):
        wait_fault(camera, bell, "401")
        while server.connected.acquire(blocking=False):
            pass
        assert not server.connected.acquire(timeout=2.5)


def test_a_wrong_path_is_told() -> None:
    """404 becomes words with a remedy."""
    with MjpegServer() as server:
        server.spoil = "status"
        with watching(server.url) as (camera, bell):
            wait_fault(camera, bell, "404 Not Found; check the path")


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/", "rtsp://no-such-host.invalid/"])
def test_an_unknown_host_is_told(url: str) -> None:
    """A name that DNS does not know is not `stream ended`."""
    with watching(url) as (camera, bell):
        wait_fault(camera, bell, "no-such-host.invalid")


@pytest.mark.parametrize("spoil", ["half", "truncate", "garbage"])
def test_a_spoilt_stream_is_told_and_recovers(spoil: str) -> None:
    """Whatever a broken camera sends, it is a fault, and past once the pictures are whole again."""
    server = MjpegServer(size=SMALL, fps=60)
    with server, watching(server.url, open_timeout_s=2.0, stall_timeout_s=2.0) as (camera, bell):
        assert next_frame(camera, bell) is not None
        server.spoil = spoil
        until(lambda: camera.status().state == "offline", bell)
        server.spoil = "nothing"
        camera.take()
        assert next_frame(camera, bell) is not None


def test_one_spoilt_picture_is_passed_over() -> None:
    """A glitch costs one picture and is counted, the connection stays."""
    with MjpegServer(size=SMALL) as server, watching(server.url) as (camera, bell):
        assert next_frame(camera, bell) is not None
        server.spoil = "garbage"
        until(lambda: camera.status().unreadable > 0, bell)
        server.spoil = "nothing"
        camera.take()
        assert next_frame(camera, bell) is not None
        assert camera.status().reconnects == 0


@pytest.mark.parametrize("size", [(240, 320), (128, 128)])
def test_the_size_may_change_midway(size: tuple[int, int]) -> None:
    """A camera that was switched to another resolution goes on in it, undistorted."""
    with MjpegServer(size=SMALL) as server, watching(server.url) as (camera, bell):
        assert next_frame(camera, bell) is not None
        server.size = size
        numbers: list[int] = []
        while len(numbers) < 3:
            frame = next_frame(camera, bell)
            assert frame is not None
            if frame.pixels.shape == (*size, 3):
                numbers.append(read_number(frame.pixels))
        assert set(numbers) <= set(server.sent_ns)
        assert camera.status().reconnects == 0


def test_a_video_stream_of_another_size_after_a_reconnect() -> None:
    """H.264 takes up a new size with a new connection."""
    with RtspServer(size=SMALL) as server, watching(server.url) as (camera, bell):
        assert next_frame(camera, bell) is not None
        server.size = (240, 320)
        server.drop_clients()
        shape = None
        while shape != (240, 320, 3):
            frame = next_frame(camera, bell)
            assert frame is not None
            shape = frame.pixels.shape


def test_libraries_do_not_write_to_stderr() -> None:
    """FFmpeg's own messages hold addresses with passwords, and fill the journal."""
    script = (
        "from edge_agent.cameras import *\n"
        "from edge_agent.clock import SystemClock\n"
        "import sys\n"
        "bell = Bell()\n"
        "camera = Camera(CameraSettings('door', sys.argv[1], open_timeout_s=2.0), bell, SystemClock())\n"
        "camera.start()\n"
        "while camera.status().fault is None: bell.wait(1.0)\n"
        "camera.close(5.0)\n"
    )
    with MjpegServer(size=SMALL, fps=60) as server:
        server.spoil = "garbage"
        command = [sys.executable, "-c", script, server.url_with(LOGIN)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    # Without a handler, logging itself writes our own warning there.
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("camera door (")]
    assert lines == []
    assert "s3cret" not in ended.stderr
