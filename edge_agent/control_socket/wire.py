"""What goes over the control socket: one JSON object a line, each way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from edge_agent.errors import AgentBusyError, ControlError, EdgeAgentError, UsageError

MAX_REQUEST_BYTES = 64 << 10
"""A request names things; what is large comes as a file."""

MAX_ANSWER_BYTES = 4 << 20
"""A list of 50 refusals with long reasons takes 100 kB."""

Code = Literal["failed", "usage", "busy"]

_KINDS: Mapping[str, type[EdgeAgentError]] = {"usage": UsageError, "busy": AgentBusyError}


@dataclass(frozen=True)
class Request:
    """``arguments`` are as docs/control.md has them for the verb."""

    verb: str
    arguments: Mapping[str, Any]

    def to_line(self) -> bytes:
        """Raises ControlError where it is too long."""
        line = _line({"verb": self.verb, "arguments": self.arguments})
        if len(line) > MAX_REQUEST_BYTES:
            raise ControlError(f"the request has {len(line)} bytes, more than {MAX_REQUEST_BYTES}")
        return line

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises ControlError, in words for whoever wrote the line."""
        request = _object(line, "the request")
        verb, arguments = request.get("verb"), request.get("arguments", {})
        if not isinstance(verb, str) or not isinstance(arguments, dict):
            raise ControlError("the request is not of the form", '{"verb": "status", "arguments": {}}')
        return cls(verb, arguments)


@dataclass(frozen=True)
class Answer:
    """One answer. Any number with status ``progress`` may come before the last one."""

    status: Literal["ok", "progress", "error"]
    content: object = None
    error: str = ""
    remedy: str | None = None
    code: Code = "failed"

    @classmethod
    def ok(cls, content: object) -> Self:
        """It is done; ``content`` is what JSON can hold."""
        return cls("ok", content)

    @classmethod
    def progress(cls, content: object) -> Self:
        """It is under way."""
        return cls("progress", content)

    @classmethod
    def failed(cls, error: EdgeAgentError) -> Self:
        """It could not be done."""
        code: Code = "usage" if isinstance(error, UsageError) else "failed"
        return cls(
            "error", None, error.what, error.remedy, "busy" if isinstance(error, AgentBusyError) else code
        )

    @property
    def is_last(self) -> bool:
        """Whether no other one follows."""
        return self.status != "progress"

    def to_line(self) -> bytes:
        """An answer that is too long becomes an error."""
        if self.status == "error":
            return _line({"status": "error", "error": self.error, "remedy": self.remedy, "code": self.code})
        line = _line({"status": self.status, "data": self.content})
        if len(line) > MAX_ANSWER_BYTES:
            what = f"the answer has {len(line)} bytes, more than {MAX_ANSWER_BYTES}"
            return Answer.failed(ControlError(what)).to_line()
        return line

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises ControlError for what no agent says, and what the agent says is wrong as its own kind."""
        answer = _object(line, "the answer")
        status = answer.get("status")
        if status == "error":
            kind = _KINDS.get(str(answer.get("code")), ControlError)
            remedy = answer.get("remedy")
            raise kind(str(answer.get("error")), None if remedy is None else str(remedy))
        if status not in ("ok", "progress"):
            raise ControlError(f"the answer has the status {status!r}", "update edge-agent here or there")
        return cls(status, answer.get("data"))


def _line(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _object(line: bytes, what: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"{what} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ControlError(f"{what} is no JSON object")
    return content
