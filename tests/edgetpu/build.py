"""Compile the stand-in, once in a run of the tests."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("standin.c")
FLAGS = ("-std=gnu99", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")


@cache
def libedgetpu() -> Path:
    """The path of ``libedgetpu.so.1``, the stand-in; its folder serves as LD_LIBRARY_PATH too.

    Skips the test where there is no gcc.
    """
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: the stand-in for libedgetpu cannot be built")
    folder = Path(tempfile.mkdtemp(prefix="edgetpu-standin-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "libedgetpu.so.1"
    subprocess.run(["gcc", *FLAGS, "-o", library, SOURCE, "-ldl", "-pthread"], check=True, timeout=120)
    return library
