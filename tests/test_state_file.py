"""state_file.py: a small file that follows a value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edge_agent.state_file import AGAIN_S, Later, StateFile
from tests.fakes.clock import FakeClock


def kept(
    path: Path, later: Later = lambda work: work(), clock: FakeClock | None = None
) -> StateFile[list[int]]:
    """One that holds a list of integers, written at once if nothing else is said."""
    kind = TypeAdapter(list[int])
    return StateFile(path / "state" / "x.json", kind, later, clock or FakeClock(), "it is forgotten")


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    """By the next one too; None is nothing, and leaves no file."""
    file = kept(tmp_path)
    assert file.read() is None
    file.keep([1, 2])
    assert [1, 2] == file.read() == kept(tmp_path).read()
    file.keep(None)
    assert kept(tmp_path).read() is None


def test_the_last_value_wins_whichever_is_written_last(tmp_path: Path) -> None:
    """Threads end in any order."""
    works: list[Callable[[], None]] = []
    file = kept(tmp_path, works.append)
    file.keep([1])
    file.keep([2])
    assert kept(tmp_path).read() is None
    for work in reversed(works):
        work()
    assert [2] == kept(tmp_path).read()


def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    """A card wears out by writing; what was read was not changed either."""
    kept(tmp_path).keep([1])
    works: list[Callable[[], None]] = []
    file = kept(tmp_path, works.append)
    assert [1] == file.read()
    file.keep([1])
    assert [] == works
    file.keep([2])
    file.keep([2])
    assert 1 == len(works)


@pytest.mark.parametrize("content", [b"", b"{}", b'["x"]', b"\xff"])
def test_a_damaged_file_is_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    """One line says what goes without it, and the next value is kept as ever."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "x.json").write_bytes(content)
    file = kept(tmp_path)
    assert file.read() is None
    (line,) = caplog.messages
    assert line.endswith("it is damaged; it is forgotten")
    file.keep([1])
    assert [1] == kept(tmp_path).read()


def test_a_disk_that_refuses_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file in the way of the folder stands for it; once it is gone the next value is kept."""
    (tmp_path / "state").write_text("")
    file = kept(tmp_path)
    file.keep([1])
    (line,) = caplog.messages
    assert line.endswith("it is forgotten")
    (tmp_path / "state").unlink()
    file.keep([2])
    assert [2] == kept(tmp_path).read()


def test_a_disk_that_refused_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The value may stay the same for ever; the disk is left alone for a minute, and complained of once."""
    (tmp_path / "state").write_text("")
    clock, works = FakeClock(), list[Callable[[], None]]()
    file = kept(tmp_path, works.append, clock)
    for _ in range(2):
        file.keep([1])
        file.keep([1])
        assert 1 == len(works)
        works.pop()()
        clock.advance(AGAIN_S - 0.1)
        file.keep([1])
        assert [] == works
        clock.advance(0.1)
    assert 1 == len(caplog.messages)
    (tmp_path / "state").unlink()
    file.keep([1])
    works.pop()()
    assert [1] == kept(tmp_path).read()
    clock.advance(AGAIN_S)
    file.keep([1])
    assert [] == works
