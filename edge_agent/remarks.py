"""What is to be said of a model that takes over: its own warnings, and what is lost with the one before."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.vetting import VettedBundle

SHOWN_LABELS = 12
"""Labels that fit on a line or two."""


def remarks(vetted: VettedBundle, before: VettedBundle | None) -> tuple[str, ...]:
    """One line each; ``before`` is what served before it."""
    told = vetted.bundle.warnings
    if before is None or set(before.bundle.labels) == set(vetted.bundle.labels):
        return tuple(told)
    return (*told, _other_labels(before, vetted))


def _other_labels(before: VettedBundle, vetted: VettedBundle) -> str:
    """Whoever listens for a label that is gone waits for ever."""
    old, new = before.bundle.labels, vetted.bundle.labels
    gone = _shown([each for each in old if each not in new])
    added = _shown([each for each in new if each not in old])
    return f"other labels than {before.bundle.short}, which served before: gone: {gone}; new: {added}"


def _shown(labels: Sequence[str]) -> str:
    more = f", ... ({len(labels)} in all)" if len(labels) > SHOWN_LABELS else ""
    return (", ".join(labels[:SHOWN_LABELS]) or "none") + more
