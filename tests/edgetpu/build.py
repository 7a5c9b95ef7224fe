"""Compile the stand-ins, each once in a run of the tests."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FLAGS = ("-std=gnu99", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")


@cache
def libedgetpu() -> Path:
    """The path of ``libedgetpu.so.1``, the stand-in; its folder serves as LD_LIBRARY_PATH too.

    Skips the test where there is no gcc.
    """
    return _built("standin.c", "libedgetpu.so.1")


@cache
def usbfs() -> Path:
    """The path of the library that stands in for the kernel's USB reset where it is preloaded.

    Skips the test where there is no gcc.
    """
    return _built("usbfs.c", "usbfs.so")


def _built(source: str, name: str) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip(f"gcc is not installed: {source} cannot be built")
    folder = Path(tempfile.mkdtemp(prefix="edgetpu-standin-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / name
    subprocess.run(["gcc", *FLAGS, "-o", library, HERE / source, "-ldl", "-pthread"], check=True, timeout=120)
    return library
