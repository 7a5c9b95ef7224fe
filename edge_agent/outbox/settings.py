"""The outbox's bounds, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_agent.outbox.losses import Gap

PATIENCE_S = 2.0
"""What the broker has not acknowledged by then goes to the disk: it is away, or slow."""


@dataclass(frozen=True)
class OutboxSettings:
    """Where messages wait, and how many.

    ``folder`` holds ``outbox.db``; None: memory only. ``boot`` names this boot of the machine: monotonic
    times of another one mean nothing. All that waits is bounded by ``max_rows`` and, where not 0,
    ``max_age_s``; what is on the disk by ``max_bytes`` (as stored, packed); what is in memory only by
    ``memory_rows`` and ``memory_bytes`` (topics and payloads). ``daily_write_bytes`` may be written in a day.
    ``replay_per_s`` messages that waited are sent in a second beyond those that come in.
    """

    folder: Path | None = None
    boot: str = ""
    max_rows: int = 1_000_000
    max_bytes: int = 64_000_000
    max_age_s: float = 0.0
    daily_write_bytes: int = 500_000_000
    replay_per_s: float = 50.0
    memory_rows: int = 1000
    memory_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True)
class OutboxStatus:
    """An outbox at one moment.

    ``rows`` messages are not acknowledged yet; ``taken`` of them are on their way, ``on_disk`` stored, in
    ``disk_bytes``. ``dropped`` were given up since the start. ``gap`` is what was last lost, also before the
    start. ``fault`` is one line, with the remedy.
    """

    rows: int = 0
    taken: int = 0
    on_disk: int = 0
    disk_bytes: int = 0
    dropped: int = 0
    gap: Gap | None = None
    fault: str | None = None
