"""The camera: what it does when its source is slow, stuck, broken or at its end."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator

import pytest

from edge_agent.cameras import Bell, Camera, CameraSettings, Picture
from edge_agent.cameras.capture import MAX_ABANDONED
from edge_agent.cameras.repeats import FEWEST
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraSetupError
from edge_agent.frames import Frame
from tests.fakes.cameras import FakeCamera, ScriptedSource, next_frame, plain_picture, until

LOGGER = "edge_agent.cameras.capture"
GONE = CameraError("the cable is out", "plug it in")


class Rig:
    """A camera whose source does what is put into ``script``."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.script: queue.Queue[object] = queue.Queue()
        self.sources: list[ScriptedSource] = []
        self.lossless = False
        self.camera: Camera | None = None

    def begin(self, *items: object, fps: float = 0.0, **settings: float) -> Camera:
        """A started camera."""
        self.play(*items)
        limits = {"stall_timeout_s": 30.0, **settings}
        wanted = CameraSettings("door", "http://me:s3cret@cam/", fps, **limits)  # type: ignore[arg-type]
        self.camera = Camera(wanted, self.bell, SystemClock(), self.make)
        self.camera.start()
        return self.camera

    def make(self, _settings: CameraSettings) -> ScriptedSource:
        """The next connection."""
        self.sources.append(ScriptedSource(self.script, lossless=self.lossless))
        return self.sources[-1]

    def play(self, *items: object) -> None:
        """What the source gives next."""
        for item in items:
            self.script.put(Picture(plain_picture(item)) if isinstance(item, int) else item)

    def take(self) -> Frame:
        """The next frame, waited for."""
        assert self.camera is not None
        frame = next_frame(self.camera, self.bell)
        assert frame is not None
        return frame

    def end(self) -> None:
        """Release every blocked thread and close."""
        self.play(*[CameraError("the test is over")] * (MAX_ABANDONED + 2))
        assert self.camera is None or self.camera.close(10.0)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Closed after the test."""
    rig = Rig()
    yield rig
    rig.end()


def test_the_newest_frame_wins(rig: Rig) -> None:
    """A lane that was busy gets what the camera sees now, numbered so that it sees what it missed."""
    camera = rig.begin(1, 2, 3)
    until(lambda: camera.status().captured == 3, rig.bell)
    frame = rig.take()
    assert 3 == frame.number == frame.pixels[0, 0, 0]
    assert camera.status().dropped == 2
    assert camera.take() is None


def test_a_lossless_source_waits_for_the_lane(rig: Rig) -> None:
    """Every frame of a file is looked at, however slow the lane; then the camera has ended."""
    rig.lossless = True
    camera = rig.begin(1, 2, 3, None)
    numbers = [rig.take().number for _ in range(3)]
    until(lambda: camera.ended, rig.bell)
    assert numbers == [1, 2, 3]
    assert camera.status().state == "ended"
    assert camera.status().dropped == 0


def test_it_has_not_ended_while_a_frame_waits(rig: Rig) -> None:
    """Whoever stops at the end of the source would lose the last frame otherwise."""
    rig.lossless = True
    camera = rig.begin(1, None)
    until(lambda: camera.status().captured == 1, rig.bell)
    assert not camera.ended
    rig.take()
    until(lambda: camera.ended, rig.bell)


def test_frames_carry_the_time_of_the_grab(rig: Rig) -> None:
    """A prediction tells when the camera saw it, not when the lane came by."""
    clock = SystemClock()
    before_ns = clock.monotonic_ns()
    rig.begin(1)
    frame = rig.take()
    assert before_ns < frame.captured_ns < clock.monotonic_ns()
    assert abs(clock.wall_ns() - frame.captured_at_ns) < 60 * 10**9


def test_it_connects_before_it_is_online(rig: Rig) -> None:
    """Online means that a frame came, not that a socket opened."""
    camera = rig.begin()
    until(lambda: bool(rig.sources[1:]) and rig.sources[1].opened, rig.bell)
    assert camera.status().state == "connecting"
    rig.play(1)
    until(lambda: camera.status().state == "online", rig.bell)


def test_a_lost_source_is_opened_again(rig: Rig) -> None:
    """A new connection for each attempt, the old one closed; numbers go on."""
    camera = rig.begin(1)
    rig.take()
    rig.play(GONE, GONE)
    until(lambda: camera.status().state == "offline", rig.bell)
    assert camera.status().fault == "the cable is out; plug it in"
    rig.play(2)
    assert rig.take().number == 2
    assert camera.status().state == "online"
    assert camera.status().fault is None
    assert camera.status().reconnects == 1
    assert rig.sources[1].closed


def test_a_failure_is_told_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """First failure WARNING, repeats DEBUG, recovery INFO."""
    caplog.set_level(logging.DEBUG, LOGGER)
    rig.begin(1)
    rig.take()
    rig.play(GONE, GONE, GONE, 2)
    rig.take()
    levels = [record.levelname for record in caplog.records if record.name == LOGGER]
    assert levels == ["INFO", "WARNING", "DEBUG", "DEBUG", "INFO"]


def test_a_source_that_flaps_does_not_fill_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A camera that gives one frame per connection is told once, not twice a second for ever."""
    caplog.set_level(logging.INFO, LOGGER)
    camera = rig.begin(1, GONE, 2, GONE, 3, GONE, 4, GONE, 5)
    until(lambda: camera.status().captured == 5, rig.bell)
    levels = [record.levelname for record in caplog.records if record.name == LOGGER]
    assert levels == ["INFO", "WARNING", "INFO"]


def test_no_password_in_faults_and_logs(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """An error of a library may quote the address."""
    caplog.set_level(logging.DEBUG)
    camera = rig.begin(RuntimeError("http://me:s3cret@cam/ said no to s3cret"))
    until(lambda: camera.status().fault is not None, rig.bell)
    assert "s3cret" not in f"{camera.status()} {caplog.text}"
    assert "RuntimeError" in str(camera.status().fault)


def test_an_unexpected_error_ends_no_camera(rig: Rig) -> None:
    """A defect in a source is a fault, and the camera tries again."""
    rig.begin(KeyError("surprise"), 1)
    assert rig.take().number == 1


def test_a_spoilt_picture_is_counted_and_passed_over(rig: Rig) -> None:
    """One bad picture costs one picture."""
    camera = rig.begin("spoilt", 1)
    assert rig.take().number == 1
    assert camera.status().unreadable == 1


def test_a_stalled_source_is_given_up(rig: Rig) -> None:
    """A read that never returns costs a thread, not the camera."""
    camera = rig.begin(1, stall_timeout_s=0.05)
    until(lambda: camera.status().abandoned_threads > 0, rig.bell)
    assert "no picture for 0.05 s" in str(camera.status().fault)
    rig.play(*range(2, 8))
    until(lambda: camera.status().reconnects > 0, rig.bell)


def test_abandoned_threads_are_capped_and_counted(rig: Rig) -> None:
    """A driver that blocks for ever does not eat the memory, and the fault says what is going on."""
    camera = rig.begin(stall_timeout_s=0.02)
    until(lambda: "threads are blocked" in str(camera.status().fault), rig.bell)
    assert camera.status().abandoned_threads == MAX_ABANDONED
    attempts = len(rig.sources)
    assert not camera.close(0.0)
    assert attempts == MAX_ABANDONED + 1  # the first is made to see what kind of source it is


def test_attempts_go_on_when_a_blocked_thread_returns(rig: Rig) -> None:
    """Once the driver lets go, the camera comes back by itself."""
    camera = rig.begin(stall_timeout_s=0.02)
    until(lambda: "threads are blocked" in str(camera.status().fault), rig.bell)
    rig.play(*range(1, 60))
    until(lambda: camera.status().state == "online", rig.bell)


def test_a_frame_of_an_abandoned_thread_is_not_handed_on(rig: Rig) -> None:
    """What a blocked read gives in the end is old; it must not pass for new."""
    camera = rig.begin(stall_timeout_s=0.02)
    until(lambda: camera.status().abandoned_threads == MAX_ABANDONED, rig.bell)
    camera.close(0.0)
    rig.play(*range(1, 1 + MAX_ABANDONED))
    until(lambda: camera.status().abandoned_threads == 0, rig.bell)
    assert camera.take() is None


def test_close_does_not_wait_for_a_blocked_thread(rig: Rig) -> None:
    """Shutdown never hangs on a camera; whoever closes learns that a thread is left."""
    camera = rig.begin()
    until(lambda: bool(rig.sources[1:]) and rig.sources[1].opened, rig.bell)
    assert not camera.close(0.05)
    rig.play(GONE)
    assert camera.close(10.0)


def test_a_camera_that_was_never_started_closes() -> None:
    """A daemon that fails half-way through its start still cleans up."""
    camera = Camera(CameraSettings("door", "scene:finishes"), Bell(), SystemClock())
    assert camera.close(0.0)


def test_the_rate_limit_is_of_what_is_handed_on(rig: Rig) -> None:
    """A live source is read on, so that frames do not age in a queue; what is passed over is no capture."""
    camera = rig.begin(*range(1, 6), fps=0.001)
    until(rig.script.empty, rig.bell)
    assert rig.take().number == 1
    assert camera.status().captured == 1
    assert camera.status().dropped == 0


def test_the_rate_changes_while_it_runs(rig: Rig) -> None:
    """A paced file that would show its next frame in an hour shows it once it is asked to."""
    rig.lossless = True
    camera = rig.begin(1, 2, fps=1 / 3600)
    rig.take()
    assert camera.take() is None
    camera.update(fps=1000)
    assert rig.take().number == 2
    assert camera.settings.fps == 1000


def test_a_rate_below_zero_is_refused(rig: Rig) -> None:
    """A request from outside cannot break a running camera."""
    camera = rig.begin(1)
    with pytest.raises(CameraSetupError, match="fps"):
        camera.update(fps=-1)


def test_a_waiting_lossless_camera_closes(rig: Rig) -> None:
    """A thread that waits for the lane hears that it is over."""
    rig.lossless = True
    camera = rig.begin(1, 2, 3)
    until(lambda: camera.status().captured == 1, rig.bell)
    assert camera.close(10.0)


def test_the_fake_has_the_shape_of_a_camera() -> None:
    """Tests of other rooms that use the fake hold for the real one."""
    camera = Camera(CameraSettings("door", "scene:finishes"), Bell(), SystemClock())
    public = {name for name in dir(camera) if not name.startswith("_")}
    assert public <= set(dir(FakeCamera()))


def test_the_fake_keeps_the_rules_of_the_slot() -> None:
    """Newest wins when live, everything in order when lossless."""
    live, lossless = FakeCamera(), FakeCamera(lossless=True)
    for camera in (live, lossless):
        camera.show(plain_picture(1))
        camera.show(plain_picture(2))
        camera.end()
    newest, first, second = live.take(), lossless.take(), lossless.take()
    assert newest is not None
    assert first is not None
    assert second is not None
    assert [newest.number, first.number, second.number] == [2, 1, 2]
    assert live.ended
    assert lossless.ended


def test_a_frozen_camera_is_told_and_stays_online(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """It sends, so it is there; the fault goes with the first picture that differs."""
    caplog.set_level(logging.INFO, LOGGER)
    camera = rig.begin(*[1] * (FEWEST + 1), frozen_after_s=1e-9)
    until(lambda: camera.status().fault is not None, rig.bell)
    assert "online" == camera.status().state
    assert str(camera.status().fault).startswith("the very same picture for more than 1e-09 s; ")
    rig.play(2)
    until(lambda: camera.status().fault is None, rig.bell)
    rig.end()
    told = [record.levelname for record in caplog.records if "picture" in record.getMessage()]
    assert ["WARNING", "INFO"] == told


def test_files_may_repeat_themselves(rig: Rig) -> None:
    """Only a sensor never gives the same picture twice."""
    rig.lossless = True
    camera = rig.begin(*[1] * (FEWEST + 2), None, frozen_after_s=1e-9)
    for _ in range(FEWEST + 2):
        rig.take()
        assert camera.status().fault is None


def test_a_frozen_camera_that_is_lost_is_lost(rig: Rig) -> None:
    """What is worse is told; after it the pictures are compared anew."""
    camera = rig.begin(*[1] * (FEWEST + 1), frozen_after_s=1e-9)
    until(lambda: camera.status().fault is not None, rig.bell)
    rig.play(GONE)
    until(lambda: camera.status().fault == str(GONE), rig.bell)
    rig.play(1)
    until(lambda: camera.status().state == "online", rig.bell)
    assert camera.status().fault is None
