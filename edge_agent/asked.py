"""What was asked of the running agent, and its one answer."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from edge_agent.control_socket import Answer, ControlRequest
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.sealed import SealedFile

SHOWN = "docs/control.md shows the requests"

T = TypeVar("T", bool, str)


class Asked:
    """A request, its arguments checked as they are taken, and its one last answer."""

    def __init__(self, request: ControlRequest) -> None:
        self.verb = request.verb
        self._request = request

    def only(self, known: Collection[str]) -> None:
        """Raises UsageError where there are other arguments: one that is misspelled must not be as if it were
        left out, which may mean all cameras.
        """
        unknown = next((name for name in self._request.arguments if name not in known), None)
        if unknown is None:
            return
        near = difflib.get_close_matches(unknown.lower(), known, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        what = f"{self.verb} has no argument {unknown[:80]!r}"
        raise UsageError(what, remedy if known else "it takes none")

    def argument(self, name: str, kind: type[T], otherwise: T) -> T:
        """``otherwise`` where it is left out. Raises UsageError for one of another kind, or empty."""
        if name not in self._request.arguments:
            return otherwise
        value = self._request.arguments[name]
        if not isinstance(value, kind) or value == "":
            raise UsageError(f"the argument {name!r} is not of the form", SHOWN)
        return value

    def text(self, name: str) -> str:
        """One that must be there."""
        value = self.argument(name, str, "")
        if not value or "\0" in value or value.encode(errors="ignore").decode() != value:
            raise UsageError(f"{self.verb} needs the argument {name!r}", SHOWN)
        return value

    def share(self, name: str) -> float | None:
        """A number from 0 to 1 that must be there, or null."""
        value = self._request.arguments.get(name, "")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UsageError(f"{self.verb} needs the argument {name!r}: a number from 0 to 1, or null", SHOWN)
        return float(value)

    def file(self) -> SealedFile:
        """The one that came with it."""
        if self._request.file is None:
            raise UsageError(f"{self.verb} needs a file with the request", SHOWN)
        return self._request.file

    def progress(self, step: str, text: str) -> None:
        """From any thread."""
        self._request.reply(Answer.progress({"step": step, "text": text}))

    def end(self, content: object) -> None:
        """It is done."""
        self._reply(Answer.ok(content))

    def fail(self, error: EdgeAgentError) -> None:
        """It could not be done."""
        self._reply(Answer.failed(error))

    def _reply(self, answer: Answer) -> None:
        if self._request.file is not None:
            self._request.file.close()
        self._request.reply(answer)


@dataclass(frozen=True)
class Verb:
    """How a verb begins, and the arguments that it may have."""

    begin: Callable[[Asked], None]
    arguments: tuple[str, ...] = ()

    def __call__(self, asked: Asked) -> None:
        """Begin it. Raises UsageError for arguments that it does not have, and what ``begin`` raises."""
        asked.only(self.arguments)
        self.begin(asked)
