"""What the agent that runs is asked over its control socket, and what it answers.

docs/control.md has the requests and the answers. Nothing here waits: slow work is done beside the main loop.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge_agent.admission import Admission, Offer, Passed
from edge_agent.asked import Asked, Verb
from edge_agent.beside import Beside
from edge_agent.bundle import BundleFiles
from edge_agent.bundle.packing import unpack
from edge_agent.catalogue import find, listing, verified
from edge_agent.control_socket import ControlRequest
from edge_agent.errors import AgentBusyError, BundleError, EdgeAgentError, RepositoryError, UsageError
from edge_agent.messages import Message, timestamp
from edge_agent.reporter import Reporter
from edge_agent.reports import Report, SlotReport
from edge_agent.repository import Repository
from edge_agent.succession import Succession
from edge_agent.turns import Serves
from edge_agent.watcher import read_unchanged
from edge_agent.watcher.inbox import candidates

IN_INBOX = "copy a folder, a zip or a .tflite file there"
NO_REPOSITORY = "give the agent a state_dir that it may write to"


@dataclass(frozen=True)
class AgentView:
    """What ``status`` tells beside the messages; ``report`` gives the agent as it stands."""

    name: str
    broker: str
    connected: Callable[[], bool]
    report: Callable[[], Report]
    reporter: Reporter


class Verbs:
    """Answers requests: those about models itself, ``others`` by whoever is named there.

    Every method belongs to the main thread.
    """

    def __init__(
        self,
        view: AgentView,
        admissions: Mapping[str, Admission],
        successions: Mapping[str, Succession],
        beside: Beside,
        others: Mapping[str, Verb],
        wait_until_still: Callable[[Path], None],
    ) -> None:
        """``wait_until_still`` returns once what lies at a path is whole; it raises BundleError."""
        self._view = view
        self._admissions = admissions
        self._successions = successions
        self._beside = beside
        self._wait_until_still = wait_until_still
        self._verifying = threading.Lock()
        self._verbs: Mapping[str, Verb] = {
            "status": Verb(self._status),
            "models/list": Verb(self._list, ("slot",)),
            "models/install": Verb(self._install, ("slot", "path")),
            "models/activate": Verb(self._activate, ("slot", "digest", "force")),
            "models/rollback": Verb(self._roll_back, ("slot",)),
            "models/prune": Verb(self._prune, ("slot",)),
            "models/verify": Verb(self._verify, ("slot", "path")),
            **others,
        }
        self._inbox_verbs: Mapping[str, Callable[[Path, Asked], None]] = {
            "model/install": self._install_from,
            "model/verify": self._verify_from,
        }

    def answer(self, request: ControlRequest) -> None:
        """Begin what is asked for; the answer comes now, or from a later turn of the main loop."""
        asked = Asked(request)
        verb = self._verbs.get(request.verb)
        try:
            if verb is None:
                raise UsageError(
                    f"there is no verb {request.verb[:80]!r}", f"there are: {', '.join(self._verbs)}"
                )
            verb(asked)
        except EdgeAgentError as error:
            asked.fail(error)

    def answer_of_inbox(self, inboxes: Path, request: ControlRequest) -> None:
        """As ``models/install`` or ``models/verify``, of the bundle that the argument ``file`` names in the
        inbox of the slot; without it the newest one that is installed is taken, and nothing verified.
        """
        asked = Asked(request)
        try:
            Verb(partial(self._inbox_verbs[request.verb], inboxes), ("slot", "file"))(asked)
        except EdgeAgentError as error:
            asked.fail(error)

    def _install_from(self, inboxes: Path, asked: Asked) -> None:
        slot = self._slot(asked)
        told = partial(self._told, asked, slot, warns=True)
        if not asked.argument("file", str, ""):
            self._successions[slot].update(told, asked.progress)
            return
        path = _in_inbox(inboxes / slot, asked)
        offer = Offer("control", path, f"request/model/install {path.name}", asked=True)

        def whole(outcome: EdgeAgentError | None) -> None:
            if outcome is None:
                self._successions[slot].offer(offer, told, asked.progress)
            else:
                asked.fail(outcome)

        self._beside.start("wait", lambda: self._wait_until_still(path), whole)

    def _verify_from(self, inboxes: Path, asked: Asked) -> None:
        slot = self._slot(asked)
        path = _in_inbox(inboxes / slot, asked)

        def read() -> BundleFiles:
            self._wait_until_still(path)
            files = read_unchanged(path)
            if files is None:
                raise BundleError(f"{path}: it was changed while it was read", "try again")
            return files

        self._prove(asked, slot, path, read)

    def _status(self, asked: Asked) -> None:
        view = self._view
        health, models, cameras = view.reporter.snapshot(view.report())
        asked.end(
            {
                "agent": view.name,
                "pid": os.getpid(),
                "health": _plain(health),
                "models": [_plain(each) for each in models],
                "cameras": [_plain(each) for each in cameras],
                "broker": {"where": view.broker, "connected": view.connected()},
            }
        )

    def _list(self, asked: Asked) -> None:
        slots = self._slots(asked)
        reports = {report.slot: report for report in self._view.report().slots}
        looks = [partial(_listed, self._admissions[slot].repository, reports[slot]) for slot in slots]
        self._tell_beside(asked, lambda: {"slots": [look() for look in looks]})

    def _install(self, asked: Asked) -> None:
        slot, packed, path = self._slot(asked), asked.file(), Path(asked.text("path"))
        offer = Offer("control", path, f"edge-agent models install {path}", asked=True, packed=packed)
        told = partial(self._told, asked, slot, warns=True)
        self._successions[slot].offer(offer, told, asked.progress)

    def _activate(self, asked: Asked) -> None:
        slot, digits = self._slot(asked), asked.text("digest")
        force = asked.argument("force", bool, False)
        repository = self._repository(slot)

        def begin(digest: str | EdgeAgentError) -> None:
            if isinstance(digest, EdgeAgentError):
                asked.fail(digest)
                return
            told = partial(self._told, asked, slot)
            self._successions[slot].activate(digest, told, asked.progress, force=force)

        self._beside.start("find", lambda: find(repository.versions(), digits).digest, begin)

    def _roll_back(self, asked: Asked) -> None:
        slot = self._slot(asked)
        self._repository(slot)
        told = partial(self._told, asked, slot)
        self._successions[slot].roll_back(told, asked.progress)

    def _prune(self, asked: Asked) -> None:
        slots = self._slots(asked)
        places = {
            slot: (self._admissions[slot].repository, self._successions[slot].serving) for slot in slots
        }
        self._tell_beside(
            asked,
            lambda: {
                "slots": [
                    {"slot": slot, "removed": kept.prune(serving) if kept else []}
                    for slot, (kept, serving) in places.items()
                ]
            },
        )

    def _verify(self, asked: Asked) -> None:
        slot, packed, path = self._slot(asked), asked.file(), Path(asked.text("path"))
        self._prove(asked, slot, path, lambda: unpack(packed, path))

    def _prove(self, asked: Asked, slot: str, path: Path, read: Callable[[], BundleFiles]) -> None:
        """Prove what ``read`` gives beside, and tell what was found. Raises AgentBusyError."""
        admission = self._admissions[slot]
        if not self._verifying.acquire(blocking=False):  # each takes as much memory as its bundle
            raise AgentBusyError("another bundle is being verified", "try again")

        def verify() -> dict[str, Any]:
            try:
                return verified(admission.prove(read(), asked.progress), path)
            finally:
                self._verifying.release()

        self._tell_beside(asked, verify)

    def _told(
        self,
        asked: Asked,
        slot: str,
        outcome: Serves | Passed | EdgeAgentError,
        *,
        warns: bool = False,
    ) -> None:
        """What became of a model that was to serve."""
        if isinstance(outcome, EdgeAgentError):
            asked.fail(outcome)
            return
        if isinstance(outcome, Passed):
            asked.fail(AgentBusyError(outcome.why, "try again"))
            return
        bundle = outcome.vetted.bundle
        content: dict[str, object] = {
            "slot": slot,
            "digest": bundle.digest,
            "name": bundle.name,
            "iteration": bundle.iteration,
            "labels": len(bundle.labels),
            "outcome": "unchanged" if outcome.unchanged else "serving",
        }
        warnings = [*(bundle.warnings if warns else ()), *([outcome.unwritten] if outcome.unwritten else ())]
        if warns or warnings:
            content["warnings"] = warnings
        if outcome.left is not None:
            content["left"] = outcome.left
        asked.end(content)

    def _tell_beside(self, asked: Asked, work: Callable[[], object]) -> None:
        def done(outcome: object | EdgeAgentError) -> None:
            if isinstance(outcome, EdgeAgentError):
                asked.fail(outcome)
            else:
                asked.end(outcome)

        self._beside.start(asked.verb, work, done)

    def _slots(self, asked: Asked) -> Sequence[str]:
        """The named one, else all."""
        slot = asked.argument("slot", str, "")
        if slot and slot not in self._admissions:
            raise UsageError(f"there is no slot {slot[:80]!r}", f"there are: {', '.join(self._admissions)}")
        return [slot] if slot else list(self._admissions)

    def _slot(self, asked: Asked) -> str:
        """The named one, else the only one."""
        slots = self._slots(asked)
        if len(slots) > 1:
            raise UsageError(f"there are several slots: {', '.join(slots)}", "name one of them")
        return slots[0]

    def _repository(self, slot: str) -> Repository:
        repository = self._admissions[slot].repository
        if repository is None:
            raise RepositoryError(f"slot {slot}: models are not kept", NO_REPOSITORY)
        return repository


def _in_inbox(inbox: Path, asked: Asked) -> Path:
    """Of the bundle that is named. Raises UsageError."""
    name = asked.text("file")
    path = next((each for each in candidates(inbox) if each.name == name), None)
    if path is None:
        raise UsageError(f"there is no bundle {name[:80]!r} in the inbox of slot {inbox.name}", IN_INBOX)
    return path


def _listed(repository: Repository | None, report: SlotReport) -> dict[str, Any]:
    """Beside: a slot, as docs/control.md has it. Raises RepositoryError."""
    if repository is None:
        return {"slot": report.slot, "state": report.state, "versions": [], "rejected": []}
    status = report.status
    serves = status is not None and status.classifier is not None
    since = timestamp(status.since_ns) if serves and status is not None else None
    return listing(repository, report.state, since)


def _plain(message: Message) -> dict[str, Any]:
    return message.model_dump(mode="json", by_alias=True)
