"""An agent at full speed whose stick fails again and again: what it is shown, and what it must answer.

Stood in for: libedgetpu with its stick (`tests.edgetpu`). The rest is the program as it is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.agents import Table, configuration, toml
from tests.edgetpu import libedgetpu
from tests.places import CORAL

DISTINCT = 50
"""Pictures that differ; the stick remembers its answers to 256."""

UNHARMED = 2
"""A new worker's warm-up and its proof: what befalls these is no loss of a worker that serves."""

BRIEF: Table = {"usb_resets": 0, "power_cycles": 0, "backoff_s": 0.001, "backoff_max_s": 0.002}
"""No pause worth the name before the stick is tried again, and nothing that needs hardware."""

SIDE = 160


def pictures(folder: Path, count: int) -> Path:
    """A folder of so many, ``DISTINCT`` ones over and over: parts of a photo."""
    photo = cv2.imread(str(CORAL / "cat_720p.jpg"))
    assert photo is not None
    chance = np.random.default_rng(5)
    distinct, shown = folder / "distinct", folder / "shown"
    distinct.mkdir()
    shown.mkdir()
    for number in range(DISTINCT):
        top, left = (int(chance.integers(0, size - SIDE)) for size in photo.shape[:2])
        cv2.imwrite(str(distinct / f"{number:03}.bmp"), photo[top : top + SIDE, left : left + SIDE])
    for number in range(count):
        (shown / f"{number:06}.bmp").symlink_to(distinct / f"{number % DISTINCT:03}.bmp")
    return shown


def answers(folder: Path, model: Path) -> list[Any]:
    """The right answer to each distinct picture of :func:`pictures`, as a healthy stick gives it.

    The stick is the one of this process's environment; it remembers the answers.
    """
    images = sorted((folder / "distinct").iterdir())
    command = [sys.executable, "-m", "edge_agent", "classify", "--json", "--device", "edgetpu"]
    command += ["--library", str(libedgetpu()), "-m", str(model), *map(str, images)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return [json.loads(line)["predictions"] for line in said.splitlines()]


def text(
    port: int, shown: Path, model: Path, *, loop: bool = False, ladder: Table = BRIEF, **inference: object
) -> str:
    """The configuration: one folder at full speed, the stick wanted where there is one."""
    wanted = {"device": "auto", "library": libedgetpu(), "threads": 1, **inference}
    return configuration(
        port, {"clip": {"source": shown, "loop": loop}}, inference=wanted, model={"path": model}
    ) + toml({"inference.recovery": ladder})


def faults_of(heard: Sequence[Mapping[str, Any]], answers: Sequence[Any]) -> list[str]:
    """What is wrong with these predictions of the frames 1, 2 ...: lost, doubled, misplaced, mistaken."""
    faults = []
    for place, each in enumerate(heard, start=1):
        if (each["sequence"], each["frame"]) != (place, place):
            faults.append(f"at {place}: sequence {each['sequence']}, frame {each['frame']}")
        if each["predictions"] != answers[(each["frame"] - 1) % DISTINCT]:
            faults.append(f"frame {each['frame']} has another one's answer")
    return faults


def takeovers(heard: Sequence[Mapping[str, Any]]) -> list[int]:
    """The places in ``heard`` where the CPU took over from the stick: of the frames that were lost."""
    places = enumerate(pairwise(heard), start=1)
    return [place for place, (before, after) in places if (before["device"], after["device"]) == LOST]


LOST = ("edgetpu", "cpu")
