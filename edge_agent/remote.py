"""What the agent is asked over MQTT: ``request/<verb>``, answered on ``response/<verb>``.

docs/mqtt.md has the requests and the answers. They are those of the control socket, but for
``model/install``, which names a file that already lies in the inbox: a model does not come over MQTT.
"""

from __future__ import annotations

import json
import logging
import queue
import re
from pathlib import Path
from typing import Any, Protocol

from edge_agent.control_socket import Answer, ControlRequest
from edge_agent.control_socket.wire import MAX_REQUEST_BYTES
from edge_agent.errors import AgentBusyError, EdgeAgentError, UsageError
from edge_agent.mqtt import Received
from edge_agent.topics import Topics
from edge_agent.verbs import Verbs

logger = logging.getLogger(__name__)

READS = {"status": "status", "model/list": "models/list"}
"""Verbs that change nothing, and what they are called at the control socket."""

CHANGES = {"model/activate": "models/activate", "model/rollback": "models/rollback"}
INSTALL = "model/install"

MAX_OPEN = 8
"""Requests that may wait for their answers, as at the control socket."""

MAX_WAITING = 64
"""Requests that are remembered between two turns of the main loop; what is more is not heard."""

MAX_TRANSACTION = 128
"""Characters."""

_VERB = re.compile("[a-z_]{1,32}(/[a-z_]{1,32}){0,2}")


class Publish(Protocol):
    """As :meth:`edge_agent.mqtt.Publisher.publish`."""

    def __call__(self, topic: str, payload: bytes, *, retain: bool = False, live: bool = False) -> None:
        """Hand over one message; never blocks."""
        ...


class Remote:
    """Answers requests over MQTT. ``hear`` may be called from any thread, ``answer`` belongs to the main one.

    Where they may not ``may_change`` anything, only what looks is answered.
    """

    def __init__(
        self, verbs: Verbs, topics: Topics, publish: Publish, inboxes: Path, *, may_change: bool
    ) -> None:
        self._verbs = verbs
        self._topics = topics
        self._publish = publish
        self._inboxes = inboxes
        self._may_change = may_change
        self._heard: queue.Queue[Received] = queue.Queue(MAX_WAITING)
        self._open = 0

    def hear(self, received: Received) -> None:
        """A message came in. A retained one is none: it would be obeyed again at each start."""
        if received.retained:
            logger.warning("%s: a retained request is not obeyed; publish it without retain", received.topic)
            return
        try:
            self._heard.put_nowait(received)
        except queue.Full:
            logger.debug("%s: too many requests", received.topic)

    def answer(self) -> None:
        """Begin what was asked for since the last call."""
        while not self._heard.empty():
            received = self._heard.get()
            verb = self._topics.verb_of(received.topic)
            if _VERB.fullmatch(verb):
                self._begin(verb, received.payload)

    def _begin(self, verb: str, payload: bytes) -> None:
        transaction: str | int | None = None
        try:
            arguments = _arguments(payload)
            transaction = _transaction(arguments.pop("transaction", None))
            name = self._name(verb)
            if not payload and verb not in READS:  # as whoever takes a retained message away sends it
                raise UsageError(f"request/{verb} needs a JSON object", "{} is enough without arguments")
            if self._open >= MAX_OPEN:
                raise AgentBusyError(f"{MAX_OPEN} requests wait for their answers", "try again")
        except EdgeAgentError as error:
            self._respond(verb, transaction, Answer.failed(error))
            return

        def reply(answer: Answer) -> None:
            if answer.is_last:  # by then on the main thread
                self._open -= 1
                self._respond(verb, transaction, answer)

        self._open += 1
        request = ControlRequest(name, arguments, None, reply)
        if verb == INSTALL:
            self._verbs.install_from(self._inboxes, request)
        else:
            self._verbs.answer(request)

    def _name(self, verb: str) -> str:
        """At the control socket. Raises UsageError for a verb that there is not, or that is not allowed."""
        if verb in READS:
            return READS[verb]
        if verb != INSTALL and verb not in CHANGES:
            there_are = ", ".join([*READS, INSTALL, *CHANGES])
            raise UsageError(f"there is no request/{verb}", f"there are: {there_are}")
        if not self._may_change:
            raise UsageError(
                f"request/{verb} is not allowed", 'mqtt.requests = "control" in the configuration allows it'
            )
        return CHANGES.get(verb, verb)

    def _respond(self, verb: str, transaction: str | int | None, answer: Answer) -> None:
        failed = answer.status == "error"
        content = {
            "transaction": transaction,
            "status": answer.status,
            "data": answer.content,
            "error": answer.error if failed else None,
            "remedy": answer.remedy,
            "code": answer.code if failed else None,
        }
        payload = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        self._publish(self._topics.response(verb), payload, live=True)


def _arguments(payload: bytes) -> dict[str, Any]:
    """Raises UsageError. No payload at all looks without arguments; it changes nothing."""
    if len(payload) > MAX_REQUEST_BYTES:
        raise UsageError(f"the request has {len(payload)} bytes, more than {MAX_REQUEST_BYTES}")
    try:
        arguments = json.loads(payload or b"{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise UsageError("the request is no JSON object")
    return arguments


def _transaction(value: object) -> str | int | None:
    """Raises UsageError for what is not to be repeated in the response."""
    if value is None or (isinstance(value, str) and len(value) <= MAX_TRANSACTION):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    raise UsageError(f"the transaction is no text of up to {MAX_TRANSACTION} characters, and no integer")
