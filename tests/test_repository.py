"""repository/: installed bundles, what is kept of them, and disks that refuse."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.catalogue import listing
from edge_agent.errors import (
    DamagedVersionError,
    RepositoryBusyError,
    RepositoryError,
    UnknownVersionError,
)
from edge_agent.repository import Repository
from edge_agent.repository.disk import MAX_RECORD_BYTES, content_of
from edge_agent.repository.lock import RepositoryLock
from edge_agent.repository.records import LATEST_NS
from edge_agent.repository.rejections import KEEP_REJECTIONS
from edge_agent.verdict import Verdict
from tests.bundle_samples import export_files, graph_of, image_spec, write_folder
from tests.fakes.clock import FakeClock
from tests.places import ROOT

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, or mount")


def bundle(folder: Path, number: int = 0, more: bytes = b"") -> BundleFiles:
    """One of many, with ``more`` in its model."""
    export = export_files()
    export["model.tflite"] += str(number).encode() + more
    return read_bundle(write_folder(folder / f"bundle{number}", export))


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """An empty one, below ``tmp_path / "state"``."""
    with Repository(tmp_path / "state", "default") as opened:
        yield opened


def place(tmp_path: Path, digest: str) -> Path:
    """Where a version is."""
    return tmp_path / "state" / "models" / "default" / "versions" / digest


# What is installed


def test_an_installed_bundle_is_the_bundle(tmp_path: Path, repository: Repository) -> None:
    """Digest, labels and the name that its path gave it; what is told of it is in the table."""
    files = bundle(tmp_path)
    version = repository.install(files, "command line")
    assert (files.digest, "bundle0", files.iteration, 2, "command line", "installed") == (
        version.digest,
        version.name,
        version.iteration,
        version.labels,
        version.origin,
        version.state,
    )
    assert sum(len(part.content) for part in files.parts) == version.size
    shutil.rmtree(tmp_path / "bundle0")
    read = repository.read(files.digest)
    assert (files.digest, files.labels, "bundle0", files.parts) == (
        read.digest,
        read.labels,
        read.name,
        read.parts,
    )
    assert None is repository.current


def test_versions_are_in_order_whatever_the_clock_says(tmp_path: Path) -> None:
    """A board without a battery clock begins again in the past; the newest is the newest all the same."""
    clock = FakeClock()
    with Repository(tmp_path / "state", "default", clock=clock) as repository:
        expected: list[str] = []
        for number in range(3):
            expected.insert(0, repository.install(bundle(tmp_path, number), "a test").digest)
        assert expected == [version.digest for version in repository.versions()]


def test_a_damaged_copy_is_replaced_by_a_whole_one(tmp_path: Path, repository: Repository) -> None:
    """Installing the same digest again heals it, and nothing else changes."""
    files = bundle(tmp_path)
    repository.install(files, "a test")
    repository.activate(files.digest)
    (place(tmp_path, files.digest) / "files" / "model.tflite").write_bytes(b"")
    repository.install(files, "a test")
    assert files.digest == repository.read(files.digest).digest
    assert files.digest == repository.current


def test_a_signature_that_came_later_is_kept(tmp_path: Path, repository: Repository) -> None:
    """It is not in the digest; without it a copy that was installed before would never be trusted."""
    plain = bundle(tmp_path)
    repository.install(plain, "a test")
    (tmp_path / "bundle0" / "bundle.sig").write_bytes(b"signed")
    signed = read_bundle(tmp_path / "bundle0")
    assert plain.digest == signed.digest
    for files in (signed, plain):
        repository.install(files, "a test")
        assert signed.parts == repository.read(signed.digest).parts


def test_a_damaged_version_is_kept_aside_with_the_reason(tmp_path: Path, repository: Repository) -> None:
    """It serves no more; of several such only the newest stays on the disk."""
    for number in range(3):
        files = bundle(tmp_path, number)
        repository.install(files, "a test")
        (place(tmp_path, files.digest) / "files" / "labels.txt").write_bytes(b"other\nlabels")
        with pytest.raises(DamagedVersionError, match="are of digest"):
            repository.read(files.digest)
        with pytest.raises(UnknownVersionError, match="is not installed"):
            repository.read(files.digest)
    (damaged,) = (tmp_path / "state" / "models" / "default" / "damaged").iterdir()
    assert files.digest == damaged.name
    assert "are of digest" in (damaged / "reason.json").read_text()


def test_a_version_whose_record_is_damaged_is_set_aside_at_opening(tmp_path: Path) -> None:
    """What served before serves again."""
    first, second = bundle(tmp_path, 1), bundle(tmp_path, 2)
    with Repository(tmp_path / "state", "default") as repository:
        for files in (first, second):
            repository.install(files, "a test")
            repository.activate(files.digest)
    (place(tmp_path, second.digest) / "version.json").write_bytes(b"\0" * 100)
    with Repository(tmp_path / "state", "default") as repository:
        assert first.digest == repository.current
        assert [first.digest] == [version.digest for version in repository.versions()]


def test_a_current_that_is_gone_falls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """To the previous one, else to the newest that is not held; it is told."""
    files = [bundle(tmp_path, number) for number in range(4)]
    with Repository(tmp_path / "state", "default", keep=9) as repository:
        for each in files:
            repository.install(each, "a test")
        for number in (3, 0, 1):
            repository.activate(files[number].digest)
        repository.hold(files[3].digest)
    for lost, expected in ((1, 0), (0, 2), (2, 3)):
        shutil.rmtree(place(tmp_path, files[lost].digest))
        caplog.clear()
        with Repository(tmp_path / "state", "default") as repository:
            assert files[expected].digest == repository.current
        assert f"model {files[expected].short} is to serve" in caplog.text


def test_a_memory_that_is_damaged_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What serves does not depend on it."""
    files = bundle(tmp_path)
    with Repository(tmp_path / "state", "default") as repository:
        repository.install(files, "a test")
        repository.activate(files.digest)
        repository.hold("0" * 64)
    (tmp_path / "state" / "models" / "default" / "memory.json").write_bytes(b'{"held": 7}')
    with Repository(tmp_path / "state", "default") as repository:
        assert files.digest == repository.current
        assert not repository.is_held("0" * 64)
    assert "memory.json is damaged" in caplog.text


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


def _file(path: Path) -> None:
    path.write_bytes(b"x")


ODD = [
    ("memory.json", _fifo),
    ("memory.json", _folder),
    ("memory.json.new", _folder),
    ("lock", _folder),
    ("lock", _fifo),
    ("current", _folder),
    ("current", _file),
    ("current.new", _folder),
    ("staging", _file),
    ("damaged", _file),
    ("discarded", _file),
    ("rejected", _file),
    ("versions/junk", _file),
    ("versions/junk", _fifo),
]


@pytest.mark.parametrize(("name", "make"), ODD, ids=[f"{name}: {make.__name__[1:]}" for name, make in ODD])
def test_what_is_in_the_way_is_removed(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    """Of another kind than ours, be it a fifo that nobody writes to: what serves does, and can be left."""
    first, second, third = (bundle(tmp_path, number) for number in range(3))
    root = tmp_path / "state" / "models" / "default"
    with Repository(tmp_path / "state", "default") as repository:
        for files in (first, second):
            repository.install(files, "a test")
            repository.activate(files.digest)
        repository.hold("0" * 64)
    path = root / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    make(path)
    with Repository(tmp_path / "state", "default") as repository:
        assert repository.current in (first.digest, second.digest)
        repository.install(third, "a test")
        repository.activate(third.digest)
        repository.reject("1" * 64, "bad", "a reason", "a test")
        repository.hold("2" * 64)
        damaged = place(tmp_path, repository.previous or "") / "version.json"
        damaged.unlink()
        os.mkfifo(damaged)
    with Repository(tmp_path / "state", "default") as repository:
        assert third.digest == repository.current
        assert ["1" * 64] == [refusal.digest for refusal in repository.rejections()]
        assert repository.is_held("2" * 64)
        assert [damaged.parent.name] == [each.name for each in (root / "damaged").iterdir()]


def test_only_a_file_of_ours_has_content(tmp_path: Path) -> None:
    """A fifo is not waited for, though somebody writes to it; what is far too large is not read."""
    (tmp_path / "folder").mkdir()
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(MAX_RECORD_BYTES + 1)
    os.mkfifo(tmp_path / "fifo")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)
    os.write(writer, b"{}")
    for name in ("folder", "sparse", "fifo"):
        assert b"" == content_of(tmp_path / name)
    os.close(writer)


def test_a_file_in_the_place_of_all_versions_is_removed(tmp_path: Path, repository: Repository) -> None:
    """There is nothing that could serve then, and the next one is installed."""
    repository.close()
    _file(tmp_path / "state" / "models" / "default" / "versions")
    with Repository(tmp_path / "state", "default") as opened:
        assert opened.current is None
        assert [] == opened.versions()
        assert "bundle0" == opened.install(bundle(tmp_path), "a test").name


def test_versions_may_lie_elsewhere(tmp_path: Path, repository: Repository) -> None:
    """A link that leads to another disk stays, though that is not there yet."""
    repository.close()
    link = tmp_path / "state" / "models" / "default" / "versions"
    link.symlink_to(tmp_path / "not mounted")
    with Repository(tmp_path / "state", "default") as opened:
        assert [] == opened.versions()
    assert link.is_symlink()


@pytest.mark.parametrize("at_ns", [10**30, -1, 1 << 63])
def test_a_time_that_cannot_be_is_damage(tmp_path: Path, repository: Repository, at_ns: int) -> None:
    """Nobody could show it: what was refused then is not, and what was installed then is set aside."""
    first, second = bundle(tmp_path, 1), bundle(tmp_path, 2)
    for files in (first, second):
        repository.install(files, "a test")
        repository.activate(files.digest)
    refused = repository.reject("0" * 64, "bad", "a reason", "a test")
    repository.close()
    rejected = tmp_path / "state" / "models" / "default" / "rejected" / f"{'0' * 64}.json"
    rejected.write_text(rejected.read_text().replace(str(refused.at_ns), str(at_ns)))
    record = place(tmp_path, second.digest) / "version.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "installed_ns": at_ns}))
    with Repository(tmp_path / "state", "default") as opened:
        assert [] == opened.rejections()
        assert first.digest == opened.current
        listing(opened, "serving")


def test_the_last_time_of_all_is_no_end(tmp_path: Path, repository: Repository) -> None:
    """What follows it is written down all the same."""
    clock = FakeClock()
    clock.advance((LATEST_NS - clock.wall_ns()) / 1e9 + 1)
    repository.close()
    with Repository(tmp_path / "state", "default", clock=clock) as opened:
        for number in range(2):
            assert LATEST_NS == opened.install(bundle(tmp_path, number), "a test").installed_ns
            assert LATEST_NS == opened.reject(f"{number:064x}", "bad", "a reason", "a test").at_ns
        listing(opened, "serving")


def test_what_is_written_down_harms_no_terminal(repository: Repository) -> None:
    """Nor can it pretend to be another line."""
    repository.reject("0" * 64, "x\nslot evil: serving", "a\x1b[2Jb", "a\nb")
    (told,) = repository.rejections()
    assert ("x slot evil: serving", "a\\x1b[2Jb", "a b") == (told.name, told.reason, told.origin)


@pytest.mark.parametrize("slot", ["", "..", "a/b", "x" * 65])
def test_a_slot_is_a_name(tmp_path: Path, slot: str) -> None:
    """It comes from a command line or a message, and becomes a folder."""
    with pytest.raises(RepositoryError, match="is no name of a slot"):
        Repository(tmp_path, slot)


@pytest.mark.parametrize("digest", ["", "../x", "A" * 64, "0" * 63])
def test_a_digest_is_a_digest(repository: Repository, digest: str) -> None:
    """It becomes a file's name, wherever it came from."""
    for method in (repository.activate, repository.hold, repository.rejection, repository.read):
        with pytest.raises(UnknownVersionError, match="is no digest"):
            method(digest)


# What is bounded


def test_only_the_newest_rejections_are_kept(repository: Repository) -> None:
    """However many damaged files are dropped into an inbox."""
    digests = [f"{number:064x}" for number in range(KEEP_REJECTIONS + 5)]
    for digest in digests:
        repository.reject(digest, "fruit", "cut short", "inbox")
    assert digests[:4:-1] == [refusal.digest for refusal in repository.rejections()]


def test_what_is_remembered_is_bounded(tmp_path: Path, repository: Repository) -> None:
    """The newest holds and ways in."""
    for number in range(300):
        repository.hold(f"{number:064x}")
        repository.note_offered(f"inbox/{number}", f"{number:064x}")
    assert (tmp_path / "state" / "models" / "default" / "memory.json").stat().st_size < 100_000
    assert repository.is_held(f"{299:064x}")
    assert f"{299:064x}" == repository.offered("inbox/299")
    assert None is repository.offered("inbox/0")


def test_versions_are_pruned_as_others_are_installed(tmp_path: Path, repository: Repository) -> None:
    """The disk holds three, the two that served last among them."""
    for number in range(12):
        files = bundle(tmp_path, number)
        repository.install(files, "a test")
        if number in (0, 1):
            repository.activate(files.digest)
    kept = [version.name for version in repository.versions()]
    assert ["bundle11", "bundle1", "bundle0"] == kept
    assert [] == repository.prune()


# On trial


def test_only_an_unclean_end_is_counted(tmp_path: Path) -> None:
    """A trial goes on over starts, with its frames; one begun without an agent has not run yet."""
    files = bundle(tmp_path)
    digest = files.digest

    def start() -> Repository:
        repository = Repository(tmp_path / "state", "default")
        repository.note_start()
        return repository

    with Repository(tmp_path / "state", "default") as repository:
        repository.install(files, "a test")
        repository.activate(digest, on_trial=True, running=False)
    for clean, frames, unclean in ((True, 0, 0), (False, 30, 0), (True, 30, 1), (True, 60, 1)):
        with start() as repository:
            probation = repository.probation
            assert probation is not None
            assert (digest, frames, unclean) == (probation.digest, probation.frames, probation.unclean_starts)
            if clean:
                repository.note_trial(probation.frames + 30, 1.0, running=False)
    with start() as repository:
        repository.end_probation()
    with start() as repository:
        assert None is repository.probation


def test_a_rollback_is_nothing_to_warn_of(
    tmp_path: Path, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asked for it is told by the return; a second one has nowhere to go."""
    first, second = bundle(tmp_path, 1), bundle(tmp_path, 2)
    for files in (first, second):
        repository.install(files, "a test")
        repository.activate(files.digest)
    assert first.digest == repository.rollback()
    assert ("", True) == (caplog.text, repository.is_held(second.digest))
    with pytest.raises(RepositoryError, match="no previous model to roll back to"):
        repository.rollback()


@pytest.mark.parametrize("doubt", ["hold", "reject"])
def test_what_is_held_or_rejected_is_no_previous(tmp_path: Path, repository: Repository, doubt: str) -> None:
    """It may be current for want of anything better; what follows it must not be rolled back to that."""
    first, second, third = bundle(tmp_path, 1), bundle(tmp_path, 2), bundle(tmp_path, 3)
    for files in (first, second, third):
        repository.install(files, "a test")
    repository.activate(first.digest)
    repository.activate(second.digest)
    if doubt == "hold":
        repository.hold(second.digest)
    else:
        repository.reject(second.digest, "second", "it ends the agent", "a test")
    repository.activate(third.digest)
    assert (third.digest, None) == (repository.current, repository.previous)


def test_what_is_on_trial_is_no_previous(tmp_path: Path, repository: Repository) -> None:
    """What follows it goes back to what has passed; where there is none, to what there is."""
    first, second, third = (repository.install(bundle(tmp_path, n), "a test").digest for n in range(3))
    repository.activate(first, on_trial=True)
    repository.activate(second, on_trial=True)
    assert (second, first) == (repository.current, repository.previous)
    repository.activate(third, on_trial=True)
    assert (third, first) == (repository.current, repository.previous)
    repository.activate(first)
    assert (first, None) == (repository.current, repository.previous)


# Verdicts


def test_a_verdict_is_kept_beside_its_version(tmp_path: Path, repository: Repository) -> None:
    """Per key, until the version goes; a damaged file is no verdict."""
    files = bundle(tmp_path)
    repository.install(files, "a test")
    verdict = Verdict(files.digest, "litert 0", graph_of(image_spec()), 2.5, 2.0, ())
    for number in range(6):
        repository.remember_verdict(
            files.digest, f"key {number}", dataclasses.replace(verdict, inference_ms=number + 0.5)
        )
    found = repository.verdict(files.digest, "key 5")
    assert found is not None
    assert dataclasses.replace(verdict, inference_ms=5.5).to_json() == found.to_json()
    assert None is repository.verdict(files.digest, "key 0")
    assert files.digest == repository.read(files.digest).digest
    (place(tmp_path, files.digest) / "verdicts.json").write_bytes(b"[]")
    assert None is repository.verdict(files.digest, "key 5")


# Who may write


def test_one_process_at_a_time(tmp_path: Path, repository: Repository) -> None:
    """The second is told which process has it, until that closes it or ends."""
    program = (
        "import sys; from pathlib import Path; from edge_agent.repository import Repository; "
        "Repository(Path(sys.argv[1]), 'default')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "RepositoryBusyError: " in refused.stderr
    assert f"is in use by pid {os.getpid()}" in refused.stderr
    with pytest.raises(RepositoryBusyError) as refusal:
        Repository(tmp_path / "state", "default")
    assert (os.getpid(), True) == (refusal.value.pid, refusal.value.retryable)
    repository.close()
    subprocess.run(command, cwd=ROOT, check=True)


def test_threads_take_turns(tmp_path: Path, repository: Repository) -> None:
    """Installing, activating, reading and pruning side by side: what is current can always be read."""
    bundles = [bundle(tmp_path, number) for number in range(6)]
    first = repository.install(bundles[0], "a test").digest
    repository.activate(first)
    faults: list[BaseException] = []

    def work(numbers: list[int]) -> None:
        try:
            for number in numbers * 3:
                digest = repository.install(bundles[number], "a test").digest
                try:
                    repository.activate(digest)
                except UnknownVersionError:
                    continue  # another thread's were newer
                assert repository.read(str(repository.current)).digest
                repository.note_offered(f"way {number}", digest)
                repository.prune()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=([n, n + 1, n + 2],)) for n in (0, 1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == [fault for fault in faults if not isinstance(fault, UnknownVersionError)]
    assert len(repository.versions()) <= 4


# Disks that refuse


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@as_root
def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """What serves is whole, nothing half-written is left, and the error says what is needed and free."""
    old = bundle(tmp_path, 1)
    with Repository(small_disk, "default") as repository:
        repository.install(old, "a test")
        repository.activate(old.digest)
        with pytest.raises(RepositoryError, match=r"is full \(6\.\d MB needed, 4\.\d MB free\); make room"):
            repository.install(bundle(tmp_path, 2, bytes(6_000_000)), "a test")
        _is_only(repository, old)
    assert not list((small_disk / "models" / "default").glob("staging/*"))


@as_root
def test_a_disk_that_fills_up_meanwhile(tmp_path: Path, small_disk: Path) -> None:
    """Others write too: wherever it ends, what serves is whole; with room again the same succeeds."""
    old, new = bundle(tmp_path, 1), bundle(tmp_path, 2, bytes(100_000))
    with Repository(small_disk, "default") as repository:
        repository.install(old, "a test")
        repository.activate(old.digest)
        for free in range(0, 160, 4):
            _fill(small_disk, free * 1024)
            for step in _steps(repository, new):
                try:
                    step()
                except RepositoryError as error:
                    assert "full" in str(error)  # noqa: PT017  each step may fail or not
            assert repository.read(str(repository.current)).digest in (old.digest, new.digest)
            (small_disk / "filler").unlink()
            repository.activate(old.digest)
        repository.install(new, "a test")
        repository.activate(new.digest)
        assert new.digest == repository.read(new.digest).digest


def _steps(repository: Repository, new: BundleFiles) -> list[Callable[[], object]]:
    return [
        lambda: repository.install(new, "a test"),
        lambda: repository.reject("0" * 64, "fruit", "cut short", "a test"),
        lambda: repository.activate(new.digest) if repository.versions()[1:] else None,
        lambda: repository.hold("1" * 64),
    ]


def _fill(disk: Path, free: int) -> None:
    state = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(state.f_bavail * state.f_frsize - free, 0)))


@as_root
def test_a_read_only_disk(tmp_path: Path, small_disk: Path) -> None:
    """The model that serves is found and read; whatever would write says what to do."""
    old = bundle(tmp_path, 1)
    with Repository(small_disk, "default") as repository:
        repository.install(old, "a test")
        repository.activate(old.digest)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Repository(small_disk, "default") as repository:
        assert old.digest == repository.current
        for step in (
            lambda: repository.install(bundle(tmp_path, 2), "a test"),
            lambda: repository.hold("0" * 64),
            lambda: repository.reject("0" * 64, "fruit", "cut short", "a test"),
        ):
            with pytest.raises(RepositoryError, match=rf"read-only; sudo mount -o remount,rw {small_disk};"):
                step()
        _is_only(repository, old)
        with pytest.raises(RepositoryBusyError):
            Repository(small_disk, "default")


def _is_only(repository: Repository, files: BundleFiles) -> None:
    assert [(files.digest, "current")] == [(each.digest, each.state) for each in repository.versions()]
    assert files.digest == repository.read(files.digest).digest


def as_nobody(work: Callable[[], object]) -> str:
    """What the error says that the work ends with in a process of another user; "" without one."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            work()
        except RepositoryError as error:
            os.write(tell, str(error).encode())
        except BaseException as error:
            os.write(tell, repr(error).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(tell)
    with os.fdopen(told) as said:
        return said.read()


@pytest.fixture
def state_of_nobody(tmp_path: Path) -> Path:
    """A state_dir that belongs to the user whom the agent runs as, as systemd makes it."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    os.chown(state_dir, NOBODY, NOBODY)
    return state_dir


@as_root
def test_what_root_installs_belongs_to_the_agents_user(tmp_path: Path, state_of_nobody: Path) -> None:
    """``sudo edge-agent models install``, then the agent: it can read, change and remove all of it."""
    first, second = bundle(tmp_path, 1), bundle(tmp_path, 2)
    with Repository(state_of_nobody, "default") as repository:
        for files in (first, second):
            repository.install(files, "a test")
            repository.activate(files.digest)
        repository.hold("0" * 64)
        repository.reject("0" * 64, "fruit", "cut short", "a test")

    def work() -> None:
        with Repository(state_of_nobody, "default") as repository:
            assert second.digest == repository.read(second.digest).digest
            assert first.digest == repository.rollback()
            repository.reject("1" * 64, "fruit", "cut short", "a test")
            (place(tmp_path, second.digest) / "files" / "labels.txt").write_bytes(b"x\ny")
            repository.install(second, "a test")

    assert "" == as_nobody(work)
    owners = {path.stat().st_uid for path in state_of_nobody.rglob("*") if not path.is_symlink()}
    assert {NOBODY} == owners


@as_root
def test_files_of_another_owner(tmp_path: Path, state_of_nobody: Path) -> None:
    """The error names who owns them, who should, and how to give them back."""
    files = bundle(tmp_path)
    with Repository(state_of_nobody, "default") as repository:
        repository.install(files, "a test")
        repository.activate(files.digest)
    root = state_of_nobody / "models" / "default"
    os.chown(root, 0, 0)

    def hold() -> None:
        with Repository(state_of_nobody, "default") as repository:
            assert files.digest == repository.current
            repository.hold("0" * 64)

    said = as_nobody(hold)
    assert "cannot hold model 000000000000" in said
    assert "belongs to root, it should be nobody's" in said
    assert said.endswith(f"sudo chown -R nobody: {state_of_nobody}")


@as_root
def test_what_may_only_be_read_serves(tmp_path: Path, state_of_nobody: Path) -> None:
    """Where that will do, it says what is current; nothing can be changed there."""
    files = bundle(tmp_path)
    with Repository(state_of_nobody, "default") as repository:
        repository.install(files, "a test")
        repository.activate(files.digest)
    for path in (state_of_nobody, *state_of_nobody.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)

    def look() -> None:
        with Repository(state_of_nobody, "default", to_read=True) as repository:
            assert files.digest == repository.read(str(repository.current)).digest
            repository.hold(files.digest)

    assert "cannot hold model" in as_nobody(look)
    assert "cannot open" in as_nobody(lambda: Repository(state_of_nobody, "default"))


@as_root
def test_a_version_that_may_not_be_read_is_passed_over(tmp_path: Path, state_of_nobody: Path) -> None:
    """It is not taken for damaged: nothing is lost, the one before it serves, and it is told why."""
    first, second = bundle(tmp_path, 1), bundle(tmp_path, 2)
    with Repository(state_of_nobody, "default") as repository:
        for files in (first, second):
            repository.install(files, "a test")
            repository.activate(files.digest)
    model = place(tmp_path, second.digest) / "files" / "model.tflite"
    os.chown(model, 0, 0)
    model.chmod(0o600)

    def read() -> None:
        with Repository(state_of_nobody, "default") as repository:
            try:
                repository.read(str(repository.current))
            finally:
                assert first.digest == repository.current

    assert f"cannot read model {second.short}: " in as_nobody(read)
    model.chmod(0o644)
    with Repository(state_of_nobody, "default") as repository:
        assert second.digest == repository.read(str(repository.current)).digest


@as_root
def test_a_stranger_is_told_whom_to_become(tmp_path: Path) -> None:
    """Somebody's own account, on an agent's repository."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 1, 1)
    with Repository(tmp_path / "state", "default"):
        pass
    said = as_nobody(lambda: Repository(tmp_path / "state", "default"))
    assert "cannot open the models of slot default" in said
    assert "it should be daemon's, and this is nobody; run it as that user (sudo -u daemon ...)" in said


def test_names_that_are_too_long(tmp_path: Path, repository: Repository) -> None:
    """A zip can hold names that no disk does: said so, and nothing is left of it."""
    files = bundle(tmp_path)
    long = dataclasses.replace(files.parts[0], name="x" * 300)
    with pytest.raises(
        RepositoryError, match=r"longer than the disk of .* allows; give that file a shorter name"
    ):
        repository.install(dataclasses.replace(files, parts=(long,)), "a test")
    assert [] == repository.versions()
    assert not list((tmp_path / "state" / "models" / "default").glob("staging/*"))


def test_a_lock_needs_no_room(tmp_path: Path) -> None:
    """On a full disk the lock is had, and given back, though nobody is told whose it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for _ in range(2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            lock = RepositoryLock(tmp_path, to_read=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(RepositoryBusyError) as error:
            RepositoryLock(tmp_path, to_read=False)
        assert error.value.pid is None
        lock.close()
