"""edge_agent.watcher: half-written copies are never told of, whole ones once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import BundleError
from edge_agent.watcher import OnDrives, Watcher, fingerprint, wait_until_still
from edge_agent.watcher.drives import inboxes
from edge_agent.watcher.fingerprints import MAX_ENTRIES, is_being_written, look_at
from edge_agent.watcher.inbox import MAX_CANDIDATES, candidates, newest
from edge_agent.watcher.settling import Settling
from edge_agent.watcher.watching import LONG_LOOK_S
from tests.bundle_samples import MODEL, OTHER_MODEL, export_files, write_folder, zip_bytes
from tests.drives import hanging
from tests.fakes.clock import FakeClock

SETTLE_S = 0.4
PATIENCE_S = 30.0


class Desk:
    """A watcher whose wake is awaited, and all that it told."""

    def __init__(self, settle_s: float = SETTLE_S) -> None:
        self._woken = threading.Semaphore(0)
        self.watcher = Watcher(self._woken.release, SystemClock(), settle_s)

    def told(self, count: int = 1) -> list[tuple[str, Path]]:
        """The next so many candidates."""
        found: list[tuple[str, Path]] = []
        while len(found) < count:
            assert self._woken.acquire(timeout=PATIENCE_S), found
            found += self.watcher.settled()
        return found


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Closed at the end, within its time."""
    desk = Desk()
    yield desk
    desk.watcher.close()
    assert [] == [thread for thread in threading.enumerate() if thread.name == "watcher"]
    assert desk.watcher.fault is None


@pytest.fixture
def canary(desk: Desk, tmp_path: Path) -> Callable[[], list[tuple[str, Path]]]:
    """What was told up to a change that is made now: an end for tests of what is not told."""
    inbox = tmp_path / "canaries"
    inbox.mkdir()

    def told() -> list[tuple[str, Path]]:
        path = inbox / f"{len(list(inbox.iterdir()))}.zip"
        path.write_bytes(b"canary")
        found: list[tuple[str, Path]] = []
        while ("canary", path) not in found:
            found += desk.told()
        return [each for each in found if each[0] != "canary"]

    return told


def test_what_is_there_is_told_once(desk: Desk, canary: Callable[[], object], tmp_path: Path) -> None:
    """At first each existing candidate once; an unchanged one never again, even when watched anew."""
    bundle = write_folder(tmp_path / "bundle", export_files())
    ways = {"default:path": bundle, "other:path": tmp_path / "nowhere" / "yet" / "x.zip"}
    desk.watcher.watch(ways, {"canary": tmp_path / "canaries"})
    assert [("default:path", bundle)] == desk.told()
    desk.watcher.watch(dict(ways), {"canary": tmp_path / "canaries"})
    assert [] == canary()


def _in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(OTHER_MODEL)


def _in_place_with_its_times(path: Path) -> None:
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _rename_over(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(OTHER_MODEL)
    fresh.rename(path)


def _as_editors_do(path: Path) -> None:
    swap = path.with_name(f".{path.name}.swp")
    swap.write_bytes(b"swap")
    path.rename(path.with_name(f"{path.name}~"))
    path.write_bytes(OTHER_MODEL)
    swap.unlink()


def _as_rsync_does(path: Path) -> None:
    hidden = path.with_name(f".{path.name}.Xa81bZ")
    hidden.write_bytes(OTHER_MODEL)
    hidden.rename(path)


def _readable_at_last(path: Path) -> None:
    path.chmod(0o640)


@pytest.mark.parametrize(
    "change",
    [
        _in_place, _in_place_with_its_times, _rename_over, _as_editors_do, _as_rsync_does, _readable_at_last,
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_folder", [True, False])
def test_a_change_is_told_once(
    desk: Desk,
    canary: Callable[[], object],
    tmp_path: Path,
    change: Callable[[Path], None],
    in_folder: bool,
) -> None:
    """Overwritten in place, even with its old size and time, or by a rename, alone or in its folder."""
    folder = write_folder(tmp_path / "bundle", export_files())
    model = folder / "model.tflite"
    watched = folder if in_folder else model
    desk.watcher.watch({"path": watched}, {"canary": tmp_path / "canaries"})
    assert [("path", watched)] == desk.told()
    change(model)
    assert [("path", watched)] == desk.told()
    assert [] == canary()


def test_swap_files_are_no_change(desk: Desk, canary: Callable[[], object], tmp_path: Path) -> None:
    """A file that an editor keeps beside the labels is no part of the bundle."""
    folder = write_folder(tmp_path / "bundle", export_files())
    desk.watcher.watch({"path": folder}, {"canary": tmp_path / "canaries"})
    desk.told()
    (folder / ".labels.txt.swp").write_bytes(b"swap")
    (folder / "labels.txt~").write_bytes(b"backup")
    assert [] == canary()


def test_a_folder_is_replaced_by_another(desk: Desk, tmp_path: Path) -> None:
    """Renamed away and another one in its place; then gone, and there again as a zip's neighbour."""
    folder = write_folder(tmp_path / "bundle", export_files())
    desk.watcher.watch({"path": folder})
    desk.told()
    other = write_folder(tmp_path / "other", {**export_files(), "model.tflite": OTHER_MODEL})
    folder.rename(tmp_path / "old")
    other.rename(folder)
    assert [("path", folder)] == desk.told()
    (folder / "model.tflite").write_bytes(MODEL)
    assert [("path", folder)] == desk.told()
    shutil.rmtree(folder)
    write_folder(folder, export_files())
    assert [("path", folder)] == desk.told()


def test_a_path_without_parents_comes_into_being(desk: Desk, tmp_path: Path) -> None:
    """A drive's folder may appear long after the agent has started."""
    path = tmp_path / "media" / "stick" / "model.zip"
    desk.watcher.watch({"path": path})
    path.parent.mkdir(parents=True)
    path.write_bytes(zip_bytes(export_files()))
    assert [("path", path)] == desk.told()


def test_a_link_leads_to_what_is_watched(desk: Desk, tmp_path: Path) -> None:
    """A path may be a link to the version that counts: both may change."""
    first = write_folder(tmp_path / "versions" / "1", export_files())
    second = write_folder(tmp_path / "versions" / "2", export_files())
    link = tmp_path / "current"
    link.symlink_to(first)
    desk.watcher.watch({"path": link})
    assert [("path", link)] == desk.told()
    (first / "model.tflite").write_bytes(OTHER_MODEL)
    assert [("path", link)] == desk.told()
    (tmp_path / "fresh").symlink_to(second)
    (tmp_path / "fresh").rename(link)
    assert [("path", link)] == desk.told()


SLOWLY = """
import os, sys, threading
source, target, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
content = open(source, "rb").read()
with open(target, "wb", buffering=0) as file:
    for start in range(0, len(content), len(content) // 20):
        file.write(content[start : start + len(content) // 20])
        threading.Event().wait(pause)
"""


def _cp(source: Path, target: Path) -> None:
    subprocess.run([sys.executable, "-c", SLOWLY, source, target, str(SETTLE_S / 4)], check=True)


def _mv(source: Path, target: Path) -> None:
    source.rename(target)


def _rsync(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.a81bZx")
    _cp(source, temporary)
    temporary.rename(target)


@pytest.mark.parametrize("copy", [_cp, _mv, _rsync])
def test_a_slow_copy_is_told_once_and_whole(desk: Desk, tmp_path: Path, copy: Callable[..., None]) -> None:
    """What is told of is whole, however slowly it came, and nothing is told of before."""
    source = tmp_path / "source.zip"
    source.write_bytes(os.urandom(1 << 20))
    whole = source.read_bytes()
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    desk.watcher.watch({}, {"inbox": inbox})
    copy(source, inbox / "model.zip")
    assert [("inbox", inbox / "model.zip")] == desk.told()
    assert whole == (inbox / "model.zip").read_bytes()
    (inbox / "end.zip").write_bytes(b"end")
    assert [("inbox", inbox / "end.zip")] == desk.told()


def test_what_is_unzipped_in_place_is_told_once(tmp_path: Path) -> None:
    """File by file, with pauses: the folder is a candidate when the last one is there."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    desk = Desk(settle_s=4 * SETTLE_S)
    desk.watcher.watch({}, {"inbox": inbox})
    never = threading.Event()
    (tmp_path / "export.zip").write_bytes(zip_bytes({**export_files(), "golden/a.jpg": b"a"}))
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        for name in archive.namelist():
            archive.extract(name, inbox / "export")
            never.wait(SETTLE_S / 2)
    assert [("inbox", inbox / "export")] == desk.told()
    assert sorted(export_files()) == sorted(path.name for path in (inbox / "export").glob("*.*"))
    (inbox / "end.zip").write_bytes(b"end")
    assert [("inbox", inbox / "end.zip")] == desk.told()
    desk.watcher.close()


def test_a_file_open_for_writing_is_not_whole(
    desk: Desk, canary: Callable[[], object], tmp_path: Path
) -> None:
    """A copy that pauses for longer than the time to settle, where the kernel tells us of its writer."""
    path = tmp_path / "model.zip"
    with path.open("wb") as file:
        if not is_being_written(path):
            pytest.skip("file system: no leases here")
        file.write(b"half")
        file.flush()
        desk.watcher.watch({"path": path}, {"canary": tmp_path / "canaries"})
        assert [] == canary()
        file.write(b"whole")
    assert [("path", path)] == desk.told()
    assert not is_being_written(path)


DEAF = """
import logging, pathlib, resource, sys, threading, watchfiles
from edge_agent.clock import SystemClock
from edge_agent.watcher import Watcher, watching
logging.basicConfig(stream=sys.stdout, format="%(levelname)s", level="WARNING")
watching.LOOK_EVERY_S = 0.2
woken = threading.Event()
watcher = Watcher(woken.set, SystemClock(), 0.4)
resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
path = pathlib.Path(sys.argv[1])
watcher.watch({"path": path})
woken.wait(30)
watcher.watch({"path": path, "other": path})
woken.clear()
woken.wait(30)
print([way for way, _ in watcher.settled()], flush=True)
watcher.close()
"""


def test_without_inotify_it_looks(tmp_path: Path) -> None:
    """Where the system has none to give (here: no descriptor), models are seen; it is said once."""
    path = tmp_path / "stick" / "model.zip"
    child = [sys.executable, "-c", DEAF, str(path)]
    with subprocess.Popen(child, stdout=subprocess.PIPE, text=True, close_fds=True) as agent:
        assert agent.stdout is not None
        assert "WARNING\n" == agent.stdout.readline()
        path.parent.mkdir()
        path.write_bytes(b"zip")
        assert "['path', 'other']\n" == agent.stdout.read()


def test_what_a_drive_brings_is_told_each_time_it_comes(
    desk: Desk, canary: Callable[[], object], tmp_path: Path
) -> None:
    """Drives come and go, and so does the folder below which they are mounted; another slot's is not ours."""
    mounts = tmp_path / "media"
    desk.watcher.watch({}, {"canary": tmp_path / "canaries"}, {"drive": OnDrives(mounts, "default")})
    for name in ("sda1", "sdb1", "sda1"):
        brought = mounts / name / "edge-agent-models" / "default" / "finish"
        write_folder(brought.parents[1] / "other" / "finish", export_files())
        write_folder(brought, export_files())
        assert [("drive", brought)] == desk.told()
        shutil.rmtree(mounts)
        assert [] == canary()


def test_a_look_that_does_not_end_is_a_fault(tmp_path: Path) -> None:
    """What is mounted there hangs in the kernel: that is told, with what to do, for as long as it lasts."""
    clock, drives = FakeClock(), tmp_path / "drives"
    watcher = Watcher(lambda: None, clock, SETTLE_S)
    with hanging(drives / "sda1"):
        watcher.watch({}, drives={"drive": OnDrives(drives, "default")})
        ended = threading.Event()
        for _ in range(1000):  # until its thread has begun to look
            clock.advance(LONG_LOOK_S)
            if watcher.fault is not None:
                break
            ended.wait(0.01)
        assert f"{drives}: what is mounted there does not answer; unmount it" in str(watcher.fault)
        assert watcher.is_restless
    watcher.close()
    assert watcher.fault is None


def test_a_drive_leads_nowhere_else(tmp_path: Path) -> None:
    """Neither a drive that is a link, nor a link on it, has anything else of this machine looked at."""
    for folder in ("real/edge-agent-models/default", "link/edge-agent-models", "elsewhere/default"):
        (tmp_path / "media" / folder).mkdir(parents=True)
    (tmp_path / "media" / "link" / "edge-agent-models" / "default").symlink_to("/etc")
    (tmp_path / "media" / "all").mkdir()
    (tmp_path / "media" / "all" / "edge-agent-models").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "media" / "drive").symlink_to(tmp_path / "real")
    (tmp_path / "media" / "file").touch()
    found = [path for path in inboxes(OnDrives(tmp_path / "media", "default")) if path.exists()]
    assert [tmp_path / "media" / "real" / "edge-agent-models" / "default"] == found
    assert [] == inboxes(OnDrives(tmp_path / "nowhere", "default"))


def test_each_entry_of_an_inbox_is_a_candidate(tmp_path: Path) -> None:
    """Folders, zips and models; not what computers leave on drives, nor half a download, nor a link."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "System Volume Information").mkdir()
    (tmp_path / "link.zip").symlink_to("/etc/passwd")
    for name in ("a.zip", "B.ZIP", "c.tflite", ".d.zip", "._a.zip", "e.zip.part", "readme.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert ["B.ZIP", "a.zip", "c.tflite", "folder"] == [path.name for path in candidates(tmp_path)]
    assert [] == candidates(tmp_path / "nowhere")


def test_an_inbox_that_cannot_be_listed_is_a_candidate(tmp_path: Path) -> None:
    """Whoever reads it says why not: nobody else would."""
    name = tmp_path / ("x" * 300)
    assert [name] == candidates(name)


def test_an_export_unpacked_right_into_the_inbox_is_one(tmp_path: Path) -> None:
    """Its model without its labels would be another bundle; a zip beside it is one of its own."""
    write_folder(tmp_path, {**export_files(), "golden/a.jpg": b"a", "next.zip": b"zip"})
    assert [tmp_path, tmp_path / "next.zip"] == candidates(tmp_path)


def test_a_crowded_folder_costs_no_more_than_its_bound(tmp_path: Path) -> None:
    """Of too many entries the first are looked at, and of too many candidates some are taken."""
    (tmp_path / "many").mkdir()
    for number in range(MAX_ENTRIES + 100):
        os.close(os.open(tmp_path / "many" / f"{number:05}.zip", os.O_CREAT | os.O_WRONLY))
    assert MAX_CANDIDATES == len(newest(candidates(tmp_path / "many")))
    assert look_at(tmp_path / "many") == look_at(tmp_path / "many")


def test_of_too_many_bundles_the_newest_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever their names are; a fault says so for as long as there are too many."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    old = [inbox / f"z{number}.zip" for number in range(3)]
    for path in old:
        path.touch()
    late = tmp_path / "late"
    late.touch()
    while late.stat().st_ctime_ns <= old[-1].stat().st_ctime_ns:
        late.write_bytes(b"x")  # until the file system's clock has moved
    new = [inbox / f"n{number:02}.zip" for number in range(MAX_CANDIDATES)]
    for path in new:
        path.touch()
    desk = Desk()
    desk.watcher.watch({}, {"default:inbox": inbox})
    assert set(new) == {path for _, path in desk.told(MAX_CANDIDATES)}
    said = f"{inbox} holds 67 bundles, and only the 64 newest are looked at"
    assert said in (desk.watcher.fault or "")
    assert 1 == caplog.text.count(said)
    for path in new[:3]:
        path.unlink()
    assert set(old) == {path for _, path in desk.told(len(old))}
    assert desk.watcher.fault is None
    desk.watcher.close()


@pytest.mark.parametrize("is_folder", [True, False], ids=["a folder", "a file"])
def test_a_name_that_is_no_utf_8_ends_nothing(desk: Desk, tmp_path: Path, is_folder: bool) -> None:
    """It is told, and so is what comes after it."""
    inbox, odd = tmp_path / "inbox", os.fsdecode(b"caf\xe9.zip")
    inbox.mkdir()
    desk.watcher.watch({}, {"default:inbox": inbox})
    for name in (odd, "next.zip"):
        if is_folder:
            write_folder(inbox / name, export_files())
        else:
            (inbox / name).write_bytes(b"x")
        assert [("default:inbox", inbox / name)] == desk.told()


class Copying(SystemClock):
    """A clock by which a file more lies in ``folder`` each time somebody looks, ``count`` in all."""

    def __init__(self, folder: Path, count: int) -> None:
        self.now_ns = 0
        self._folder = folder
        self._left = count

    def monotonic_ns(self) -> int:
        """So much later that only a change in between can be why nobody is content."""
        self.now_ns += int(SETTLE_S * 1e9)
        if self._left:
            self._left -= 1
            (self._folder / str(self._left)).touch()
        return self.now_ns


def test_what_was_asked_for_is_whole_first(tmp_path: Path) -> None:
    """A folder into which something is copied is waited for; a file alone is looked at as it is."""
    (tmp_path / "new").mkdir()
    wait_until_still(tmp_path / "new", 0.01, Copying(tmp_path / "new", 20))
    assert 20 == len(list((tmp_path / "new").iterdir()))
    clock = Copying(tmp_path, 1)
    wait_until_still(tmp_path / "new" / "0", 0.01, clock)
    wait_until_still(tmp_path / "nothing", 0.01, clock)
    assert 0 == clock.now_ns


def test_what_never_stands_still_is_not_waited_for(tmp_path: Path) -> None:
    """Nor what somebody has open for writing."""
    with pytest.raises(BundleError, match="is still being written"):
        wait_until_still(tmp_path, 0.01, Copying(tmp_path, 1000), patience_s=10.0)
    folder = write_folder(tmp_path / "bundle", export_files())
    with (folder / "labels.txt").open("ab"), pytest.raises(BundleError, match="is still being written"):
        wait_until_still(folder, 0.01, Copying(tmp_path, 0), patience_s=10.0)


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    """What lies outside is no part of it, so a change there is none; one to a part of it is followed."""
    folder = write_folder(tmp_path / "bundle", {".parts/model.tflite": MODEL})
    outside = tmp_path / "outside"
    outside.write_bytes(b"1")
    (folder / "out").symlink_to(outside)
    (folder / "circle").symlink_to(folder)
    (folder / "model.tflite").symlink_to(".parts/model.tflite")
    before = fingerprint(folder)
    outside.write_bytes(b"22")
    assert before == fingerprint(folder)
    (folder / ".parts" / "model.tflite").write_bytes(OTHER_MODEL)
    assert before != fingerprint(folder)


def test_a_fingerprint_never_raises(tmp_path: Path) -> None:
    """Nothing, a fifo, a name that cannot be, a link that leads to itself."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert not fingerprint(tmp_path / "nothing").exists
    assert fingerprint(tmp_path / "fifo").exists
    assert fingerprint(tmp_path / "loop").exists
    assert fingerprint(tmp_path / ("x" * 300)).exists
    assert fingerprint(tmp_path) == fingerprint(tmp_path)


def test_a_candidate_is_due_only_when_it_stood_still(tmp_path: Path) -> None:
    """Two equal looks, so far apart; another look in between begins the time anew, hidden files included."""
    path = tmp_path / "bundle"
    candidate = ("way", path)
    settling = Settling(2.0)
    write_folder(path, export_files())
    first = look_at(path)
    (path / ".temporary").write_bytes(b"growing")
    second = look_at(path)
    assert first.fingerprint == second.fingerprint
    due = [settling.is_due(candidate, look, s) for look, s in ((first, 0.0), (second, 1.9), (second, 3.8))]
    assert [False, False, False] == due
    assert settling.is_due(candidate, second, 3.9)
    restless = [settling.is_restless]
    settling.tell(candidate)
    assert [True, False] == [*restless, settling.is_restless]
    assert not settling.is_due(candidate, first, 9.0)
    assert not settling.is_due(candidate, first, 99.0)
    settling.keep([])
    assert not settling.is_due(candidate, first, 100.0)
    assert settling.is_due(candidate, first, 102.0)


def test_what_was_there_last_is_told_last(desk: Desk, tmp_path: Path) -> None:
    """Whatever it is called, and however old its content is: of those found together it is to serve."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in ("c.zip", "a.zip", "b.zip"):
        (inbox / name).write_bytes(name.encode())
    os.utime(inbox / "b.zip", (1, 1))
    desk.watcher.watch({}, {"inbox": inbox})
    told: list[tuple[str, Path]] = []
    while len(told) < 3:
        told += desk.told()
    assert ["c.zip", "a.zip", "b.zip"] == [path.name for _, path in told]
