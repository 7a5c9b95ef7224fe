"""The calibration set: which pictures of a folder are taken, and what they leave to be wished for."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ConversionError
from edge_agent.images import IMAGE_SUFFIXES

ENOUGH = 100
"""Pictures; with fewer the ranges of activations depend on which they are."""


@dataclass(frozen=True)
class Chosen:
    """``names`` are relative to ``folder``; ``found`` counts all pictures there."""

    folder: Path
    names: tuple[str, ...]
    found: int


@dataclass(frozen=True)
class Seen:
    """A picture as the float model sees it: its best label and the score of that, (0, 1]."""

    name: str
    label: str
    score: float


def choose(folder: Path, count: int, seed: int) -> Chosen:
    """``count`` of the pictures below ``folder``, from each folder alike; the same ones for the same seed.

    Raises ConversionError where there is none.
    """
    if not folder.is_dir():
        raise ConversionError(f"{folder} is no folder", "name the folder of the pictures")
    try:
        files = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise ConversionError(f"cannot read {folder}: {error.strerror}", "check its permissions") from error
    names = [str(path.relative_to(folder)) for path in files if not path.name.startswith(".")]
    if not names:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ConversionError(
            f"{folder} has no pictures", f"name a folder with some, {endings}, in folders or not"
        )
    groups: dict[Path, list[str]] = defaultdict(list)
    for name in names:
        groups[Path(name).parent].append(name)
    chance = random.Random(seed)  # noqa: S311  nobody is to be surprised
    for group in groups.values():
        chance.shuffle(group)
    taken: list[str] = []
    while len(taken) < min(count, len(names)):
        taken += [group.pop() for group in groups.values() if group]
    return Chosen(folder, tuple(sorted(taken[:count])), len(names))


def labelled(name: str, labels: Sequence[str]) -> str | None:
    """The label that a picture's folder is named after; None where it is none."""
    parent = Path(name).parent.name
    return parent if parent in labels else None


def doubts(seen: Sequence[Seen], labels: Sequence[str]) -> list[str]:
    """Warnings: too few pictures, labels that none shows (by its folder, else by the float model)."""
    told = []
    if len(seen) < ENOUGH:
        told.append(
            f"only {len(seen)} pictures to calibrate with: take {ENOUGH} or more, as the camera sees them"
        )
    shown = {labelled(each.name, labels) or each.label for each in seen}
    missing = [label for label in labels if label not in shown]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        told.append(f"no picture shows {', '.join(missing[:8])}{more}: the ranges are measured without them")
    return told


def golden(seen: Sequence[Seen], labels: Sequence[str], known: Sequence[str], most: int) -> list[Seen]:
    """For each label the picture of which the float model is surest, but for labels that are ``known``.

    One whose folder names another label is no example of it.
    """
    best: dict[str, Seen] = {}
    for each in sorted(seen, key=lambda one: -one.score):
        if labelled(each.name, labels) in (None, each.label) and each.label not in known:
            best.setdefault(each.label, each)
    return [best[label] for label in dict.fromkeys(labels) if label in best][:most]
