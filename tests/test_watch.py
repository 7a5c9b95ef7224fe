"""`edge-agent watch`: what is published, as lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cli.sightings import Sightings, object_line
from edge_agent.cli.watch import watch
from edge_agent.clock import SystemClock
from edge_agent.errors import BrokerError, ConfigError, UsageError
from edge_agent.frames import Frame
from edge_agent.messages import Topics, prediction_message
from edge_agent.mqtt import Received
from edge_agent.predictions import ModelIdentity, Prediction, Score
from tests.brokers import HOST, PATIENCE_S, Broker, free_port, need_mosquitto, publish
from tests.publishers import scripted

TOPICS = Topics("edge-agent", "dock")


def a_prediction(*ranking: Score, sequence: int = 1) -> bytes:
    """A published prediction of the camera "door"."""
    frame = Frame(
        np.zeros((2, 2, 3), np.uint8), number=1, captured_ns=1, captured_at_ns=1_795_176_000_000_000_000
    )
    model = ModelIdentity(slot="default", name="finish", digest="3f9c0a1b2c3d", iteration=None)
    prediction = Prediction(frame, model, "cpu", True, ranking, 0.2, 2.6, 3.4, np.empty(0, np.float32), ())
    return prediction_message(
        prediction,
        agent="dock",
        camera="door",
        session="8d1c7f20",
        sequence=sequence,
        clock="synced",
        captured_at_ns=frame.captured_at_ns,
    )


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_ns(self) -> int:
        """The set time."""
        return int(self.now_s * 1e9)

    def wall_ns(self) -> int:
        """The same."""
        return self.monotonic_ns()

    def is_synced(self) -> bool:
        """It is."""
        return True


def received(payload: bytes, topic: str = TOPICS.prediction("door")) -> Received:
    """A message as it comes from the broker."""
    return Received(topic, payload, retained=False)


def test_a_prediction_is_one_line_with_camera_label_score_device_and_rate() -> None:
    """The rate needs two messages; before it is left out."""
    clock = SetClock()
    sightings = Sightings(clock)
    payload = a_prediction(Score("fiesta red", 4, 0.91), Score("gold", 5, 0.05))
    first = sightings.line(received(payload))
    assert "12:00:00  dock/door         fiesta red 0.91  gold 0.05  cpu (degraded)  3.4 ms" == first
    clock.now_s += 0.2
    assert f"{first}  5.0/s" == sightings.line(received(payload))


def test_nothing_above_the_threshold_is_a_line_too() -> None:
    """An empty ranking shows that the agent lives and sees nothing."""
    line = Sightings(SetClock()).line(received(a_prediction()))
    assert "12:00:00  dock/door         -  cpu (degraded)  3.4 ms" == line


def test_availability_names_who_came_or_went() -> None:
    """Agents and cameras."""
    sightings = Sightings(SetClock())
    assert "dock is online" == sightings.line(received(b"online", TOPICS.availability))
    assert "dock/door is offline" == sightings.line(received(b"offline", TOPICS.camera_availability("door")))
    assert sightings.line(received(b"maybe", TOPICS.availability)) is None


def test_a_label_cannot_steer_the_terminal() -> None:
    """Control characters of a label, escape sequences too, are shown as replaced."""
    line = Sightings(SetClock()).line(received(a_prediction(Score("\x1b[2Jred\nline", 0, 0.5))))
    assert line is not None
    assert line.isprintable()


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["t/availability", "/availability", "x", ""]))
def test_any_payload_is_a_line_or_not_understood(payload: bytes, topic: str) -> None:
    """No sender can end the program."""
    line = Sightings(SystemClock()).line(received(payload, topic))
    assert line is None or line.isprintable()
    published = object_line(received(payload, topic))
    assert published is None or isinstance(json.loads(published), dict)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a":\n 1}\r\n', '{"a":  1}  '),
        ("{\"a\": \"\u2028\"}".encode(), '{"a": "\u2028"}'),
        (b"[1]", None),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
        (b"1" * 5000, None),
        (b"\xff", None),
    ],
)  # fmt: skip
def test_an_object_is_printed_as_it_is_on_one_line(payload: bytes, expected: str | None) -> None:
    """JSON mode passes on what was published, for programs that read line by line."""
    assert expected == object_line(received(payload))


@contextmanager
def watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process with its output in a pipe."""
    program = "import sys; from edge_agent.cli.watch import watch; sys.exit(watch())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    """One line of its output."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


@need_mosquitto
def test_it_prints_through_a_pipe_survives_garbage_and_ends_well_on_ctrl_c() -> None:
    """One line each, at once; exit code 0 for who has seen enough."""
    with Broker() as broker:
        publish(broker.port, TOPICS.availability, b"online", retain=True)
        with watching("--host", HOST, "--port", str(broker.port)) as process:
            assert "dock is online" == next_line(process)
            publish(broker.port, TOPICS.prediction("door"), b"\xff\x00garbage")
            publish(broker.port, TOPICS.prediction("door"), a_prediction(Score("czerwień", 4, 0.91)))
            assert "czerwień 0.91" in next_line(process)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_S)
            assert 0 == process.returncode
            assert "not understood: 9 bytes" in errors
            assert "Traceback" not in errors


@need_mosquitto
def test_json_mode_prints_what_was_published() -> None:
    """The very object, and nothing but predictions."""
    with Broker() as broker:
        publish(broker.port, TOPICS.availability, b"online", retain=True)
        payload = a_prediction(Score("fiesta red", 4, 0.91))
        publish(broker.port, TOPICS.prediction("door"), payload, retain=True)
        with watching("--host", HOST, "--port", str(broker.port), "--json") as process:
            assert payload.decode() == next_line(process)


@need_mosquitto
def test_a_broker_that_comes_back_is_watched_again() -> None:
    """A broker that was there once is waited for."""
    with Broker() as broker:
        publish(broker.port, TOPICS.availability, b"online", retain=True)
        with watching("--host", HOST, "--port", str(broker.port), "--agent", "dock") as process:
            assert "dock is online" == next_line(process)
            broker.kill()
            assert process.stderr is not None
            assert "is it running?" in process.stderr.readline()
            broker.start()
            assert "connected again\n" == process.stderr.readline()
            publish(broker.port, TOPICS.availability, b"offline")
            assert "dock is offline" == next_line(process)


@need_mosquitto
def test_the_configuration_says_where_to_look(tmp_path: Path) -> None:
    """Broker, user, password, base topic and agent are those of the daemon."""
    (tmp_path / "password").write_text("secret\n")
    with Broker(users={"dock": "secret", "test": "test"}) as broker:
        configuration = tmp_path / "config.toml"
        configuration.write_text(
            f'[agent]\nname = "dock"\n[mqtt]\nhost = "{HOST}"\nport = {broker.port}\nusername = "dock"\n'
            'password_file = "password"\nbase_topic = "site/a"\n[models.default]\npath = "m.tflite"\n'
            '[cameras.door]\nsource = "0"\n'
        )
        with watching("-c", str(configuration)) as process:
            assert broker.logged("site/a/dock/camera/+/availability (QoS 1)")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)
            assert 0 == process.returncode


def test_what_may_be_seen_is_shown_though_the_broker_refuses_a_part() -> None:
    """The refused part is named on stderr, with the remedy; the rest goes on."""
    subacks = b"\x90\x04\x00\x01\x00\x01" + b"\x90\x04\x00\x02\x00\x87" + b"\x90\x04\x00\x03\x00\x01"
    topic = TOPICS.camera_availability("door").encode()
    message = b"\x00" + bytes([len(topic)]) + topic + b"\x00" + b"online"
    online = b"\x30" + bytes([len(message)]) + message
    with (
        scripted(b"\x20\x03\x00\x00\x00" + subacks + online, stays=True) as (port, _),
        watching("--host", HOST, "--port", str(port), "--agent", "dock") as process,
    ):
        assert process.stderr is not None
        told = process.stderr.readline()
        assert "does not let us listen to edge-agent/dock/availability; allow this user" in told
        assert "dock/door is online" == next_line(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        assert 0 == process.returncode


def test_an_absent_broker_is_an_error_with_a_remedy() -> None:
    """One line, exit code 1: a BrokerError."""
    result = CliRunner().invoke(watch, ["--host", HOST, "--port", str(free_port())])
    assert isinstance(result.exception, BrokerError)
    assert 1 == result.exception.exit_code
    assert "is it running?" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--host", HOST, "--username", "dock", "--password-file", "/does/not/exist"], UsageError),
        (["--host", HOST, "--username", "dock", "--password-file", os.devnull], UsageError),
        (["--host", HOST, "--password-file", os.devnull], UsageError),
        (["--host", HOST, "--base-topic", "a/#"], ConfigError),
        (["--host", HOST, "--agent", "a/b"], ConfigError),
        (["-c", "/does/not/exist.toml"], ConfigError),
        (["--port", "1884"], UsageError),
        (["--username", "dock"], UsageError),
    ],
)
def test_impossible_arguments_are_told(arguments: list[str], error: type[Exception]) -> None:
    """Nothing is tried with what cannot work."""
    assert isinstance(CliRunner().invoke(watch, arguments).exception, error)
