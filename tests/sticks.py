"""A stick of the stand-in's for commands, which lock it where this machine has its locks; and its models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.edgetpu import lock_folder
from tests.edgetpu import Bus, Stick
from tests.places import CORAL

CPU_SMALL = CORAL / "mobilenet_v1_0.25_128_quant.tflite"
CPU_LARGE = CORAL / "mobilenet_v2_1.0_224_quant.tflite"
SMALL = CORAL / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
LARGE = CORAL / "mobilenet_v2_1.0_224_quant_edgetpu.tflite"
TWINS: Mapping[Path, Path] = {SMALL: CPU_SMALL, LARGE: CPU_LARGE}


@contextmanager
def own_stick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bus, Stick]]:
    """A bus with one USB stick that no other run of the tests has, in this process's environment."""
    with Bus(folder / "bus", TWINS) as bus:
        for name, value in bus.environment.items():
            monkeypatch.setenv(name, value)
        name = f"{folder.name}-{os.getpid()}"
        yield bus, bus.add("usb", f"/{name}")
        for lock in lock_folder().glob(f"edge-agent-{name.replace('_', '-')}.lock"):
            lock.unlink()


def bundle_of(folder: Path, *models: Path) -> Path:
    """A bundle of these models."""
    folder.mkdir()
    for model in models:
        shutil.copy(model, folder)
    return folder
