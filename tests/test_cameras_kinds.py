"""Which source a text means."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.cameras import Bell, Camera, CameraSettings, source_for
from edge_agent.cameras.path import PathSource
from edge_agent.cameras.picamera import PicameraSource
from edge_agent.cameras.scene import SceneSource
from edge_agent.cameras.stream import StreamSource
from edge_agent.cameras.v4l2 import V4l2Source
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraSetupError


@pytest.mark.parametrize(
    ("text", "kind", "lossless"),
    [
        ("0", V4l2Source, False),
        ("/dev/video2", V4l2Source, False),
        ("/dev/v4l/by-id/usb-cam-index0", V4l2Source, False),
        ("rtsp://cam/live", StreamSource, False),
        ("RTSPS://cam/live", StreamSource, False),
        ("http://cam:81/stream", StreamSource, False),
        ("picamera:0", PicameraSource, False),
        ("scene:finishes?seed=7", SceneSource, False),
        ("clips/a.mp4", PathSource, True),
        ("photos/", PathSource, True),
        ("photos/one.jpg", PathSource, True),
    ],
)
def test_each_kind_is_told_by_its_text(text: str, kind: type[object], lossless: bool) -> None:
    """Files lose no frame, everything else is live."""
    source = source_for(CameraSettings("door", text))
    assert isinstance(source, kind)
    assert lossless == source.lossless


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "ftp://cam/a.mp4", "rtsp://", "rtsp://cam:99999/"),
        *("scene:kittens", "scene:finishes?hold_s=0", "scene:finishes?colour=1"),
        *("picamera:", "picamera:left", "picamera:0?width=x", "picamera:0?width=inf"),
    ],
)
def test_what_can_never_work_is_refused_before_it_starts(text: str) -> None:
    """A slip in the configuration is found by `check`, not by waiting for frames."""
    with pytest.raises(CameraSetupError):
        Camera(CameraSettings("door", text), Bell(), SystemClock())


@given(
    st.sampled_from(["", "rtsp://", "http://", "scene:", "scene:finishes?", "picamera:", "/dev/video"]),
    st.text(),
)
@example("", "²")
@example("scene:finishes?", "seed=nan")
@example("scene:finishes?", "hold_s=nan")
def test_any_text_is_a_source_or_refused(prefix: str, rest: str) -> None:
    """No text ends in anything but a source or a CameraSetupError."""
    try:
        source = source_for(CameraSettings("door", prefix + rest))
    except CameraSetupError:
        return
    assert not source.unreadable


def test_a_refusal_hides_the_password() -> None:
    """Even a scheme that does not exist may carry a login."""
    with pytest.raises(CameraSetupError) as refusal:
        source_for(CameraSettings("door", "rstp://admin:s3cret@cam/live"))
    assert "s3cret" not in str(refusal.value)


def test_settings_hide_the_password() -> None:
    """Settings end up in logs when somebody debugs."""
    assert "s3cret" not in repr(CameraSettings("door", "rtsp://admin:s3cret@cam/live"))
