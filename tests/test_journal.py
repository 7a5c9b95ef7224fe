"""edge_agent.workbench.journal: what was answered survives, and nothing else does."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import EvaluationError
from edge_agent.workbench.journal import Answer, Journal

LABELS = 3
KEY = "ab" * 32


def answer(image: int) -> Answer:
    """One that is like no other image's."""
    scores = np.array([image / 7, 1 / 3, 0.5], np.float32)
    return Answer(image, "edgetpu" if image % 2 else "cpu", image / 10, image / 100, scores)


def written(path: Path, images: Iterable[int]) -> Path:
    """A journal that was closed."""
    with closing(Journal.at(path, KEY, LABELS)) as journal:
        for image in images:
            journal.append(answer(image))
    return path


def test_answers_come_back_bit_by_bit(tmp_path: Path) -> None:
    """In the images' order, in whichever they came."""
    path = written(tmp_path / "new" / "a.journal", (5, 0, 3))
    with closing(Journal.at(path, KEY, LABELS)) as journal:
        answers = journal.read()
        assert {0, 3, 5} == journal.answered()
    assert [0, 3, 5] == answers.images.tolist()
    assert ("cpu", "edgetpu") == answers.devices
    assert [0.0, 0.3, 0.5] == answers.preprocess_ms.tolist()
    assert [0.0, 0.03, 0.05] == answers.inference_ms.tolist()
    assert [answer(image).scores.tolist() for image in (0, 3, 5)] == answers.scores.tolist()


def test_a_journal_that_was_cut_anywhere(tmp_path: Path) -> None:
    """What is whole is believed, what was being written is asked again, and it goes on behind."""
    whole = written(tmp_path / "whole", range(3)).read_bytes()
    path = tmp_path / "cut"
    known = set()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with closing(Journal.at(path, KEY, LABELS)) as journal:
            before = journal.answered()
            journal.append(answer(9))
            assert before | {9} == journal.answered()
        assert before == set(range(len(before)))
        known.add(len(before))
    assert {0, 1, 2} == known


def test_a_damaged_record_ends_what_is_believed(tmp_path: Path) -> None:
    """A disk that lies costs answers, never wrong ones."""
    path = written(tmp_path / "a", range(3))
    content = bytearray(path.read_bytes())
    size = (len(content) - content.index(b"\n") - 1) // 3
    content[-size - 10] ^= 1
    path.write_bytes(content)
    with closing(Journal.at(path, KEY, LABELS)) as journal:
        assert {0} == journal.answered()


def test_another_evaluations_journal(tmp_path: Path) -> None:
    """Of another model, dataset or device: begun anew."""
    path = written(tmp_path / "a", range(3))
    with closing(Journal.at(path, "cd" * 32, LABELS)) as journal:
        assert set() == journal.answered()


def test_two_evaluations_at_once(tmp_path: Path) -> None:
    """The second is refused, for they would write into each other's records."""
    with closing(Journal.at(tmp_path / "a", KEY, LABELS)), pytest.raises(EvaluationError) as refusal:
        Journal.at(tmp_path / "a", KEY, LABELS)
    expected = f"another evaluation writes {tmp_path}/a; wait for it, or name another folder with -o"
    assert expected == str(refusal.value)


def test_a_full_disk(tmp_path: Path) -> None:
    """One line, and half a record is not believed: here a file may not grow by more than half of one."""
    path = written(tmp_path / "a", range(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(Journal.at(path, KEY, LABELS)) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
        try:
            with pytest.raises(EvaluationError, match=rf"cannot write {path}: No space left .*; name "):
                journal.append(answer(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with closing(Journal.at(path, KEY, LABELS)) as journal:
        assert {0, 1} == journal.answered()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match=r"cannot write .*/file/a: .*; name a folder with room with -o"):
        Journal.at(tmp_path / "file" / "a", KEY, LABELS)
