"""The same as the running agent does, where none runs: on the repository, for the next start to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_agent import assembly
from edge_agent.admission import Admission, Offer, Passed
from edge_agent.bundle import BundleFiles
from edge_agent.catalogue import find, listing
from edge_agent.cli.asking import tell_progress
from edge_agent.clock import SystemClock
from edge_agent.config import Config
from edge_agent.errors import BundleError
from edge_agent.repository import Repository

STOPPED = "stopped"
"""The state of a slot while no agent runs."""


def show(config: Config, slots: Sequence[str]) -> dict[str, Any]:
    """As ``models/list``. Raises RepositoryError, as all of these do."""
    told = []
    for slot in slots:
        if not _exists(config, slot):
            told.append({"slot": slot, "state": STOPPED, "versions": [], "rejected": []})
            continue
        with _open(config, slot) as repository:
            told.append(listing(repository, STOPPED))
    return {"slots": told}


def install(config: Config, slot: str, files: BundleFiles) -> dict[str, Any]:
    """As ``models/install``. Raises BundleError too, once the refusal is written down."""
    with _open(config, slot) as repository:
        offer = Offer("control", files.path, f"edge-agent models install {files.path}", asked=True)
        vetted = _admission(config, repository).admit(offer, None, _tell)
        if isinstance(vetted, Passed):
            raise BundleError(f"{files.path}: {vetted.why}", "try again")
        told = _activate(repository, vetted.bundle.digest, force=False)
        return {**told, "warnings": list(vetted.bundle.warnings)}


def activate(config: Config, slot: str, digits: str, *, force: bool) -> dict[str, Any]:
    """As ``models/activate``. Raises UsageError and BundleError too."""
    with _open(config, slot) as repository:
        digest = find(repository.versions(), digits).digest
        left = repository.current
        _admission(config, repository).installed(digest, _tell)
        if _returns(repository, digest):
            repository.rollback()
            repository.activate(digest)  # whatever was held against it
            repository.end_probation()
            return {**_outcome(repository, digest, "activated"), "left": left}
        told = _activate(repository, digest, force=force)
        if left in (None, digest):
            return told
        repository.hold(left)
        return {**told, "left": left}


def rollback(config: Config, slot: str) -> dict[str, Any]:
    """As ``models/rollback``. Raises BundleError too."""
    with _open(config, slot) as repository:
        left, previous = repository.current, repository.previous
        if previous is not None:
            _admission(config, repository).installed(previous, _tell)
        digest = repository.rollback()
        repository.end_probation()
        return {**_outcome(repository, digest, "activated"), "left": left}


def prune(config: Config, slots: Sequence[str]) -> dict[str, Any]:
    """As ``models/prune``."""
    told = []
    for slot in slots:
        if not _exists(config, slot):
            told.append({"slot": slot, "removed": []})
            continue
        with _open(config, slot) as repository:
            told.append({"slot": slot, "removed": repository.prune()})
    return {"slots": told}


def _exists(config: Config, slot: str) -> bool:
    """Whether anything was ever installed there: looking for it should not make the folders."""
    return (config.agent.state_dir / "models" / slot).exists()


def _open(config: Config, slot: str) -> Repository:
    return Repository(config.agent.state_dir, slot, config.updates.keep)


def _admission(config: Config, repository: Repository) -> Admission:
    """The same door that the running agent has."""
    return assembly.admission(config, repository.slot, repository, SystemClock())


def _tell(step: str, text: str) -> None:
    tell_progress({"step": step, "text": text})


def _returns(repository: Repository, digest: str) -> bool:
    """Whether it goes back, during the trial of what followed, to what has shown itself before."""
    trial = repository.probation
    return trial is not None and trial.digest == repository.current and digest == repository.previous


def _activate(repository: Repository, digest: str, *, force: bool) -> dict[str, Any]:
    if repository.current == digest and not repository.is_doubted(digest):
        if force:
            repository.end_probation()
        return _outcome(repository, digest, "unchanged")
    on_trial = repository.current is not None and not force and not _returns(repository, digest)
    repository.activate(digest, on_trial=on_trial, running=False)
    if not on_trial:
        repository.end_probation()
    return _outcome(repository, digest, "activated")


def _outcome(repository: Repository, digest: str, outcome: str) -> dict[str, Any]:
    version = find(repository.versions(), digest)
    return {
        "slot": repository.slot,
        "digest": digest,
        "name": version.name,
        "iteration": version.iteration,
        "labels": version.labels,
        "outcome": outcome,
    }
