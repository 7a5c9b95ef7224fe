"""Reading a folder or zip: what leads out, hides, or grows is refused; nothing is written."""

from __future__ import annotations

import io
import os
import stat
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle.archive import (
    MAX_ARCHIVE_BYTES,
    MAX_RATIO,
    RATIO_EXEMPT_BYTES,
    ZipEntries,
    open_entries,
)
from edge_agent.bundle.entries import MAX_ENTRIES, FolderEntries, LoneEntry, read_regular, relative_name
from edge_agent.errors import BundleError, EdgeAgentError
from tests.bundle_samples import MODEL, export_files, write_folder, zip_bytes

CAP = 1000


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "\\x", "C:\\x", "c:x", "a\\..\\b", "a\0b", "a\nb"]
)
def test_unsafe_names_are_refused(name: str) -> None:
    """A name that leads out of the bundle, or that a terminal could not show, is no name."""
    with pytest.raises(BundleError, match="unsafe"):
        relative_name(name, "here")


@pytest.mark.parametrize(
    ("given_name", "name"), [("a/b", "a/b"), ("./a//b/", "a/b"), ("golden\\cat.jpg", "golden/cat.jpg")]
)
def test_harmless_spellings_become_one(given_name: str, name: str) -> None:
    """Windows separators and needless parts do not make another name."""
    assert name == relative_name(given_name, "here")


@pytest.mark.parametrize("name", ["", ".", "./"])
def test_an_empty_name_is_refused(name: str) -> None:
    """The top itself is no file."""
    with pytest.raises(BundleError, match="empty"):
        relative_name(name, "here")


def test_folder_and_zip_answer_alike(tmp_path: Path) -> None:
    """A folder and its zip list and read the same."""
    files = {"top.txt": b"1", "app/inner.txt": b"2", "app/deep/x": b"3"}
    folder = FolderEntries(write_folder(tmp_path / "f", files))
    archive = ZipEntries(zip_bytes(files), "z")
    for where in ("", "app", "app/deep", "nowhere", "top.txt"):
        assert folder.files(where) == archive.files(where)
        assert folder.folders(where) == archive.folders(where)
    for name in (*files, "nothing", "app", "top.txt/x"):
        if name != "app":
            assert folder.read(name, CAP) == archive.read(name, CAP)


def test_a_zip_with_windows_separators_has_folders() -> None:
    """Old .NET writes backslashes; they part names as slashes do."""
    archive = ZipEntries(zip_bytes({"app\\": b"", "app\\model.tflite": b"m"}), "z")
    assert ("app",) == archive.folders("")
    assert b"m" == archive.read("app/model.tflite", CAP)


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    """A release folder may link its files to one another."""
    write_folder(tmp_path, {"real/model": b"m"})
    (tmp_path / "model").symlink_to("real/model")
    assert ("model",) == FolderEntries(tmp_path).files("")
    assert b"m" == FolderEntries(tmp_path).read("model", CAP)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """``current -> release-7`` is how releases are switched."""
    write_folder(tmp_path / "release-7", {"model": b"m"})
    (tmp_path / "current").symlink_to("release-7")
    assert b"m" == FolderEntries(tmp_path / "current").read("model", CAP)


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "../bundle-2/x"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    """What a link reaches outside the bundle is not read, a sibling of like name included."""
    write_folder(tmp_path, {"outside": b"secret", "bundle-2/x": b"secret", "bundle/y": b""})
    (tmp_path / "bundle" / "labels.txt").symlink_to(target)
    with pytest.raises(BundleError, match="link out of the bundle"):
        FolderEntries(tmp_path / "bundle").read("labels.txt", CAP)


def test_a_linked_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    """A link in the middle of a name is judged like one at its end."""
    write_folder(tmp_path, {"outside/x": b"secret", "bundle/y": b""})
    (tmp_path / "bundle" / "golden").symlink_to("../outside")
    with pytest.raises(BundleError, match="link out of the bundle"):
        FolderEntries(tmp_path / "bundle").read("golden/x", CAP)


@pytest.mark.parametrize("target", ["nothing", "loop"])
def test_a_link_to_nothing_is_an_error(tmp_path: Path, target: str) -> None:
    """A broken link, or one to itself, is not taken for a file that is not there."""
    (tmp_path / "loop").symlink_to(target)
    with pytest.raises(BundleError):
        FolderEntries(tmp_path).read("loop", CAP)


def test_a_fifo_is_neither_listed_nor_opened(tmp_path: Path) -> None:
    """Opening a fifo would wait for a writer, or wake one."""
    os.mkfifo(tmp_path / "model.tflite")
    assert () == FolderEntries(tmp_path).files("")
    with pytest.raises(BundleError, match="not a regular file"):
        FolderEntries(tmp_path).read("model.tflite", CAP)
    with pytest.raises(BundleError, match="not a regular file"):
        open_entries(tmp_path / "model.tflite")


def test_a_device_is_not_opened() -> None:
    """``/dev/zero`` never ends."""
    with pytest.raises(BundleError, match="not a regular file"):
        open_entries(Path("/dev/zero"))


@pytest.mark.parametrize("path", ["nowhere", "a\0b", "x" * 5000])
def test_a_path_that_cannot_be_is_an_error(tmp_path: Path, path: str) -> None:
    """No path ends in a traceback."""
    with pytest.raises(BundleError, match="cannot read"):
        open_entries(tmp_path / path)


def test_a_file_above_its_cap_is_refused(tmp_path: Path) -> None:
    """The size is looked at before the content; a sparse file of 8 GB costs nothing."""
    with (tmp_path / "model").open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(BundleError, match="more than the 1000 allowed"):
        read_regular(tmp_path / "model", CAP)
    with pytest.raises(BundleError, match="allowed"):
        LoneEntry(bytes(CAP + 1), "x", "x").read("x", CAP)


def test_a_cap_is_no_allocation(tmp_path: Path) -> None:
    """A small file takes a small memory whatever the cap: a board of 512 MB has no GB to spare for it."""
    (tmp_path / "model").write_bytes(b"small")
    assert b"small" == read_regular(tmp_path / "model", 1 << 50)


def test_a_file_that_changes_meanwhile_is_refused() -> None:
    """Half of one version and half of another is neither (a file of /proc has another size than it says)."""
    with pytest.raises(BundleError, match="changed while it was read"):
        read_regular(Path("/proc/self/status"), 1 << 20)


def test_a_folder_of_thousands_is_refused(tmp_path: Path) -> None:
    """A folder of photos given by mistake is told so."""
    for number in range(MAX_ENTRIES + 1):
        (tmp_path / str(number)).touch()
    with pytest.raises(BundleError, match="more than 4096 files"):
        FolderEntries(tmp_path).files("")


def test_a_zip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    """What a file is does not hang on its name."""
    (tmp_path / "export").write_bytes(zip_bytes({"a": b"1"}))
    assert b"1" == open_entries(tmp_path / "export").read("a", CAP)
    (tmp_path / "model.zip").write_bytes(MODEL)
    assert ("model.zip.tflite",) == open_entries(tmp_path / "model.zip").files("")


def _zip_with(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    "name", ["../model.tflite", "/model.tflite", "a/../../b", "C:/model.tflite", "..\\x"]
)
def test_a_zip_that_leads_out_is_refused_whole(name: str) -> None:
    """One such entry says that the archive is no export, even where it would not be read."""
    with pytest.raises(BundleError, match="unsafe"):
        ZipEntries(_zip_with((zipfile.ZipInfo("labels.txt"), b"a"), (zipfile.ZipInfo(name), b"x")), "z")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_zip_with_a_link_or_special_file_is_refused(kind: int) -> None:
    """Only files and folders are in an export."""
    entry = zipfile.ZipInfo("labels.txt")
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    with pytest.raises(BundleError, match="link or a special file"):
        ZipEntries(_zip_with((entry, b"/etc/passwd")), "z")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("labels.txt", "Labels.TXT"),
        ("a/../labels.txt", "labels.txt"),
        ("./labels.txt", "labels.txt"),
        ("app\\labels.txt", "app/labels.txt"),
        ("\u00e9.txt", "e\u0301.txt"),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_two_entries_for_one_name_are_refused(one: str, two: str) -> None:
    """Which of the two counts would depend on the reader, the system or the letter case."""
    with pytest.raises(BundleError, match=r"two entries are named|unsafe"):
        ZipEntries(_zip_with((zipfile.ZipInfo(one), b"1"), (zipfile.ZipInfo(two), b"2")), "z")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused() -> None:
    """Python's own reader would take the last one."""
    entries = (zipfile.ZipInfo("labels.txt"), b"1"), (zipfile.ZipInfo("labels.txt"), b"2")
    with pytest.raises(BundleError, match=r"two entries are named 'labels\.txt'"):
        ZipEntries(_zip_with(*entries), "z")


def test_an_encrypted_zip_is_refused() -> None:
    """There is nobody to ask for a password."""
    content = bytearray(_zip_with((zipfile.ZipInfo("labels.txt"), b"a")))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BundleError, match="encrypted"):
        ZipEntries(bytes(content), "z")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packing_is_refused(method: int) -> None:
    """LZMA may ask for gigabytes of dictionary."""
    with pytest.raises(BundleError, match="packed by method"):
        ZipEntries(zip_bytes({"a": b"1"}, method), "z")


def test_too_many_entries_are_refused() -> None:
    """A zip of a million empty files is no export."""
    with pytest.raises(BundleError, match="more than 4096"):
        ZipEntries(
            zip_bytes({str(number): b"" for number in range(MAX_ENTRIES + 1)}, zipfile.ZIP_STORED), "z"
        )


def test_a_bomb_is_refused_by_its_ratio() -> None:
    """Zeros pack a thousandfold; no model does. Small entries are let through."""
    with pytest.raises(BundleError, match="zip bomb"):
        ZipEntries(zip_bytes({"model.tflite": bytes(RATIO_EXEMPT_BYTES + 1)}), "z")
    small = ZipEntries(zip_bytes({"model.tflite": bytes(RATIO_EXEMPT_BYTES)}), "z")
    assert bytes(RATIO_EXEMPT_BYTES) == small.read("model.tflite", RATIO_EXEMPT_BYTES)
    assert MAX_RATIO < 1000


def _declaring(content: bytes, size: int, wanted_size: int) -> bytes:
    """The zip with one size replaced in its local and central headers."""
    return content.replace(size.to_bytes(4, "little"), wanted_size.to_bytes(4, "little"))


def test_a_zip_that_declares_too_much_is_refused() -> None:
    """The sum of declared sizes is known before anything is unpacked."""
    files = {f"{number}.bin": b"x" * 12345 for number in range(3)}
    content = _declaring(zip_bytes(files, zipfile.ZIP_STORED), 12345, (1 << 30))
    with pytest.raises(BundleError, match="unpacks to more than"):
        ZipEntries(content, "z")


def test_what_no_bundle_holds_is_not_read(tmp_path: Path) -> None:
    """A sparse file costs whoever made it nothing, and would cost the agent its memory."""
    with (tmp_path / "model.tflite").open("wb") as file:
        file.truncate(MAX_ARCHIVE_BYTES + 1)
    tracemalloc.start()
    with pytest.raises(BundleError, match="allowed; leave out"):
        open_entries(tmp_path / "model.tflite")
    assert 1 << 20 > tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_what_is_unpacked_is_held_once() -> None:
    """A model of 8 MB takes 8 MB, and the room for it to grow into."""
    size = 8 << 20
    entries = ZipEntries(zip_bytes({"model.tflite": os.urandom(size)}), "z")
    tracemalloc.start()
    content = entries.read("model.tflite", size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert content is not None
    assert size == len(content)
    assert 1.75 * size > peak


def test_a_zip_that_lies_about_a_size_is_refused() -> None:
    """What an entry holds is not trusted to be what its header declares."""
    content = _declaring(zip_bytes({"labels.txt": b"x" * 12345}), 12345, 99)
    with pytest.raises(BundleError):
        ZipEntries(content, "z").read("labels.txt", CAP)


def test_an_entry_above_its_cap_is_refused() -> None:
    """Caps are per file: labels are small, models are not."""
    with pytest.raises(BundleError, match="2000 bytes, more than the 1000 allowed"):
        ZipEntries(zip_bytes({"a": os.urandom(2000)}), "z").read("a", CAP)


def test_damaged_content_is_told() -> None:
    """The checksum of each entry is held against what was read."""
    content = zip_bytes({"labels.txt": b"apple"}, zipfile.ZIP_STORED).replace(b"apple", b"apply")
    with pytest.raises(BundleError, match="damaged zip"):
        ZipEntries(content, "z").read("labels.txt", CAP)


def test_a_zip_in_a_zip_is_only_a_file() -> None:
    """Nothing is unpacked that was not asked for."""
    archive = ZipEntries(zip_bytes({"inner.zip": zip_bytes({"model.tflite": b"m"})}, zipfile.ZIP_STORED), "z")
    assert ("inner.zip",) == archive.files("")
    assert () == archive.folders("")


def test_a_truncated_zip_is_told(tmp_path: Path) -> None:
    """A half-copied export says so."""
    content = zip_bytes(export_files())
    (tmp_path / "half.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=r"damaged zip: .*; copy it again"):
        open_entries(tmp_path / "half.zip")


WHOLE = zip_bytes(export_files())


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_mutated_zip_is_read_or_refused(data: st.DataObject) -> None:
    """No damage ends in anything but an answer or an EdgeAgentError."""
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    _read_all(bytes(content))


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_no_zip(content: bytes) -> None:
    """No bytes at all end in a traceback, with a zip's end appended neither."""
    _read_all(content)
    _read_all(content + WHOLE[-22:])


def _read_all(content: bytes) -> None:
    try:
        entries = ZipEntries(content, "z")
        for name in entries.files(""):
            entries.read(name, CAP)
    except EdgeAgentError:
        return


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_a_safe_name_or_refused(text: str) -> None:
    """A name that is let through never leads upwards or to the root."""
    try:
        name = relative_name(text, "here")
    except BundleError:
        return
    assert name
    assert not name.startswith("/")
    assert ".." not in name.split("/")
