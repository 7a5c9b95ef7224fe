"""What is told of bundles: the same by the running agent and, without it, by the command line.

docs/control.md shows the objects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import UnknownVersionError, UsageError
from edge_agent.messages import timestamp
from edge_agent.repository import Rejection, Repository, Version
from edge_agent.vetting import VettedBundle

MIN_DIGITS = 4
"""So many hex digits name a version, where no other one begins with them."""


def listing(repository: Repository, state: str, since: str | None = None) -> dict[str, Any]:
    """A slot as ``models/list`` tells it; what is current serves ``since`` then (None: it does not)."""
    return {
        "slot": repository.slot,
        "state": state,
        "versions": [version_shown(version, since) for version in repository.versions()],
        "rejected": [rejection_shown(rejection) for rejection in repository.rejections()],
    }


def version_shown(version: Version, since: str | None = None) -> dict[str, Any]:
    """An installed bundle; ``since`` as for :func:`listing`."""
    return {
        "digest": version.digest,
        "name": version.name,
        "iteration": version.iteration,
        "labels": version.labels,
        "size": version.size,
        "state": version.state,
        "installed_at": timestamp(version.installed_ns),
        "since": since if version.state == "current" else None,
        "origin": version.origin,
    }


def rejection_shown(rejection: Rejection) -> dict[str, Any]:
    """A refused bundle, and why."""
    return {
        "digest": rejection.digest,
        "name": rejection.name,
        "at": timestamp(rejection.at_ns),
        "reason": rejection.reason,
        "origin": rejection.origin,
    }


def verified(vetted: VettedBundle, path: Path) -> dict[str, Any]:
    """One that may serve, as ``models/verify`` tells it; it lies at ``path``."""
    bundle = vetted.bundle
    return {
        "ok": True,
        "name": bundle.name,
        "digest": bundle.digest,
        "iteration": bundle.iteration,
        "path": str(path),
        "labels": list(bundle.labels),
        "ran": vetted.first_run,
        "warnings": list(bundle.warnings),
    }


def find(versions: Sequence[Version], digits: str) -> Version:
    """The one version whose digest begins with ``digits``, four of them at least.

    Raises UsageError where they are too few or name several, UnknownVersionError where they name none.
    """
    if not re.fullmatch(f"[0-9a-f]{{{MIN_DIGITS},64}}", digits.lower()):
        raise UsageError(f"{digits[:80]!r} is no digest", f"give {MIN_DIGITS} to 64 hex digits")
    found = [version for version in versions if version.digest.startswith(digits.lower())]
    if not found:
        raise UnknownVersionError(f"no model {digits} is installed", "see `edge-agent models list`")
    if len(found) > 1:
        raise UsageError(
            f"{digits} may be any of {', '.join(version.short for version in found)}", "give more digits"
        )
    return found[0]
