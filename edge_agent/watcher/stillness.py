"""Bundles that nothing watches: whether one is whole, and whether it stayed as it was while it was read."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.clock import Clock
from edge_agent.errors import BundleError
from edge_agent.watcher.fingerprints import fingerprint, is_being_written, look_at
from edge_agent.watcher.settling import Settling

SETTLE_S = 2.0
"""A copy that pauses for longer is taken for whole; `cp` throttled to 1 MB/s pauses for 0.1 s."""

LOOKS_PER_SETTLING = 4

PATIENCE_S = 60.0
"""Whoever asked hears after that to ask again; `cp` of the largest bundle to an SD card takes 30 s."""


def wait_until_still(path: Path, settle_s: float, clock: Clock, patience_s: float = PATIENCE_S) -> None:
    """Return once the folder at ``path`` has not changed for ``settle_s``, or for 2 s if that is less.

    A file alone is not waited for: cut short it is no bundle, while a folder may be another one without its
    last files. Blocks; raises BundleError where it is still being written after ``patience_s``.
    """
    if not os.path.isdir(path):  # noqa: PTH112  Path's raises where it may not be looked at
        return
    settle_s = min(settle_s, SETTLE_S)
    settling, began_s = Settling(settle_s), _now_s(clock)
    while not settling.is_due(("", path), look_at(path), _now_s(clock)) or is_being_written(path):
        if _now_s(clock) - began_s > patience_s:
            raise BundleError(f"{path} is still being written", "try again when it is complete")
        time.sleep(settle_s / LOOKS_PER_SETTLING)


def read_unchanged(path: Path) -> BundleFiles | None:
    """The bundle; None where it was changed while it was read, for then it may be parts of two.

    Raises BundleError.
    """
    before = fingerprint(path)
    try:
        files = read_bundle(path)
    except BundleError:
        if fingerprint(path) == before:
            raise
        return None
    return files if fingerprint(path) == before else None


def _now_s(clock: Clock) -> float:
    return clock.monotonic_ns() / 1e9
