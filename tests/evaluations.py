"""Labelled images, models that answer them otherwise, and evaluations that can be held against each other."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from edge_agent.cameras.finishes import LABELS, TEST_SEEDS, render
from edge_agent.workbench.measure import children_of
from tests.places import FINISHES

SIZE = (96, 128)
"""Height and width: small enough for the model to be wrong at times."""


def draw_images(folder: Path, count: int) -> Path:
    """A folder per finish with ``count`` images in all."""
    for number in range(count):
        draw_image(folder, number)
    return folder


def draw_image(folder: Path, number: int) -> None:
    """One of them, unless it is there."""
    seed, label = TEST_SEEDS[number], LABELS[number % len(LABELS)]
    path = folder / label / f"{seed}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), render(seed, label, SIZE)[0])


def other_model(folder: Path, *, pixel_format: str = "rgb", method: str | None = None) -> Path:
    """The finishes with red and blue exchanged, or read as several labels per image; nothing golden."""
    shutil.copytree(FINISHES, folder)
    folder.chmod(0o755)
    (folder / "bundle.toml").unlink()
    output = "" if method is None else f'[output]\nmethod = "{method}"\n'
    (folder / "bundle.toml").write_text(
        f'name = "{folder.name}"\n[input]\npixel_format = "{pixel_format}"\n{output}'
    )
    return folder


def figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """What must not depend on how often the evaluation was stopped, by what, or how long it took."""
    return {key: value for key, value in report.items() if key not in ("timing_ms", "workers")}


def report_in(folder: Path) -> dict[str, Any]:
    """The evaluation that was written there."""
    report: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return report


def workers_of(pid: int) -> list[int]:
    """The inference workers that a process has started."""
    return [child for child in children_of(pid) if b"edge_agent.worker" in _command(child)]


def kill_a_worker(pid: int) -> None:
    """SIGKILL for one of them."""
    os.kill(workers_of(pid)[0], signal.SIGKILL)


def _command(pid: int) -> bytes:
    """Empty where it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
