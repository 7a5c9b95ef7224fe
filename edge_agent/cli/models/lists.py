"""The installed models as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edge_agent.cli.table import local_time, size_text, table
from edge_agent.repository.records import SHORT_DIGITS

_VERSIONS = ("DIGEST", "NAME", "ITERATION", "LABELS", "SIZE", "STATE", "INSTALLED", "SERVES SINCE")
_RIGHT = frozenset({"LABELS", "SIZE"})


def listed(slots: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines for all slots, as ``models/list`` tells them."""
    for number, slot in enumerate(slots):
        if number:
            yield ""
        yield f"slot {slot['slot']}: {slot['state']}"
        versions = [_version_row(version) for version in slot["versions"]]
        yield from table(_VERSIONS, versions, _RIGHT) if versions else ["nothing is installed"]
        if slot["rejected"]:
            yield "refused:"
        for refusal in slot["rejected"]:
            yield f"{refusal['digest'][:SHORT_DIGITS]}  {refusal['name']}  {local_time(refusal['at'])}"
            yield f"  {refusal['reason']}"


def _version_row(version: dict[str, Any]) -> tuple[str, ...]:
    labels = version["labels"]
    return (
        version["digest"][:SHORT_DIGITS],
        version["name"],
        version["iteration"] or "-",
        "-" if labels is None else str(labels),
        size_text(version["size"]),
        version["state"],
        local_time(version["installed_at"]),
        local_time(version["since"]),
    )
