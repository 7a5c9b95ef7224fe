"""Killing a real process at every step that it takes on the disk, and looking at what it leaves.

A child (:mod:`tests.powercut.child`) with ``powercut.c`` preloaded forks a process per trial, so that each
dies without the price of starting Python.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from tests.places import ROOT

HERE = Path(__file__).resolve().parent


class Step(NamedTuple):
    """One step on the disk: create, truncate, open, write, fsync, rename, symlink, mkdir or remove."""

    name: str
    path: Path
    other: str


class Trial(NamedTuple):
    """Whether the process was killed, and the steps that it had taken."""

    killed: bool
    steps: list[Step]


@cache
def library() -> Path:
    """The path of the library to preload. Skips the test where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: powercut.c cannot be built")
    folder = Path(tempfile.mkdtemp(prefix="powercut-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = folder / "powercut.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wno-nonnull-compare"]
    subprocess.run(["gcc", *options, "-o", built, HERE / "powercut.c", "-ldl"], check=True, timeout=120)
    return built


class PowerCuts:
    """Processes that do one thing to a repository, each of which may be killed at a step."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "steps"
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.powercut.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(library())},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate(timeout=30)

    def run(self, state_dir: Path, work: list[str], at: int = 0) -> Trial:
        """Do the ``work`` on the repository in ``state_dir``; killed at its step ``at``, where not 0."""
        self._log.unlink(missing_ok=True)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        order = {"state_dir": str(state_dir), "work": work, "at": at, "log": str(self._log)}
        self._child.stdin.write(json.dumps(order).encode() + b"\n")
        self._child.stdin.flush()
        status = int(self._child.stdout.readline())
        assert status in (0, 9), f"{work} at {at}: status {status}"
        return Trial(status == 9, taken(self._log))


def taken(log: Path) -> list[Step]:
    """The steps that are logged there."""
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    return [Step(name, Path(path), other) for name, path, other in lines]


def lose_unsynchronised(steps: list[Step]) -> None:
    """What a power cut does beside the kill: bytes that were not synchronised are not on the disk."""
    unsafe: set[Path] = set()
    for step in steps:
        if step.name in ("create", "truncate", "write"):
            unsafe.add(step.path)
        elif step.name in ("fsync", "remove"):
            unsafe.discard(step.path)
        elif step.name == "rename" and step.path in unsafe:
            unsafe = {*(unsafe - {step.path}), Path(step.other)}
    for path in unsafe:
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)
