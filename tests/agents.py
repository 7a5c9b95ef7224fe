"""``edge-agent run`` in a process of its own, and a subscriber that hears what it publishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho

from edge_agent.topics import Topics
from tests.brokers import Broker, Heard
from tests.faults.newborn import Nursery
from tests.places import CORAL
from tests.processes import Watched

PATIENCE_S = 60.0
"""How long a test waits for what must come; nothing waits that long when all is well."""

TOPICS = Topics("edge-agent", "dock")

SMALL_MODEL = CORAL / "mobilenet_v1_0.25_128_quant.tflite"
"""Half a millisecond per frame, its labels embedded."""

Table = Mapping[str, object]


def toml(tables: Mapping[str, Table]) -> str:
    """A configuration file: ``{"cameras.door": {"fps": 5}}`` is ``[cameras.door]`` with ``fps = 5``."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value, default=str)}" for key, value in table.items()]
    return "\n".join([*lines, ""])


def configuration(port: int, cameras: Mapping[str, Table], **sections: Table) -> str:
    """An agent named dock, the small model, cameras as fast as they go; ``sections`` add or overrule."""
    agent = {"name": TOPICS.agent, "state_dir": "state", "socket": "control.sock"}
    tables: dict[str, Table] = {
        "agent": {**agent, **sections.get("agent", {})},
        "mqtt": {"port": port, **sections.get("mqtt", {})},
        "inference": {"device": "cpu", **sections.get("inference", {})},
        "models.default": {"path": SMALL_MODEL, **sections.get("model", {})},
    }
    tables |= {f"cameras.{name}": {"fps": 0, **table} for name, table in cameras.items()}
    return toml(tables)


class Agent:
    """A running agent with its configuration in ``folder``; whatever happens, it ends with the ``with``.

    ``fault``, ``turns`` and ``vetting`` say what goes wrong in its workers: :class:`Nursery`. ``through`` is
    the command that runs it, ``environment`` what it is given of its own.
    """

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        fault: str | None = None,
        turns: Iterable[int] = (),
        vetting: bool = False,
        through: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._through = through
        self._environment = environment or {}
        self.path = folder / "agent.toml"
        self.configure(text)
        self._nursery = Nursery(folder / "nursery", fault, turns, vetting=vetting)
        self._workers: list[Watched] = []
        self._said = threading.Condition()
        self._log: list[str] = []
        self._is_over = False

    def configure(self, text: str) -> None:
        """Write the configuration anew; a running agent reads it at SIGHUP."""
        self.path.write_text(text)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [*self._through, sys.executable, "-m", "edge_agent", "run", "-c", str(self.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **self._nursery.environment, **self._environment},
        )
        self._reader = threading.Thread(target=self._collect)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for process in [*self._workers, *self._nursery.inhabitants()]:
            process.send(signal.SIGKILL)
            process.close()
        self._reader.join()
        self._nursery.close()

    def _collect(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            for line in self.process.stderr:
                with self._said:
                    self._log.append(line.rstrip("\n"))
                    self._said.notify_all()
        with self._said:
            self._is_over = True
            self._said.notify_all()

    def log(self, text: str = "") -> list[str]:
        """The lines of its log that contain the text, so far."""
        with self._said:
            return [line for line in self._log if text in line]

    def logged(self, text: str, times: int = 1) -> bool:
        """Wait until so many lines of its log contain the text."""
        with self._said:
            return self._said.wait_for(lambda: len(self.log(text)) >= times, PATIENCE_S)

    def reaches(self, text: str, times: int = 1) -> bool:
        """Wait for so many lines with the text; False where the agent ends before."""
        with self._said:
            assert self._said.wait_for(lambda: self._is_over or len(self.log(text)) >= times, PATIENCE_S), (
                self._log
            )
            return len(self.log(text)) >= times

    def next_worker(self) -> Watched:
        """Wait for the birth of a worker; the first one is born to vet the model."""
        worker = self._nursery.next_worker(PATIENCE_S)
        self._workers.append(worker)
        return worker

    def leaves_no_process(self) -> bool:
        """Wait for the end of the agent and of everything that it started."""
        while left := self._nursery.inhabitants():
            if not all([process.ends_within(PATIENCE_S) for process in left]):  # noqa: C419  each is closed
                return False
        return True

    def reload(self, text: str) -> None:
        """Let it read another configuration."""
        self.configure(text)
        self.process.send_signal(signal.SIGHUP)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; the exit code."""
        self.process.send_signal(how)
        return self.ends()

    def ends(self) -> int:
        """Wait for its end, and that of its log; the exit code."""
        code = self.process.wait(2 * PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


class Listener(Heard):
    """A subscriber, to everything below ``edge-agent/`` unless told otherwise, by topic; ``retained``: told
    of the past.
    """

    def __init__(self, port: int, topics: str = "edge-agent/#", **credentials: str) -> None:
        self.port = port
        self._by_topic: dict[str, list[bytes]] = {}
        self.retained: dict[str, bytes] = {}
        super().__init__(port, topics, **credentials)

    def _on_message(self, _client: object, _userdata: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self._by_topic.setdefault(message.topic, []).append(bytes(message.payload))
            if message.retain:
                self.retained[message.topic] = bytes(message.payload)
            self._news.notify_all()

    def topics(self) -> list[str]:
        """Every topic on which something was heard."""
        with self._news:
            return list(self._by_topic)

    def payloads(self, topic: str) -> list[bytes]:
        """What was heard on one topic, in order."""
        with self._news:
            return list(self._by_topic.get(topic, []))

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until it holds; it is looked at after each message."""
        with self._news:
            return self._news.wait_for(condition, PATIENCE_S)

    def says(self, topic: str, payload: bytes) -> bool:
        """Wait until this is the last word on a topic."""
        return self.until(lambda: self.payloads(topic)[-1:] == [payload])

    def tells(self, topic: str, condition: Callable[[Any], bool]) -> bool:
        """Wait until the last word on a topic, as JSON, fulfils the condition."""
        return self.until(lambda: any(condition(json.loads(last)) for last in self.payloads(topic)[-1:]))

    def predictions(self, camera: str) -> list[dict[str, Any]]:
        """The predictions of a camera, in order."""
        return [json.loads(payload) for payload in self.payloads(TOPICS.prediction(camera))]

    def predicted(self, camera: str, count: int) -> bool:
        """Wait for so many predictions of a camera in all."""
        return self.until(lambda: len(self._by_topic.get(TOPICS.prediction(camera), ())) >= count)

    def predicts_on(self, camera: str, count: int = 5) -> bool:
        """Wait for so many more predictions than there are."""
        return self.predicted(camera, len(self.payloads(TOPICS.prediction(camera))) + count)


class Clocked(Listener):
    """Knows when each prediction of one camera came: Unix time in ns."""

    def __init__(self, port: int, camera: str) -> None:
        self.came_ns: list[int] = []
        self._topic = TOPICS.prediction(camera)
        super().__init__(port)

    def _on_message(self, client: object, userdata: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            if message.topic == self._topic:
                self.came_ns.append(time.time_ns())
            super()._on_message(client, userdata, message)

    def take(self) -> tuple[list[dict[str, Any]], list[int]]:
        """The predictions since the last call, and when each came. They are forgotten, and of all else but
        the last words: who listens for hours has no room for them.
        """
        with self._news:
            taken = self._by_topic.pop(self._topic, [])
            came_ns, self.came_ns = self.came_ns, []
            for payloads in self._by_topic.values():
                del payloads[:-1]
        return [json.loads(payload) for payload in taken], came_ns


def sturdy_broker() -> Broker:
    """One that loses nothing on the way to a slow subscriber."""
    return Broker(options=["max_queued_messages 0"])
