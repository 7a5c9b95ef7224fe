"""`edge-agent watch` in a terminal: what is kept of what was heard, and how it is drawn."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from edge_agent.cli.board import MAX_AGENTS, MAX_CAMERAS, Board
from edge_agent.cli.screen import Picture
from edge_agent.messages import (
    CameraStatusMessage,
    HealthMessage,
    ModelMessage,
    OutboxHealth,
    ServingModel,
    timestamp,
    to_json,
)
from edge_agent.mqtt import Received
from edge_agent.predictions import Score
from tests.brokers import HOST, PATIENCE_S, Broker, need_mosquitto, publish
from tests.test_watch import TOPICS, SetClock, a_prediction, received

HEALTH = HealthMessage(
    version="1.0.0", uptime_s=93, device="cpu", aspired="edgetpu", degraded=True, reason="lost", losses=1,
    recoveries=0, degraded_s=12, cameras={}, outbox=OutboxHealth(rows=0, dropped=3), soc_c=51.2,
    throttled=None, faults=("camera yard: 192.0.2.7:554 does not answer; check that the camera is powered",),
)  # fmt: skip
MODEL = ModelMessage(
    slot="default", state="serving", previous=None, candidate=None, rejected=(),
    serving=ServingModel(
        name="finish", digest="3f9c0a1b2c3d", iteration="7", labels=12, since=timestamp(0), device="cpu"
    ),
)  # fmt: skip


@pytest.fixture
def clock() -> SetClock:
    """Set by the test."""
    return SetClock()


@pytest.fixture
def board(clock: SetClock) -> Board:
    """Nothing heard yet."""
    return Board("edge-agent", clock)


def lines(board: Board, width: int = 80, height: int = 24, trouble: str | None = None) -> list[str]:
    """The screen as plain text."""
    return [line.plain for line in Picture(board, "broker:1883", trouble).lines(width, height)]


def hear_everything(board: Board, clock: SetClock) -> None:
    """An agent with a camera, a model and a fault."""
    board.hear(received(b"online", TOPICS.availability))
    board.hear(received(to_json(HEALTH), TOPICS.health))
    board.hear(received(to_json(MODEL), TOPICS.model("default")))
    board.hear(received(b"online", TOPICS.camera_availability("door")))
    board.hear(received(b"gold", TOPICS.label("door")))
    for sequence in (1, 2):
        clock.now_s += 0.2
        scores = Score("fiesta red", 4, 0.75), Score("gold", 5, 0.25)
        board.hear(received(a_prediction(*scores, sequence=sequence)))


def test_everything_has_its_line(board: Board, clock: SetClock) -> None:
    """Agent, model, camera with its settled label, device, rate and time, a bar per score, the fault."""
    hear_everything(board, clock)
    bar = "#" * 30
    expected = [
        "edge-agent watch  broker:1883  Ctrl-C ends it",
        "",
        "dock  online   cpu (not edgetpu)  edge-agent 1.0.0  51 \u00b0C  outbox 0 waiting, 3 dropped",
        "  model default: finish 3f9c0a1b2c3d on cpu",
        "  door              online   gold                             cpu  5.0/s  2.6 ms",
    ]
    shown = lines(board)
    assert expected == shown[:5]
    assert f"    {'fiesta red':<26} {bar}" in shown[5]
    assert shown[5].endswith(" 0.75")
    assert ["  ! camera yard: 192.0.2.7:554 does not answer; check that the camera is powered"] == shown[7:]


def test_a_camera_that_fell_silent_says_for_how_long(board: Board, clock: SetClock) -> None:
    """A rate that is long past would be a lie."""
    hear_everything(board, clock)
    clock.now_s += 12
    assert "silent 12 s" in lines(board)[4]
    assert "/s" not in lines(board)[4]


def test_a_paused_camera_says_so(board: Board, clock: SetClock) -> None:
    """Rather than online."""
    hear_everything(board, clock)
    status = CameraStatusMessage(
        camera="door", state="online", paused=True, threshold=0, fps=0, dropped=0, failed=0, fault=None
    )
    board.hear(received(to_json(status), TOPICS.status("door")))
    assert "  door              paused " in lines(board)[4]


def test_a_camera_that_was_removed_goes(board: Board, clock: SetClock) -> None:
    """Its status is cleared when it is taken out of the configuration."""
    hear_everything(board, clock)
    board.hear(received(b"", TOPICS.status("door")))
    assert not [line for line in lines(board) if "door" in line]


def test_before_anything_is_heard_the_screen_says_so(board: Board) -> None:
    """An empty screen would look broken."""
    assert "nothing heard yet" == lines(board)[1]


def test_why_nothing_is_heard_is_on_top(board: Board, clock: SetClock) -> None:
    """What was heard before stays."""
    hear_everything(board, clock)
    shown = lines(board, trouble="lost the connection; is it running?")
    assert "lost the connection; is it running?" == shown[1]
    assert "  door  " in "".join(shown)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 10), (20, 3)])
def test_it_never_is_taller_than_the_terminal(board: Board, clock: SetClock, width: int, height: int) -> None:
    """Bars go first, then the rest is counted."""
    hear_everything(board, clock)
    for number in range(30):
        board.hear(received(a_prediction(Score("gold", 5, 0.5)), TOPICS.prediction(f"camera{number}")))
    shown = lines(board, width, height)
    assert len(shown) <= height
    assert (height < 40) == shown[-1].endswith("more lines: make the terminal taller")


@given(st.text(max_size=200), st.floats(-1e6, 1e6), st.integers(20, 200))
def test_any_label_fits_its_line(label: str, score: float, width: int) -> None:
    """Letters of two cells, marks of none, and what could steer a terminal."""
    board = Board("edge-agent", SetClock())
    label = label.encode("utf-8", "replace").decode()
    board.hear(received(a_prediction(Score(label, 0, score))))
    board.hear(received(label.encode(), TOPICS.label("door")))
    for line in lines(board, width):
        assert line.isprintable()
    bar = lines(board, width)[4:5]
    assert all(cell_len(line) <= max(width, 32) for line in bar)


@given(st.binary(max_size=60), st.lists(st.sampled_from(["a", "camera", "health", "model", "label", ""])))
def test_nothing_that_is_heard_does_harm(payload: bytes, levels: list[str]) -> None:
    """The sender may be anyone."""
    board = Board("edge-agent", SetClock())
    board.hear(Received("/".join(["edge-agent", *levels]), payload, retained=False))
    assert lines(board)


def test_a_flood_of_names_is_bounded(board: Board) -> None:
    """As many as fit some screens."""
    for number in range(MAX_AGENTS + 10):
        board.hear(received(b"online", f"edge-agent/agent{number}/availability"))
    for number in range(MAX_CAMERAS + 10):
        board.hear(received(b"online", f"edge-agent/agent1/camera/c{number}/availability"))
    assert MAX_AGENTS == len(board.agents())
    assert MAX_CAMERAS == len(next(each for each in board.agents() if each.name == "agent1").cameras)


class Terminal:
    """A terminal of 80 x 24 with the command in it; what it wrote so far."""

    def __init__(self, *arguments: str) -> None:
        self.number, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        program = "import sys; from edge_agent.cli.watch import watch; sys.exit(watch())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
        )
        os.close(inside)
        self.text = b""

    def reads(self, part: str) -> bool:
        """Wait until this was written since the last call."""
        while part.encode() not in self.text:
            ready, _, _ = select.select([self.number], [], [], PATIENCE_S)
            if not ready or not (chunk := self._chunk()):
                return False
            self.text += chunk
        self.text = self.text.partition(part.encode())[2]
        return True

    def _chunk(self) -> bytes:
        try:
            return os.read(self.number, 65536)
        except OSError as error:
            if error.errno == errno.EIO:  # the other end is closed
                return b""
            raise

    def ends(self, how: signal.Signals) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    """Whatever happens, it is gone at the end."""
    made = Terminal(*arguments)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        os.close(made.number)


ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


@need_mosquitto
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_terminal_is_left_as_it_was(how: signal.Signals, code: int) -> None:
    """A screen of its own, which is gone at the end."""
    with Broker() as broker:
        publish(broker.port, TOPICS.availability, b"online", retain=True)
        with terminal("--host", HOST, "--port", str(broker.port)) as screen:
            assert screen.reads(ENTER)
            assert screen.reads("dock")
            assert code == screen.ends(how)
            assert screen.reads(LEAVE)
            assert b"Traceback" not in screen.text


@need_mosquitto
def test_a_broker_that_is_lost_and_back_is_told_on_the_screen() -> None:
    """The screen lives on meanwhile."""
    with Broker() as broker:
        publish(broker.port, TOPICS.availability, b"online", retain=True)
        with terminal("--host", HOST, "--port", str(broker.port)) as screen:
            assert screen.reads("dock")
            broker.kill()
            assert screen.reads("is it running?")
            broker.start()
            publish(broker.port, TOPICS.label("door"), "日本語".encode(), retain=True)
            assert screen.reads("日本語")
            assert 0 == screen.ends(signal.SIGINT)


@need_mosquitto
def test_plain_prints_lines_in_a_terminal_too() -> None:
    """For those who want to scroll."""
    with Broker() as broker:
        publish(broker.port, TOPICS.availability, b"online", retain=True)
        with terminal("--host", HOST, "--port", str(broker.port), "--plain") as screen:
            assert screen.reads("dock is online\r\n")
            assert 0 == screen.ends(signal.SIGINT)
