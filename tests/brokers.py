"""A real mosquitto on a free port of 127.0.0.1, and a real client that collects what it hears."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

HOST = "127.0.0.1"
PATIENCE_S = 20.0
"""How long a test waits for what must come; nothing waits that long when all is well."""

# Debian keeps it out of a user's PATH.
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

_MISSING = "mosquitto is not installed (apt install mosquitto)"

need_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason=_MISSING)


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


class Broker:
    """A mosquitto without persistence: what it retained is gone when it ends.

    ``listener`` and ``options`` are lines of mosquitto.conf, after the listener and before all else;
    ``users`` maps names to passwords, and keeps everyone else out.
    """

    def __init__(
        self,
        *,
        listener: Sequence[str] = (),
        options: Sequence[str] = (),
        users: dict[str, str] | None = None,
    ) -> None:
        if MOSQUITTO is None:
            pytest.skip(_MISSING)
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="broker-")
        self.folder = Path(self._folder.name)
        self._configuration = self.folder / "mosquitto.conf"
        access = [f"password_file {self._passwords(users)}"] if users else ["allow_anonymous true"]
        lines = [
            *(["user root"] if os.geteuid() == 0 else []),
            "log_dest stderr",
            "log_type all",
            *options,
            f"listener {self.port} {HOST}",
            *listener,
            *access,
        ]
        self._configuration.write_text("\n".join([*lines, ""]))
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._said = threading.Condition()
        self._log: list[str] = []

    def _passwords(self, users: dict[str, str]) -> Path:
        path = self.folder / "passwords"
        path.touch(mode=0o600)
        for name, password in users.items():
            self.set_password(name, password)
        return path

    def set_password(self, name: str, password: str) -> None:
        """Known from the next start on; only where there are ``users``."""
        file = self.folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", file, name, password], check=True, capture_output=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Start, again on the same port where it ran before, and wait until it listens."""
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", self._configuration], stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self._log = []
        self._reader = threading.Thread(target=self._collect, args=(self._process,))
        self._reader.start()
        assert self.logged(" running"), self._log
        # A SIGTERM between that line and its main loop is forgotten; who accepts is in the loop.
        with socket.create_connection((HOST, self.port)):
            assert self.logged("New connection"), self._log

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._said:
                    self._log.append(line)
                    self._said.notify_all()

    def logged(self, text: str, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until a line of its log since the last start contains the text."""
        with self._said:
            return self._said.wait_for(lambda: any(text in line for line in self._log), timeout_s)

    def times(self, text: str) -> int:
        """How many lines of its log contain the text, so far."""
        with self._said:
            return sum(text in line for line in self._log)

    def reload(self) -> None:
        """Have it read its passwords and access lists again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it the polite way (clients are told); harmless when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._reader is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(PATIENCE_S)
        self._reader.join()
        self._process = None

    def freeze(self) -> None:
        """It keeps its connections and does nothing any more (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Heard:
    """A subscriber that collects (topic, payload, retained) until it is left."""

    def __init__(self, port: int, topics: str = "#", **credentials: str) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        if credentials:
            self._client.username_pw_set(**credentials)
        self._client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(HOST, port)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE_S)

    def _on_message(self, _client: object, _userdata: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self.messages.append((message.topic, bytes(message.payload), message.retain))
            self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def payloads(self, topic: str) -> list[bytes]:
        """What was heard on one topic, in order."""
        with self._news:
            return [payload for where, payload, _ in self.messages if where == topic]

    def waits_for(self, condition: Callable[[list[tuple[str, bytes, bool]]], bool]) -> bool:
        """Wait until the messages heard so far fulfil the condition."""
        with self._news:
            return self._news.wait_for(lambda: condition(self.messages), PATIENCE_S)

    def hears(self, topic: str, payload: bytes) -> bool:
        """Wait until this was heard."""
        return self.waits_for(lambda heard: any((topic, payload) == (each[0], each[1]) for each in heard))


def publish(port: int, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """Publish one message with QoS 1 and wait for the broker's receipt."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.connect(HOST, port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


class OldBroker:
    """Stands before a broker and answers MQTT 5 as a broker of MQTT 3.1.1 has to: CONNACK 1, good-bye.

    With ``silent`` it closes the connection without a word, as some do.
    """

    def __init__(self, behind: int, *, silent: bool = False) -> None:
        self._behind = behind
        self._silent = silent
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.levels: list[int] = []
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for each in (self._listener, *self._connections):
            each.close()

    def hang_up(self) -> None:
        """End every connection; new ones are welcome."""
        for each in tuple(self._connections):
            _hang_up(each)

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(client)
            self._greet(client)

    def _greet(self, client: socket.socket) -> None:
        connect = client.recv(4096)
        level = connect[connect.index(b"MQTT") + 4]
        self.levels.append(level)
        if level == 5:
            if not self._silent:
                client.sendall(bytes([0x20, 2, 0, 1]))
            _hang_up(client)
            return
        broker = socket.create_connection((HOST, self._behind))
        self._connections.append(broker)
        broker.sendall(connect)
        self._begin(_pump, client, broker)
        self._begin(_pump, broker, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    except OSError:
        pass
    _hang_up(source)
    _hang_up(sink)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
