"""repository/: a kill or a power cut at any step leaves a whole, known-good model, and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.bundle import read_bundle
from edge_agent.errors import DamagedVersionError
from edge_agent.repository import Repository
from tests.bundle_samples import export_files, write_folder
from tests.powercut import PowerCuts, Step, lose_unsynchronised
from tests.powercut.child import SLOT, do

GOLDEN = b'[[golden]]\nimage = "golden/cat.jpg"\nlabel = "apple"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had, for these tests synchronise some ten thousand times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as name:
        yield Path(name)


@pytest.fixture
def cuts(folder: Path) -> Iterator[PowerCuts]:
    """Processes to be killed."""
    with PowerCuts(folder) as processes:
        yield processes


class Desk:
    """Five bundles, and a repository of the first four: the fourth serves, the third did before."""

    def __init__(self, folder: Path) -> None:
        self.paths = [self._bundle(folder / f"bundle{number}", number) for number in range(5)]
        self.files = [read_bundle(path) for path in self.paths]
        self.template = folder / "template"
        with Repository(self.template, SLOT, keep=5) as repository:
            for files in self.files[:4]:
                repository.install(files, "a test")
                repository.activate(files.digest)
            repository.hold(self.digests[0])

    @staticmethod
    def _bundle(path: Path, number: int) -> Path:
        export = {**export_files(), "bundle.toml": GOLDEN, "golden/cat.jpg": bytes([number]) * 100}
        return write_folder(path, export)

    @property
    def digests(self) -> list[str]:
        """Of the bundles."""
        return [files.digest for files in self.files]

    def damage(self, number: int) -> None:
        """Cut a file of the installed copy short."""
        (self.place(self.template, number) / "files" / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3")

    def place(self, state_dir: Path, number: int) -> Path:
        """Where a version is."""
        return state_dir / "models" / SLOT / "versions" / self.digests[number]

    def work(self, name: str) -> list[str]:
        """What a process is told to do."""
        return {
            "install": ["install", str(self.paths[4])],
            "replace": ["install", str(self.paths[3])],
            "again": ["install", str(self.paths[3])],
            "activate": ["activate", self.digests[1]],
            "activate a held one": ["activate", self.digests[0]],
            "roll back": ["rollback"],
            "prune": ["prune"],
            "reject": ["reject", self.digests[4]],
            "hold": ["hold", self.digests[1]],
            "activate on trial": ["try", self.digests[1]],
            "find damaged": ["read", self.digests[3]],
        }[name]


WORK = [
    "install",
    "replace",
    "activate",
    "activate a held one",
    "roll back",
    "prune",
    "reject",
    "hold",
    "activate on trial",
]


@pytest.mark.parametrize("power", ["kept", "cut"])
@pytest.mark.parametrize("name", WORK)
def test_a_kill_at_any_step_leaves_a_whole_model(
    folder: Path, cuts: PowerCuts, name: str, power: str
) -> None:
    """What serves is what served or was to serve, its digest proven; no leftovers; it can be done again. What
    is to be on trial never serves without.
    """
    desk = Desk(folder)
    if name == "replace":
        desk.damage(3)
    before, after = _serving(desk.template), _after(desk, folder / "after", name)
    at, killed = 0, True
    while killed:
        at += 1
        state_dir = folder / "state"
        shutil.copytree(desk.template, state_dir, symlinks=True)
        killed, steps = cuts.run(state_dir, desk.work(name), at)
        if power == "cut":
            lose_unsynchronised(steps)
        with Repository(state_dir, SLOT) as repository:
            _is_tidy(state_dir)
            current = repository.current
            assert current in (before, after)
            assert current is not None
            if not (name == "replace" and current == before and killed):
                assert current == repository.read(current).digest
            if name == "activate on trial" and current == after:
                assert repository.probation is not None
                assert after == repository.probation.digest
            if not (name == "roll back" and current == after):  # what is done is not done twice
                do(repository, desk.work(name))
            assert after == repository.current
            assert after == repository.read(after).digest
        shutil.rmtree(state_dir)
    assert at > 3


@pytest.mark.parametrize("power", ["kept", "cut"])
def test_a_kill_while_one_follows_another_on_trial(folder: Path, cuts: PowerCuts, power: str) -> None:
    """What serves then is on trial, and what has passed before both is what it goes back to."""
    desk = Desk(folder)
    with Repository(desk.template, SLOT) as repository:
        proven = repository.current
        repository.activate(desk.digests[2], on_trial=True)
        repository.note_candidate(desk.digests[1])
    at, killed = 0, True
    while killed:
        at += 1
        state_dir = folder / "state"
        shutil.copytree(desk.template, state_dir, symlinks=True)
        killed, steps = cuts.run(state_dir, desk.work("activate on trial"), at)
        if power == "cut":
            lose_unsynchronised(steps)
        with Repository(state_dir, SLOT) as repository:
            assert repository.probation is not None
            assert (repository.current, proven) == (repository.probation.digest, repository.previous)
        shutil.rmtree(state_dir)
    assert at > 3


def _serving(state_dir: Path) -> str:
    with Repository(state_dir, SLOT) as repository:
        assert repository.current is not None
        return repository.current


def _after(desk: Desk, state_dir: Path, name: str) -> str:
    """What serves once the work was done undisturbed."""
    shutil.copytree(desk.template, state_dir, symlinks=True)
    with Repository(state_dir, SLOT) as repository:
        do(repository, desk.work(name))
    return _serving(state_dir)


def _is_tidy(state_dir: Path) -> None:
    """No leftovers of what was interrupted, and no version in part."""
    root = state_dir / "models" / SLOT
    for name in ("staging", "discarded"):
        assert [] == list((root / name).glob("*"))
    for place in (root / "versions").iterdir():
        assert (place / "version.json").stat().st_size > 0
        assert (place / "files" / "model.tflite").is_file()


@pytest.mark.parametrize("name", WORK)
def test_nothing_gets_its_name_before_it_is_on_the_disk(folder: Path, cuts: PowerCuts, name: str) -> None:
    """Every file and folder that a rename names was synchronised before, with all that is in it."""
    desk = Desk(folder)
    if name == "replace":
        desk.damage(3)
    killed, steps = cuts.run(desk.template, desk.work(name))
    assert not killed
    assert any(step.name == "rename" for step in steps)
    _check_order(steps)


def _check_order(steps: list[Step]) -> None:
    unsafe: set[Path] = set()
    """Files with bytes, and folders with names, that are not synchronised."""
    links = {step.path for step in steps if step.name == "symlink"}
    for step in steps:
        if step.name in ("create", "truncate", "write", "open"):
            unsafe.add(step.path)
        if step.name in ("create", "mkdir", "symlink"):
            unsafe.add(step.path.parent)
        if step.name == "mkdir":
            unsafe.add(step.path)
        if step.name == "fsync":
            unsafe.discard(step.path)
        if step.name == "rename":
            moved = {path for path in unsafe if path == step.path or step.path in path.parents}
            assert set() == moved, f"{step} before its content"
            if step.path in links:
                assert step.path.parent not in unsafe, f"{step} before the link"
            unsafe |= {step.path.parent, Path(step.other).parent}


def test_what_is_written_is_synchronised_at_the_end(folder: Path, cuts: PowerCuts) -> None:
    """When install() and activate() return, no later power cut takes it back."""
    desk = Desk(folder)
    for name in ("activate", "install", "roll back"):
        _, steps = cuts.run(desk.template, desk.work(name))
        unsafe = {step.path for step in steps if step.name in ("create", "truncate", "write")}
        for step in steps:
            if step.name == "fsync":
                unsafe.discard(step.path)
        last = {step.path: number for number, step in enumerate(steps) if step.name == "fsync"}
        renamed = [(Path(step.other), number) for number, step in enumerate(steps) if step.name == "rename"]
        assert set() == {path for path in unsafe if path.name != "lock"}
        assert [] == [path for path, number in renamed if last.get(path.parent, -1) < number]


def test_the_same_digest_twice_writes_nothing(folder: Path, cuts: PowerCuts) -> None:
    """An undamaged copy is left alone: a card is not worn for nothing."""
    desk = Desk(folder)
    cuts.run(desk.template, desk.work("again"))  # what can be pruned is
    _, steps = cuts.run(desk.template, desk.work("again"))
    assert [] == [step for step in steps if step.path.name != "lock"]


def test_a_kill_while_a_damaged_one_is_set_aside(folder: Path, cuts: PowerCuts) -> None:
    """What served before is in its place, whenever that happens; the damaged one serves no more."""
    desk = Desk(folder)
    desk.damage(3)
    at, killed = 0, True
    while killed:
        at += 1
        state_dir = folder / "state"
        shutil.copytree(desk.template, state_dir, symlinks=True)
        killed, steps = cuts.run(state_dir, desk.work("find damaged"), at)
        lose_unsynchronised(steps)
        with Repository(state_dir, SLOT) as repository:
            with contextlib.suppress(DamagedVersionError):
                repository.read(repository.current or "")
            assert desk.digests[2] == repository.current
            assert desk.digests[2] == repository.read(desk.digests[2]).digest
        shutil.rmtree(state_dir)
    assert at > 3
