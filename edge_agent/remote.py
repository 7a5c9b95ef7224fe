"""What the agent is asked over MQTT: ``request/<verb>``, answered on ``response/<verb>``.

docs/mqtt.md has the requests and the answers. They are those of the control socket, but for
``model/install`` and ``model/verify``, which name a file that already lies in the inbox: a model does not
come over MQTT.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import queue
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge_agent.allowance import Allowance
from edge_agent.clock import Clock
from edge_agent.control_socket import Answer, ControlRequest
from edge_agent.control_socket.wire import MAX_REQUEST_BYTES
from edge_agent.errors import AgentBusyError, ConfigError, EdgeAgentError, UsageError
from edge_agent.mqtt import Received
from edge_agent.topics import Topics, check_topic
from edge_agent.verbs import Verbs

logger = logging.getLogger(__name__)

READS = {"status": "status", "ping": "ping", "config/get": "config/get", "model/list": "models/list"}
"""Verbs that change nothing, and what they are called at the control socket."""

CHANGES = {
    "snapshot": "snapshot",
    "pause": "pause",
    "resume": "resume",
    "threshold/set": "threshold/set",
    "restart": "restart",
    "model/activate": "models/activate",
    "model/rollback": "models/rollback",
    "model/prune": "models/prune",
}
"""A picture changes nothing here, but shows the world what nobody was shown before."""

FROM_INBOX = ("model/install", "model/verify")
"""To verify one changes nothing here either, but takes a core and the memory of a bundle for some seconds."""

PLAIN = {"snapshot": "camera", "pause": "camera", "resume": "camera"}
"""The argument that a payload stands for which is no object, as a wall switch or a button sends it."""

MAX_OPEN = 8
"""Requests that may wait for their answers, as at the control socket."""

MAX_WAITING = 64
"""Requests that are remembered between two turns of the main loop, and that may come at once."""

PER_S = 50.0
"""Requests that are heard in the long run, as at the control socket; as many more are told to wait."""

CALM_NS = 60_000_000_000
"""A flood is over, and the next one is news, when so long none was too many."""

MAX_TRANSACTION = 128
"""Characters."""

MAX_CORRELATION = 1024
"""Bytes."""

_VERB = re.compile("[A-Za-z0-9_-]{1,32}(/[A-Za-z0-9_-]{1,32}){0,2}")


class Publish(Protocol):
    """As :meth:`edge_agent.mqtt.Publisher.publish`."""

    def __call__(
        self, topic: str, payload: bytes, *, live: bool = False, correlation: bytes | None = None
    ) -> None:
        """Hand over one message; never blocks."""
        ...


@dataclass
class _Letter:
    """One request: where its answer goes, and with what."""

    verb: str
    topic: str
    correlation: bytes | None = None
    transaction: str | int | None = None


class Remote:
    """Answers requests over MQTT. ``hear`` belongs to the thread that they come in on, ``answer`` to the main
    one.

    Where they may not ``may_change`` anything, only what looks is answered.
    """

    def __init__(
        self,
        verbs: Verbs,
        topics: Topics,
        publish: Publish,
        inboxes: Path,
        clock: Clock,
        *,
        may_change: bool,
        discovery_prefix: str,
    ) -> None:
        """``discovery_prefix``: nothing is answered below it."""
        self._verbs = verbs
        self._topics = topics
        self._publish = publish
        self._inboxes = inboxes
        self._may_change = may_change
        self._not_below = (topics.base, discovery_prefix)
        self._heard: queue.Queue[tuple[_Letter, Received]] = queue.Queue(MAX_WAITING)
        self._allowed = Allowance(MAX_WAITING, PER_S, clock)
        self._refusals = Allowance(MAX_WAITING, PER_S, clock)
        self._clock = clock
        self._refused_ns = clock.monotonic_ns() - CALM_NS
        self._open = 0

    def hear(self, received: Received) -> bool:
        """A message came in; whether there is something to answer.

        A retained one is none: it would be obeyed again at each start.
        """
        if received.retained:
            logger.warning("%s: a retained request is not obeyed; publish it without retain", received.topic)
            return False
        verb = self._topics.verb_of(received.topic)
        if verb == received.topic or not _VERB.fullmatch(verb):
            logger.debug("%s: no request", received.topic)
            return False
        letter = _Letter(verb, self._topics.response(verb))
        # One byte too many says as much as all of them.
        bounded = dataclasses.replace(received, payload=received.payload[: MAX_REQUEST_BYTES + 1])
        if self._allowed.take():
            try:
                self._heard.put_nowait((letter, bounded))
            except queue.Full:
                pass
            else:
                return True
        self._refuse(letter, bounded)
        return False

    def answer(self) -> None:
        """Begin what was asked for since the last call."""
        for _ in range(self._heard.qsize()):  # no more than that, for others come in meanwhile
            self._begin(*self._heard.get())

    def _refuse(self, letter: _Letter, received: Received) -> None:
        """There are too many: say so to as many as are heard, the rest is lost."""
        now_ns = self._clock.monotonic_ns()
        level = logging.WARNING if now_ns - self._refused_ns >= CALM_NS else logging.DEBUG
        self._refused_ns = now_ns
        logger.log(level, "%s: more than %.0f requests a second are not heard", received.topic, PER_S)
        if self._refusals.take():
            with contextlib.suppress(EdgeAgentError):
                self._address(letter, received)
                letter.transaction = _transaction(_arguments(letter.verb, received.payload))
            busy = AgentBusyError(f"more than {PER_S:.0f} requests a second", "try again")
            self._respond(letter, Answer.failed(busy))

    def _begin(self, letter: _Letter, received: Received) -> None:
        try:
            self._address(letter, received)
            arguments = _arguments(letter.verb, received.payload)
            letter.transaction = _transaction(arguments)
            name = self._name(letter.verb)
            if not received.payload and letter.verb not in READS:
                # As whoever takes a retained message away sends it.
                what = f"request/{letter.verb} needs a JSON object"
                raise UsageError(what, "{} is enough without arguments")
            if self._open >= MAX_OPEN:
                raise AgentBusyError(f"{MAX_OPEN} requests wait for their answers", "try again")
        except EdgeAgentError as error:
            self._respond(letter, Answer.failed(error))
            return

        def reply(answer: Answer) -> None:
            if answer.is_last:  # by then on the main thread
                self._open -= 1
                self._respond(letter, answer)

        self._open += 1
        request = ControlRequest(name, arguments, None, reply)
        if letter.verb in FROM_INBOX:
            self._verbs.answer_of_inbox(self._inboxes, request)
        else:
            self._verbs.answer(request)

    def _address(self, letter: _Letter, received: Received) -> None:
        """Where an asker that speaks MQTT 5 wants the answer. Raises UsageError for what cannot be."""
        correlation = received.correlation
        if correlation is not None and len(correlation) > MAX_CORRELATION:
            raise UsageError(f"the correlation data has more than {MAX_CORRELATION} bytes")
        letter.correlation = correlation
        if (topic := received.response_topic) is None:
            return
        try:
            check_topic(topic)
        except ConfigError as error:
            raise UsageError(f"the response topic: {error.what}") from error
        # An answer there might be taken for a request to another agent, or for something that was announced.
        taken = next((each for each in self._not_below if f"{topic}/".startswith(f"{each}/")), None)
        if taken is not None and not topic.startswith(self._topics.response("")):
            own = self._topics.response("#")
            raise UsageError(
                f"the response topic {topic!r} is below {taken!r}", f"name another one, or {own}"
            )
        letter.topic = topic

    def _name(self, verb: str) -> str:
        """At the control socket. Raises UsageError for a verb that there is not, or that is not allowed."""
        if verb in READS:
            return READS[verb]
        if verb not in FROM_INBOX and verb not in CHANGES:
            there_are = ", ".join([*READS, *FROM_INBOX, *CHANGES])
            raise UsageError(f"there is no request/{verb}", f"there are: {there_are}")
        if not self._may_change:
            raise UsageError(
                f"request/{verb} is not allowed", 'mqtt.requests = "control" in the configuration allows it'
            )
        return CHANGES.get(verb, verb)

    def _respond(self, letter: _Letter, answer: Answer) -> None:
        failed = answer.status == "error"
        content = {
            "transaction": letter.transaction,
            "status": answer.status,
            "data": answer.content,
            "error": answer.error if failed else None,
            "remedy": answer.remedy,
            "code": answer.code if failed else None,
        }
        payload = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        self._publish(letter.topic, payload, live=True, correlation=letter.correlation)


def _arguments(verb: str, payload: bytes) -> dict[str, Any]:
    """Raises UsageError. No payload at all looks without arguments; it changes nothing."""
    if len(payload) > MAX_REQUEST_BYTES:
        raise UsageError(f"the request has more than {MAX_REQUEST_BYTES} bytes")
    if verb in PLAIN and payload.strip() and not payload.lstrip().startswith((b"{", b"[")):
        return {PLAIN[verb]: _plain(payload)}
    try:
        arguments = json.loads(payload or b"{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise UsageError("the request is no JSON object")
    return arguments


def _plain(payload: bytes) -> str:
    """Text as it is, or as a JSON string."""
    text = payload.decode("utf-8", "replace").strip()
    try:
        unquoted = json.loads(text) if text.startswith('"') else text
    except ValueError:
        return text
    return unquoted if isinstance(unquoted, str) else text


def _transaction(arguments: dict[str, Any]) -> str | int | None:
    """Taken out of them. Raises UsageError for what is not to be repeated in the response."""
    value: object = arguments.pop("transaction", None)
    if value is None or (isinstance(value, str) and len(value) <= MAX_TRANSACTION):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    raise UsageError(f"the transaction is no text of up to {MAX_TRANSACTION} characters, and no integer")
