"""The ways in which people and programs copy a bundle to where an agent looks, slowly and oddly."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.places import CORAL

PIECE = 1 << 17

MODEL = CORAL / "mobilenet_v1_0.25_128_quant.tflite"


def sized(folder: Path, name: str, size: int) -> Path:
    """A bundle of so many bytes and some more: beside the small model one file that must be whole."""
    ballast = random.Random(name).randbytes(size)
    place = folder / name
    place.mkdir(parents=True)
    shutil.copy(MODEL, place)
    (place / "ballast.bin").write_bytes(ballast)
    listed = f'[sha256]\n"ballast.bin" = "{hashlib.sha256(ballast).hexdigest()}"\n'
    (place / "bundle.toml").write_text(f'name = "{name}"\n{listed}')
    return place


def zipped(bundle: Path) -> Path:
    """The bundle as a zip beside it."""
    return Path(shutil.make_archive(str(bundle), "zip", bundle))


def cp(bundle: Path, inbox: Path, speed: int) -> None:
    """A zip, by ``cp``."""
    _throttled(zipped(bundle), inbox / f"{bundle.name}.zip", speed)


def scp(bundle: Path, inbox: Path, speed: int) -> None:
    """A zip under its own name at once; its mode and times are set at the end, to what they were."""
    source, target = zipped(bundle), inbox / f"{bundle.name}.zip"
    _throttled(source, target, speed)
    shutil.copystat(source, target)


def rsync(bundle: Path, inbox: Path, speed: int) -> None:
    """A folder, by rsync: each file under a hidden name first."""
    _run("rsync", "-rt", f"--bwlimit={max(speed // 1024, 1)}", str(bundle), str(inbox))


def rsync_zip(bundle: Path, inbox: Path, speed: int) -> None:
    """A zip, by rsync: ``.name.XXXXXX`` first."""
    _run("rsync", "-t", f"--bwlimit={max(speed // 1024, 1)}", str(zipped(bundle)), str(inbox))


def unzip(bundle: Path, inbox: Path, speed: int) -> None:  # noqa: ARG001
    """Unpacked in place, by unzip."""
    _run("unzip", "-q", str(zipped(bundle)), "-d", str(inbox / bundle.name))


def mv(bundle: Path, inbox: Path, speed: int) -> None:  # noqa: ARG001
    """A folder, within the file system: there all at once."""
    beside = inbox.parent / f".{bundle.name}"
    shutil.copytree(bundle, beside)
    _run("mv", str(beside), str(inbox / bundle.name))


def mv_across(bundle: Path, inbox: Path, speed: int) -> None:  # noqa: ARG001
    """A folder, from another file system where there is one: a copy."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        shutil.copytree(bundle, Path(name) / bundle.name)
        _run("mv", str(Path(name) / bundle.name), str(inbox))


def file_by_file(bundle: Path, inbox: Path, speed: int) -> None:
    """A folder, as a file browser does; the model comes last."""
    for source in sorted(bundle.iterdir()):
        (inbox / bundle.name).mkdir(exist_ok=True)
        _throttled(source, inbox / bundle.name / source.name, speed)


def beside_an_editor(bundle: Path, inbox: Path, speed: int) -> None:
    """A folder whose bundle.toml is open in an editor meanwhile: its swap file changes, a backup stays."""
    place = inbox / bundle.name
    place.mkdir()
    swap = place / ".bundle.toml.swp"
    swap.write_bytes(b"swap")
    for source in sorted(bundle.iterdir()):
        _throttled(source, place / source.name, speed)
    swap.write_bytes(b"longer swap")
    (place / "bundle.toml~").write_bytes(b"backup")
    swap.unlink()


WAYS: Mapping[str, Callable[[Path, Path, int], None]] = {
    way.__name__: way
    for way in (cp, scp, rsync, rsync_zip, unzip, mv, mv_across, file_by_file, beside_an_editor)
}
"""Each takes a bundle, an inbox, and how many bytes a second it may write, if it can be told."""

NEEDS = {"rsync": "rsync", "rsync_zip": "rsync", "unzip": "unzip"}
"""Programs that are not everywhere."""


def _throttled(source: Path, target: Path, speed: int) -> None:
    content, pause = source.read_bytes(), threading.Event()
    with target.open("wb", buffering=0) as file:
        for start in range(0, len(content), PIECE):
            file.write(content[start : start + PIECE])
            pause.wait(PIECE / speed)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
