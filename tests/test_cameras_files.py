"""Folders, images and videos as cameras."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cameras import Bell, Camera, CameraSettings, Source, source_for
from edge_agent.cameras.folder import natural_key
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from edge_agent.frames import Frame
from tests.fakes.cameras import next_frame, plain_picture, until
from tests.places import CORAL, need_data
from tests.streams import numbered_picture, read_number

FRAMES = 12


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Motion JPEG in AVI, numbered from 1."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (192, 128))
    assert writer.isOpened()
    for number in range(1, FRAMES + 1):
        writer.write(numbered_picture(number, (128, 192)))
    writer.release()
    return path


def write_image(path: Path, number: int) -> None:
    """A numbered picture in a file."""
    assert cv2.imwrite(str(path), numbered_picture(number, (128, 128)))


def frames_of(path: Path, *, loop: bool = False, at_most: int = 10_000) -> Iterator[Frame]:
    """What a camera on the path gives until it ends, or so many frames."""
    bell = Bell()
    camera = Camera(CameraSettings("files", str(path), loop=loop), bell, SystemClock())
    camera.start()
    try:
        for _ in range(at_most):
            frame = next_frame(camera, bell)
            if frame is None:
                return
            yield frame
    finally:
        assert camera.close(10.0)


def first_failure(path: Path) -> CameraError:
    """Why a source on the path gives no picture."""
    source = source_for(CameraSettings("files", str(path)))
    try:
        with pytest.raises(CameraError) as failure:
            read_through(source)
    finally:
        source.close()
    return failure.value


def read_through(source: Source) -> int:
    """Open it and read to the end; gives how many pictures were grabbed."""
    source.open()
    count = 0
    while source.grab():
        source.retrieve()
        count += 1
    return count


def test_every_frame_of_a_video_comes_in_order(video: Path) -> None:
    """A video loses no frame, is named on each, and ends."""
    frames = list(frames_of(video))
    assert [read_number(frame.pixels) for frame in frames] == list(range(1, FRAMES + 1))
    assert [frame.number for frame in frames] == list(range(1, FRAMES + 1))
    assert {frame.source for frame in frames} == {"clip.avi"}


def test_a_video_starts_again_in_a_loop(video: Path) -> None:
    """The first frame follows the last; the numbers go on."""
    frames = list(frames_of(video, loop=True, at_most=FRAMES + 2))
    assert [read_number(frame.pixels) for frame in frames[-3:]] == [FRAMES, 1, 2]
    assert frames[-1].number == FRAMES + 2


@need_data
def test_a_real_clip_is_read_to_its_end() -> None:
    """H.264 in MP4: as many frames as the container announces."""
    source = source_for(CameraSettings("clip", str(CORAL / "bottle-detection.mp4")))
    assert read_through(source) == 1189
    source.close()


def test_a_video_that_is_cut_short_is_told(video: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It ends early, but not silently."""
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 7 // 10])
    frames = list(frames_of(video))
    assert 0 < len(frames) < FRAMES
    assert any("cut short" in record.message for record in caplog.records)


def test_an_unreadable_video_is_tried_again(tmp_path: Path) -> None:
    """It may still be on its way here, so the failure is one that a retry can heal."""
    path = tmp_path / "clip.mp4"
    path.write_text("this is no video")
    assert "is no video that can be read" in first_failure(path).what
    assert first_failure(path).retryable


def test_images_come_as_people_number_them(tmp_path: Path) -> None:
    """2 before 10; hidden files and other files are passed over without a word."""
    for name, number in (("shot10.png", 3), ("Shot2.png", 2), ("shot1.PNG", 1)):
        write_image(tmp_path / name.lower(), number)
    (tmp_path / "shot1.png").rename(tmp_path / "shot1.PNG")
    write_image(tmp_path / ".hidden.png", 9)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    frames = list(frames_of(tmp_path))
    assert [read_number(frame.pixels) for frame in frames] == [1, 2, 3]
    assert [frame.source for frame in frames] == ["shot1.PNG", "shot2.png", "shot10.png"]


def test_one_image_is_a_folder_of_one(tmp_path: Path) -> None:
    """`source = "photo.jpg"` gives one frame and ends."""
    write_image(tmp_path / "photo.png", 7)
    assert [read_number(frame.pixels) for frame in frames_of(tmp_path / "photo.png")] == [7]


def test_an_unreadable_image_is_told_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One bad file among good ones costs nothing but a warning, given once; in a loop too."""
    write_image(tmp_path / "1.png", 1)
    (tmp_path / "2.jpg").write_bytes(b"\xff\xd8\xff no more")
    write_image(tmp_path / "3.png", 3)
    numbers = [read_number(frame.pixels) for frame in frames_of(tmp_path, loop=True, at_most=5)]
    assert numbers == [1, 3, 1, 3, 1]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["2.jpg" in warning.getMessage() for warning in warnings] == [True]


def test_unreadable_images_are_counted(tmp_path: Path) -> None:
    """The status shows that something was passed over, after the end too."""
    write_image(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes(b"")
    bell = Bell()
    camera = Camera(CameraSettings("files", str(tmp_path)), bell, SystemClock())
    camera.start()
    assert next_frame(camera, bell) is not None
    assert next_frame(camera, bell) is None
    assert camera.status().unreadable == 1
    assert camera.close(10.0)


def test_a_folder_without_a_readable_image_is_a_fault(tmp_path: Path) -> None:
    """Images of which none can be read are no source that has ended well."""
    (tmp_path / "1.png").write_bytes(b"")
    assert "none of the images" in first_failure(tmp_path).what


def test_an_empty_folder_is_a_fault(tmp_path: Path) -> None:
    """And the remedy names what is looked for."""
    assert "no images in" in first_failure(tmp_path).what
    assert ".jpg" in str(first_failure(tmp_path).remedy)


def test_a_missing_path_is_tried_again(tmp_path: Path) -> None:
    """A drive may be mounted later: then the camera comes online by itself."""
    later = tmp_path / "drive"
    assert "No such file" in first_failure(later).what
    bell = Bell()
    camera = Camera(CameraSettings("files", str(later)), bell, SystemClock())
    camera.start()
    until(lambda: camera.status().state == "offline", bell)
    later.mkdir()
    write_image(later / "1.png", 1)
    assert next_frame(camera, bell) is not None
    assert camera.close(10.0)


def test_a_folder_that_vanishes_is_a_fault(tmp_path: Path) -> None:
    """A drive that is pulled out does not count as the end of its pictures."""
    drive = tmp_path / "drive"
    drive.mkdir()
    for number in (1, 2):
        write_image(drive / f"{number}.png", number)
    source = source_for(CameraSettings("files", str(drive)))
    source.open()
    assert source.grab()
    shutil.rmtree(drive)
    with pytest.raises(CameraError, match="gone"):
        source.retrieve()


def test_a_pipe_is_no_video(tmp_path: Path) -> None:
    """Opening a pipe would block until somebody writes to it."""
    os.mkfifo(tmp_path / "clip.mp4")
    assert "neither a file nor a folder" in first_failure(tmp_path / "clip.mp4").what


def test_a_region_of_a_folder(tmp_path: Path) -> None:
    """Rotation and region hold for files as for cameras."""
    assert cv2.imwrite(str(tmp_path / "1.png"), plain_picture(5, (40, 60)))
    settings = CameraSettings("files", str(tmp_path), rotate=90, region=(0.0, 0.0, 0.5, 1.0))
    bell = Bell()
    camera = Camera(settings, bell, SystemClock())
    camera.start()
    frame = next_frame(camera, bell)
    assert frame is not None
    assert frame.pixels.shape == (60, 20, 3)
    assert camera.close(10.0)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_names_have_one_order(names: list[str]) -> None:
    """The order does not depend on how the file system lists a folder."""
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)
