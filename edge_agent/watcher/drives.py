"""The inboxes that mounted drives bring along, and take away."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NamedTuple

FOLDER = "edge-agent-models"
"""At the top of a drive; below it a folder per slot."""

MAX_DRIVES = 16
"""More than a hub has ports; each costs a look every few seconds."""


class OnDrives(NamedTuple):
    """For a ``slot`` whatever a drive brings that is mounted on a folder of ``mounts``."""

    mounts: Path
    slot: str


def inboxes(place: OnDrives) -> list[Path]:
    """Where the inbox of each drive is, or would be: ``<drive>/edge-agent-models/<slot>``. Never raises.

    A drive of somebody else's must not lead about on this machine: links there are not followed.
    """
    try:
        with os.scandir(place.mounts) as scan:
            entries = sorted(itertools.islice(scan, MAX_DRIVES), key=lambda entry: entry.name)
            drives = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [
        drive / FOLDER / place.slot
        for drive in drives
        if not os.path.islink(drive / FOLDER)  # noqa: PTH114  Path's raises where the drive is pulled
        and not os.path.islink(drive / FOLDER / place.slot)  # noqa: PTH114
    ]
