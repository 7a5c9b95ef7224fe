"""Class names: out of a labels file or a model file's own appendix, and against the model's output."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections import Counter
from dataclasses import dataclass
from io import BytesIO

from edge_agent.bundle.archive import ZipEntries
from edge_agent.errors import BundleError, LabelsError
from edge_agent.tensors import TensorSpec

MAX_LABELS_BYTES = 4 << 20
MAX_LABELS = 100_000
"""The largest public classifiers have 21,843 classes."""

MAX_LABEL_LENGTH = 1024
"""Characters; the longest of ImageNet has 121. An MQTT topic has room for 65,535 bytes."""

DISTINCT_SHARE = 0.9
"""See :func:`parse_labels`; of ImageNet's 1001 names 1000 are distinct."""

_INDEXED = re.compile(r"(\d{1,9})(?:\s+|\s*:\s*)(\S.*)", re.ASCII)


@dataclass(frozen=True)
class Labels:
    """Class names in the order of the output, where they come from, what is odd about them."""

    names: tuple[str, ...]
    origin: str
    warnings: tuple[str, ...] = ()


def parse_labels(content: bytes, origin: str, *, plain: bool = False) -> Labels:
    """Class names from the bytes of a labels file in UTF-8, with or without BOM, LF, CRLF or CR.

    Two forms are met. *Plain*: line i is class i; Custom Vision writes only this one, so its exports are
    read with ``plain``. *Indexed* (Coral's older files): ``index label`` or ``index: label``; an index
    that is missing gets itself as its label. Lines that begin with numbers may be either (``2 euro``), so
    a file is indexed only where every line has the form, the first index is 0, the indices ascend, and
    without them at least nine in ten names are still distinct (``0 stars``, ``1 star``, ``2 stars`` is
    plain).

    White space around a name is dropped, and so are empty lines at the end; one in the middle would shift
    every class after it, and is refused. A name met twice is a warning (ImageNet has two cranes).

    Raises LabelsError.
    """
    lines = _lines(content, origin)
    indexed = None if plain else _indexed(lines, origin)
    names = tuple(lines) if indexed is None else indexed
    _refuse_strange(names, origin)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    warnings = []
    if repeated:
        warnings.append(
            f"{origin}: {len(repeated)} label(s) stand for several classes, such as {repeated[0]!r}"
        )
    return Labels(names, origin, tuple(warnings))


def _lines(content: bytes, origin: str) -> list[str]:
    """Stripped lines without the empty ones at the end."""
    if len(content) > MAX_LABELS_BYTES:
        raise LabelsError(f"{origin}: {len(content)} bytes, more than {MAX_LABELS_BYTES}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelsError(f"{origin} is not UTF-8 (byte {error.start})", "save it as UTF-8") from error
    lines = [line.strip(" \t") for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise LabelsError(f"{origin} holds no labels")
    if len(lines) > MAX_LABELS:
        raise LabelsError(f"{origin}: {len(lines)} labels, more than {MAX_LABELS}")
    return lines


def _indexed(lines: list[str], origin: str) -> tuple[str, ...] | None:
    """The names of the indexed form, None where the lines are not of it."""
    matches = [_INDEXED.fullmatch(line) for line in lines if line]
    by_index = {int(match[1]): match[2] for match in matches if match}
    if len(by_index) != len(matches) or next(iter(by_index)) != 0 or list(by_index) != sorted(by_index):
        return None
    if len(set(by_index.values())) < DISTINCT_SHARE * len(by_index):
        return None
    last = max(by_index)
    if last >= MAX_LABELS:
        raise LabelsError(f"{origin}: index {last}, more than {MAX_LABELS} labels")
    return tuple(by_index.get(index, str(index)) for index in range(last + 1))


def _refuse_strange(names: tuple[str, ...], origin: str) -> None:
    for number, name in enumerate(names, start=1):
        if not name:
            raise LabelsError(f"{origin}: line {number} is empty", "remove it: each line is one class")
        if len(name) > MAX_LABEL_LENGTH:
            raise LabelsError(f"{origin}: label {number} has {len(name)} characters")
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
            raise LabelsError(f"{origin}: label {number} has control characters: {name[:80]!r}")


def embedded_labels(model: bytes, model_name: str) -> Labels | None:
    """The labels that a model file carries (TFLite Metadata: a zip appended to it), None without.

    Of several text files the one with "label" in its name is taken. Raises LabelsError.
    """
    stream = BytesIO(model)
    if not zipfile.is_zipfile(stream):
        return None
    try:
        entries = ZipEntries(model, f"labels embedded in {model_name}")
        texts = [name for name in entries.files("") if name.lower().endswith(".txt")]
        if len(texts) > 1:
            texts = [name for name in texts if "label" in name.lower()]
        if len(texts) != 1:
            return None
        content = entries.read(texts[0], MAX_LABELS_BYTES)
    except BundleError as error:
        raise LabelsError(error.what, error.remedy) from error
    assert content is not None
    return parse_labels(content, f"{texts[0]} embedded in {model_name}")


def fit_labels(labels: Labels | None, output: TensorSpec) -> Labels:
    """The labels for an output of shape (1, C) or (C,): exactly C; the indices as text without any.

    Raises LabelsError naming both numbers and both places.
    """
    classes = output.shape[-1]
    place = f"output {output.name!r} {list(output.shape)}"
    if labels is None:
        warning = f"no labels: the {classes} classes of {place} are named by their index"
        return Labels(tuple(map(str, range(classes))), "no labels file: the index as text", (warning,))
    if len(labels.names) != classes:
        raise LabelsError(
            f"{labels.origin} has {len(labels.names)} labels, but the model's {place} has {classes} classes",
            "use the labels.txt that was exported with this model",
        )
    return labels
