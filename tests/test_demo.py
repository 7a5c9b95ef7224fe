"""``edge-agent demo``: what it prints, and that the whole of it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.cli.demo import Board, prediction_line, program_name
from edge_agent.frames import Frame
from edge_agent.predictions import ModelIdentity, Prediction, Score
from tests.places import ROOT
from tests.test_broker import PATIENCE_S, Subscriber

LONG_S = 60.0
DEMO = (sys.executable, "-m", "edge_agent", "demo", "--port", "0", "--fps", "20")


def predicted(*scores: Score, truth: str | None = None) -> Prediction:
    """A prediction of these scores, for a drawn frame that shows ``truth``."""
    source = None if truth is None else f"finishes/3000007/{truth}"
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 1, 0, 0, source)
    model = ModelIdentity("default", "finishes", "0123456789ab", None)
    return Prediction(frame, model, "cpu", False, scores, 0.5, 1.5, 2.25, np.empty(0, np.float32), ())


def test_a_line_tells_label_score_and_time() -> None:
    """The best label, its score as a bar and a number, the milliseconds and the device stand on one line."""
    line = prediction_line("scene", predicted(Score("gold", 3, 0.5), Score("red", 1, 0.25)))
    assert "  scene  gold                  ##########..........  50.0%    2.0 ms on cpu" == line[8:]


@pytest.mark.parametrize(("truth", "told"), [("gold", "right"), ("red", "wrong: it is red")])
def test_a_line_says_whether_the_answer_was_right(truth: str, told: str) -> None:
    """A drawn scene knows what it shows, and a wrong answer is not hidden."""
    assert prediction_line("scene", predicted(Score("gold", 3, 0.5), truth=truth)).endswith(f"  {told}")


def test_nothing_above_the_threshold_is_a_line_too() -> None:
    """An empty ranking is an answer: no label, an empty bar."""
    line = prediction_line("scene", predicted())
    assert line[8:].startswith("  scene  -                     ....................   0.0%")


def test_the_summary_counts_what_was_right(capsys: pytest.CaptureFixture[str]) -> None:
    """Every prediction is counted, and of those with a known truth the right ones."""
    board = Board()
    board.add("scene", predicted(Score("gold", 3, 0.5), truth="gold"))
    board.add("scene", predicted(Score("gold", 3, 0.5), truth="red"))
    board.add("scene", predicted(truth="red"))
    assert re.fullmatch(
        r"Ended after 3 predictions in \d+\.\d s, 2\.0 ms each \(median\); 1 of 3 were right\.",
        board.summary(),
    )
    assert 3 == len(capsys.readouterr().out.splitlines())


def test_the_summary_of_nothing_says_so() -> None:
    """Ctrl-C before the first answer divides by nothing."""
    assert "Ended before the first prediction." == Board().summary()


@pytest.fixture
def running() -> Iterator[subprocess.Popen[str]]:
    """A demo that runs until it is told to stop."""
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as demo:
        yield demo
        demo.kill()


def test_the_command_that_it_names_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a checkout edge-agent is not on PATH, and its folder may hold a space."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "'/home/pi/my agent/.venv/bin/edge-agent'" == program_name("/home/pi/my agent/.venv/bin/python")
    (tmp_path / "edge-agent").touch(0o755)
    assert "edge-agent" == program_name("/home/pi/my agent/.venv/bin/python")


def test_frames_ends_the_demo_by_itself() -> None:
    """`--frames N` shows N predictions, a summary, and exits 0 with nothing on stderr."""
    done = subprocess.run((*DEMO, "--frames", "3"), capture_output=True, text=True, timeout=LONG_S, cwd=ROOT)
    assert ("", 0) == (done.stderr, done.returncode)
    assert 3 == len(re.findall(r"^\d\d:\d\d:\d\d  scene  .* ms on ", done.stdout, re.MULTILINE))
    assert done.stdout.splitlines()[-1].startswith("Ended after 3 predictions")


def test_the_printed_command_shows_the_predictions_and_ctrl_c_ends_it(running: subprocess.Popen[str]) -> None:
    """Who subscribes as the banner says gets the predictions; SIGINT ends it with a summary and exit 0."""
    assert running.stdout is not None
    said = next(line for line in running.stdout if "mosquitto_sub" in line)
    found = re.search(r"-p (\d+) -v -t '(.*)'", said)
    assert found is not None
    next(line for line in running.stdout if " ms on " in line)
    subscriber = Subscriber(int(found[1]), found[2].replace("#", "camera/+/prediction"))
    assert subscriber.received.wait(PATIENCE_S)
    subscriber.close()
    assert "edge-agent/prediction/1" == json.loads(subscriber.messages[0][1])["schema"]

    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=LONG_S)
    assert ("", 0) == (err, running.returncode)
    assert out.splitlines()[-1].startswith("Ended after ")


def test_a_reader_that_leaves_ends_the_demo(running: subprocess.Popen[str]) -> None:
    """`edge-agent demo | head -1` comes to an end by itself."""
    assert running.stdout is not None
    assert running.stdout.readline()
    running.stdout.close()
    assert 0 == running.wait(LONG_S)


def test_a_hangup_ends_the_demo(running: subprocess.Popen[str]) -> None:
    """SIGHUP, from a terminal that closes, finds no configuration to read again: it is the end."""
    assert running.stdout is not None
    next(line for line in running.stdout if " ms on " in line)
    running.send_signal(signal.SIGHUP)
    out, err = running.communicate(timeout=LONG_S)
    assert ("", 0) == (err, running.returncode)
    assert out.splitlines()[-1].startswith("Ended after ")


def test_a_closed_terminal_ends_the_demo() -> None:
    """What cannot be shown any more is no reason for a demo to stay, also where no signal tells of it."""
    ours, terminal = os.openpty()
    with subprocess.Popen(DEMO, stdout=terminal, stderr=subprocess.PIPE, text=True, cwd=ROOT) as demo:
        os.close(terminal)
        assert os.read(ours, 1)
        os.close(ours)
        assert 0 == demo.wait(LONG_S)
        assert demo.stderr is not None
        assert "" == demo.stderr.read()
