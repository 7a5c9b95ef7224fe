"""What was answered so far, on the disk: an evaluation that ends early goes on from there.

A file of one header line and records of one length, appended as answers come. A record that was cut off, or
is not what was written, ends what is believed; the rest is asked again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from edge_agent.errors import EvaluationError

_DEVICES = ("cpu", "edgetpu")


@dataclass(frozen=True)
class Answer:
    """What the model said of one image, by its place in the dataset; ``scores`` are (labels,)."""

    image: int
    device: str
    preprocess_ms: float
    inference_ms: float
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """What it said of some images, in their order: (images,) each, ``scores`` (images, labels)."""

    images: npt.NDArray[np.int64]
    preprocess_ms: npt.NDArray[np.float64]
    inference_ms: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    devices: tuple[str, ...]


class Journal:
    """Of one evaluation of a model with so many labels. One thread uses it."""

    def __init__(self, file: BinaryIO, name: str, key: str, labels: int) -> None:
        """Go on where the file ends; it is emptied where it is another evaluation's. ``name`` is for errors.

        Raises OSError.
        """
        self._file = file
        self._name = name
        self._record = np.dtype(
            [
                ("image", "<u4"),
                ("device", "<u1"),
                ("preprocess_ms", "<f8"),
                ("inference_ms", "<f8"),
                ("scores", "<f4", (labels,)),
                ("crc", "<u4"),
            ]
        )
        self._header = f"edge-agent evaluation 1 {key}\n".encode()
        self._believe_what_is_whole()

    @classmethod
    def at(cls, path: Path, key: str, labels: int) -> Self:
        """The journal in that file, which nobody else may use meanwhile. Raises EvaluationError."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as opened:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                file = opened.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                journal = cls(file, str(path), key, labels)
                opened.pop_all()
                return journal
        except BlockingIOError as error:
            raise EvaluationError(
                f"another evaluation writes {path}", "wait for it, or name another folder with -o"
            ) from error
        except OSError as error:
            raise _cannot_write(path, error) from error

    @classmethod
    def temporary(cls, labels: int) -> Self:
        """One that nobody can go on with. Raises EvaluationError."""
        try:
            return cls(tempfile.TemporaryFile("w+b", buffering=0), tempfile.gettempdir(), "", labels)
        except OSError as error:
            raise _cannot_write(tempfile.gettempdir(), error) from error

    def answered(self) -> frozenset[int]:
        """The images that need not be asked again."""
        return frozenset(self._records()["image"].tolist())

    def append(self, answer: Answer) -> None:
        """Keep an answer. Raises EvaluationError."""
        record = np.zeros((), self._record)
        record["image"], record["device"] = answer.image, _DEVICES.index(answer.device)
        record["preprocess_ms"], record["inference_ms"] = answer.preprocess_ms, answer.inference_ms
        record["scores"] = answer.scores
        record["crc"] = _crc(record.tobytes())
        try:
            if self._file.write(record.tobytes()) < self._record.itemsize:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise _cannot_write(self._name, error) from error

    def read(self) -> Answers:
        """All that was answered."""
        records = self._records()
        _, firsts = np.unique(records["image"], return_index=True)
        chosen = records[firsts]
        return Answers(
            chosen["image"].astype(np.int64),
            chosen["preprocess_ms"],
            chosen["inference_ms"],
            chosen["scores"],
            tuple(_DEVICES[each] for each in np.unique(chosen["device"])),
        )

    def close(self) -> None:
        """Leave it as it is."""
        self._file.close()

    def _records(self) -> npt.NDArray[np.void]:
        self._file.seek(len(self._header))
        return np.frombuffer(self._file.read(), self._record)

    def _believe_what_is_whole(self) -> None:
        self._file.seek(0)
        if self._file.read(len(self._header)) != self._header:
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(self._header)
        size = self._record.itemsize
        whole = 0
        while len(content := self._file.read(size)) == size and _is_whole(content):
            whole += 1
        end = len(self._header) + whole * size
        self._file.truncate(end)
        self._file.seek(end)


def _is_whole(content: bytes) -> bool:
    return int.from_bytes(content[-4:], "little") == _crc(content)


def _crc(content: bytes) -> int:
    """Of all but the last four bytes, which hold it."""
    return zlib.crc32(content[:-4])


def _cannot_write(path: object, error: OSError) -> EvaluationError:
    return EvaluationError(f"cannot write {path}: {error.strerror}", "name a folder with room with -o")
