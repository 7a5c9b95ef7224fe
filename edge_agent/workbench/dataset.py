"""Labelled images: a folder per label, or a CSV file that names them."""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import DatasetError
from edge_agent.images import IMAGE_SUFFIXES

HEADERS = frozenset({"path", "image", "file", "filename"})
"""A CSV file whose first cell is one of these begins with a header."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: where it lies, what it is called in the dataset, and the labels that are true of it."""

    path: Path
    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Images in the order of their names, from the folder or file ``path``; ``warnings`` say what is odd."""

    path: Path
    samples: tuple[Sample, ...]
    warnings: tuple[str, ...]

    def fingerprint(self) -> str:
        """Which images these are, as 64 hex digits: by name, size and time of change, not by content."""
        digest = hashlib.sha256()
        for sample in self.samples:
            try:
                found = sample.path.stat()
                state = (found.st_size, found.st_mtime_ns)
            except OSError:
                state = (-1, -1)
            digest.update(repr((os.fsencode(sample.name), state)).encode())
        return digest.hexdigest()


def read_dataset(path: Path) -> Dataset:
    """The dataset in a folder or a CSV file. Opens no image. Raises DatasetError."""
    try:
        dataset = _from_folder(path) if path.is_dir() else _from_csv(path)
    except OSError as error:
        where = error.filename or path
        raise DatasetError(
            f"cannot read {where}: {error.strerror}", "check the path and its permissions"
        ) from error
    if not dataset.samples:
        raise DatasetError(f"{path} holds no images", f"put some ({_suffixes()}) into a folder per label")
    return dataset


def _from_folder(root: Path) -> Dataset:
    """Each folder in it is a label; images may lie deeper. Hidden files and folders are nobody's images."""
    samples: list[Sample] = []
    strange: list[str] = []
    warnings: list[str] = []
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found = list(_images(entry, strange))
            if not found:
                warnings.append(f"the label folder {entry} holds no images")
            label = normal(entry.name)
            samples += [Sample(each, str(each.relative_to(root)), (label,)) for each in found]
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            raise DatasetError(
                f"{entry} lies in no label's folder", f"move it into one: {root}/<label>/{entry.name}"
            )
    if strange:
        warnings.append(f"{len(strange)} files are no images by their names, such as {strange[0]}")
    return Dataset(root, tuple(sorted(samples, key=lambda each: each.name)), tuple(warnings))


def _images(folder: Path, strange: list[str]) -> Iterator[Path]:
    """Files with an image's suffix, at any depth; the others' names are added to ``strange``."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _images(entry, strange)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            yield entry
        else:
            strange.append(str(entry))


def _from_csv(path: Path) -> Dataset:
    """``path,label[,label...]``, paths relative to the file; ``path,`` says that no label is true."""
    lines: dict[Path, int] = {}
    samples = []
    for number, cells in rows(path):
        name, labels = cells[0], tuple(normal(cell) for cell in cells[1:] if cell)
        image = path.parent / name
        known = lines.setdefault(image, number)
        if known != number:
            raise DatasetError(
                f"{path}: line {number}: {name} stands in line {known}, too", "keep one of them"
            )
        if len(cells) < 2:
            raise DatasetError(
                f"{path}: line {number} has no label", "write path,label: columns are separated by commas"
            )
        if len(set(labels)) < len(labels):
            raise DatasetError(f"{path}: line {number} names a label twice", "keep one of them")
        samples.append(Sample(image, name, labels))
    return Dataset(path, tuple(sorted(samples, key=lambda each: each.name)), ())


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and stripped cells of a CSV file in UTF-8, without its header and empty lines.

    Raises DatasetError, OSError.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            for first, row in enumerate(reader):
                cells = [cell.strip() for cell in row]
                if not any(cells) or (first == 0 and cells[0].casefold() in HEADERS):
                    continue
                if not cells[0] or "\0" in cells[0]:
                    raise DatasetError(f"{path}: line {reader.line_num} names no image", "write path,label")
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV in UTF-8: {error}", "save it as CSV, UTF-8") from error


def normal(label: str) -> str:
    """A label as labels are compared: macOS writes letters with accents as two characters."""
    return unicodedata.normalize("NFC", label)


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
