"""Video4Linux devices and the Raspberry Pi camera program, as far as a machine without them can show."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cameras import Bell, Camera, CameraSettings
from edge_agent.cameras.jpegs import JpegSplitter
from edge_agent.cameras.picamera import PicameraSource
from edge_agent.cameras.scene import SceneSource
from edge_agent.cameras.v4l2 import V4l2Source
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraSetupError
from tests.fakes.cameras import next_frame, until
from tests.processes import Watched
from tests.streams import numbered_picture, read_number

JPEGS = [bytes(cv2.imencode(".jpg", numbered_picture(n, (128, 192)))[1]) for n in range(1, 4)]


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """As a user whom permissions hold."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_number_is_a_device() -> None:
    """`source = "0"` is the first camera."""
    assert V4l2Source("0").device == "/dev/video0"


def test_a_missing_device_is_told() -> None:
    """The remedy says how to see what is there."""
    with pytest.raises(CameraError, match=r"no /dev/video97.*v4l2-ctl"):
        V4l2Source("97").open()


@pytest.mark.usefixtures("unprivileged")
def test_a_forbidden_device_is_told() -> None:
    """The usual cause is a user outside the group video."""
    with pytest.raises(CameraError, match="group video"):
        V4l2Source("/proc/1/mem").open()


def test_what_is_no_camera_is_told(tmp_path: Path) -> None:
    """A USB camera's second device opens, and gives no video."""
    device = tmp_path / "video1"
    device.write_bytes(b"")
    with pytest.raises(CameraError, match="gives no video"):
        V4l2Source(str(device)).open()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for rpicam-vid is found first; it begins with three pictures in ``jpegs``."""
    (tmp_path / "jpegs").write_bytes(b"".join(JPEGS))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "rpicam-vid"


def write_program(path: Path, body: str) -> None:
    """A Python program in which ``pictures`` is what the camera sees and ``out`` is stdout."""
    head = "import pathlib, signal, sys\nout = sys.stdout.buffer\n"
    pictures = f"pictures = pathlib.Path({str(path.parent / 'jpegs')!r}).read_bytes()\n"
    path.write_text(f"#!{sys.executable}\n{head}{pictures}{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_camera_program_is_read(program: Path) -> None:
    """Motion JPEG on stdout becomes frames; its chatter on stderr does not get in the way."""
    write_program(
        program, "print('x' * 200000, file=sys.stderr)\nout.write(pictures)\nout.flush()\nsignal.pause()"
    )
    bell = Bell()
    camera = Camera(CameraSettings("door", "picamera:0"), bell, SystemClock())
    camera.start()
    frame = next_frame(camera, bell)
    assert frame is not None
    assert read_number(frame.pixels) in (1, 2, 3)
    assert camera.close(10.0)


def test_the_camera_program_is_told_what_to_do(program: Path) -> None:
    """Which camera, which size, for ever, without a window, to stdout."""
    write_program(program, "print(sys.argv[1:], file=sys.stderr)")
    source = PicameraSource("picamera:1?width=1280&height=720")
    source.open()
    with pytest.raises(CameraError) as failure:
        source.grab()
    source.close()
    for words in ("'--camera', '1'", "'--timeout', '0'", "--nopreview", "--width=1280", "--framerate=30"):
        assert words in failure.value.what


def test_a_camera_program_that_hangs_is_killed(program: Path) -> None:
    """A hung camera stack costs no thread: the child is killed, a new one is started."""
    write_program(program, "out.write(pictures)\nout.flush()\nsignal.pause()")
    bell = Bell()
    camera = Camera(CameraSettings("door", "picamera:0", stall_timeout_s=1.0), bell, SystemClock())
    camera.start()
    until(lambda: camera.status().reconnects > 0, bell)
    assert camera.status().abandoned_threads == 0
    assert camera.close(10.0)


def test_kill_9_leaves_no_camera_program(program: Path) -> None:
    """A program that hangs notices no broken pipe; it must not hold the camera once the agent is gone."""
    write_program(program, "import os\nprint(os.getpid(), file=sys.stderr, flush=True)\nsignal.pause()")
    code = (
        "import sys\nfrom edge_agent.cameras.picamera import PicameraSource\n"
        "source = PicameraSource('picamera:0')\nsource.open()\n"
        "print(source._child.stderr.readline().decode(), flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        child = Watched(int(agent.stdout.readline()))
        agent.kill()
        assert child.ends_within(1.0)


def test_the_last_words_of_the_camera_program_are_told(program: Path) -> None:
    """`no cameras available` is what the user has to know."""
    write_program(program, "sys.exit('ERROR: *** no cameras available ***')")
    source = PicameraSource("picamera:0")
    source.open()
    with pytest.raises(CameraError, match=r"no cameras available.*ribbon"):
        source.grab()
    source.close()


def test_half_a_picture_is_counted(program: Path) -> None:
    """A spoilt picture costs one picture."""
    (program.parent / "jpegs").write_bytes(JPEGS[0][:40] + JPEGS[0][-2:])
    write_program(program, "out.write(pictures)\nout.flush()\nsignal.pause()")
    source = PicameraSource("picamera:0")
    source.open()
    assert source.grab()
    assert source.retrieve() is None
    assert source.unreadable == 1
    source.close()


def test_a_missing_camera_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is the package to install; retrying soon would not help."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CameraSetupError, match="apt install rpicam-apps"):
        PicameraSource("picamera:0").open()


def test_the_older_name_of_the_camera_program_serves(program: Path) -> None:
    """Raspberry Pi OS before 2024 has libcamera-vid."""
    write_program(program.with_name("libcamera-vid"), "out.write(pictures)\nout.flush()\nsignal.pause()")
    source = PicameraSource("picamera:0")
    source.open()
    assert source.grab()
    source.close()


@given(st.lists(st.integers(1, 3000)))
def test_pictures_are_split_wherever_the_pipe_cuts(cuts: list[int]) -> None:
    """How the bytes arrive changes nothing; what lies between pictures is dropped."""
    stream = b"noise\xff" + JPEGS[0] + b"\xff" + JPEGS[1] + JPEGS[2] + JPEGS[0][:50]
    splitter = JpegSplitter()
    for cut in cuts:
        splitter.feed(stream[:cut])
        stream = stream[cut:]
    splitter.feed(stream)
    assert splitter.complete == JPEGS


@given(st.lists(st.binary()))
def test_any_bytes_are_split(chunks: list[bytes]) -> None:
    """Garbage gives no picture that was not there, and no error."""
    splitter = JpegSplitter()
    for chunk in chunks:
        splitter.feed(chunk)
    assert all(jpeg.startswith(b"\xff\xd8\xff") and jpeg.endswith(b"\xff\xd9") for jpeg in splitter.complete)


def test_a_picture_without_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that writes garbage does not fill the memory; the next picture is read."""
    monkeypatch.setattr("edge_agent.cameras.jpegs.MAX_JPEG_BYTES", 1000)
    splitter = JpegSplitter()
    splitter.feed(b"\xff\xd8\xff" + bytes(2000))
    splitter.feed(JPEGS[0])
    assert splitter.complete == [JPEGS[0]]


def test_a_scene_shows_what_its_name_says() -> None:
    """The demo can be checked: each frame names its seed and label."""
    source = SceneSource("scene:finishes?seed=4")
    source.open()
    assert source.grab()
    picture = source.retrieve()
    assert picture is not None
    assert picture.pixels.shape == (480, 640, 3)
    assert str(picture.name).startswith("finishes/3000004/")


def test_a_scene_holds_its_picture() -> None:
    """A picture stays for a while, as in front of a real camera; it is drawn once."""
    source = SceneSource("scene:finishes?hold_s=1000")
    source.open()
    pictures = [source.retrieve() for _ in range(2) if source.grab()]
    assert pictures[0] is pictures[1]
