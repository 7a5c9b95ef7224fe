"""What a model compiled for the Edge TPU says of itself, read without a runtime.

edgetpu_compiler puts a package into the options of each operator ``edgetpu-custom-op``: a FlatBuffer with the
identifier ``DWN1``. Its first field is the least runtime version of libedgetpu that may run it, its fifth the
compiler's own version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

EDGETPU_OPERATOR = b"edgetpu-custom-op"

_MARK = b"DWN1"
_MARK_AT = 4
"""Where the identifier stands in a FlatBuffer: behind the offset of its root table."""

_NEEDS_RUNTIME = 0
_COMPILER = 4
"""Fields of the table Package, by their number in libedgetpu's executable.fbs."""

_MAX_RUNTIME = 1000
"""Versions of 10 to 14 are all that there ever were; what is far from them is no package."""

_MAX_COMPILER = 64


@dataclass(frozen=True)
class Compiled:
    """``needs_runtime``: the least ``RuntimeVersion`` that libedgetpu must have; ``compiler``: its version.
    None where it cannot be read.
    """

    needs_runtime: int | None
    compiler: str | None


def read_compiled(model: bytes) -> Compiled:
    """What the packages in a ``*_edgetpu.tflite`` ask for, of several the most. Never raises."""
    packages = list(_packages(model))
    return Compiled(
        needs_runtime=max((needs for needs, _ in packages), default=None),
        compiler=next((compiler for _, compiler in packages if compiler), None),
    )


def _packages(model: bytes) -> Iterator[tuple[int, str | None]]:
    """Least runtime version and compiler of each package."""
    mark = model.find(_MARK)
    while mark >= 0:
        try:
            table = _Table(model, mark - _MARK_AT)
            needs = table.integer(_NEEDS_RUNTIME)
            if 0 < needs < _MAX_RUNTIME:
                yield needs, table.text(_COMPILER)
        except struct.error:
            pass  # four bytes of something else, or of a package cut short
        mark = model.find(_MARK, mark + len(_MARK))


class _Table:
    """The root table of the FlatBuffer that begins at ``start``. Everything raises struct.error outside of
    the bytes that there are.
    """

    def __init__(self, content: bytes, start: int) -> None:
        self._content = content
        self._at = start + self._unsigned(start)
        self._fields_at = self._at - self._signed(self._at)
        self._size = self._short(self._fields_at)

    def integer(self, field: int) -> int:
        """A signed 32-bit field; 0, as FlatBuffers have it, where it was left out."""
        at = self._field(field)
        return 0 if at is None else self._signed(at)

    def text(self, field: int) -> str | None:
        """A string; None where it was left out or says nothing (``cl/``, of builds outside Google)."""
        at = self._field(field)
        if at is None:
            return None
        at += self._unsigned(at)
        length = self._unsigned(at)
        raw = self._content[at + 4 : at + 4 + min(length, _MAX_COMPILER)]
        text = raw.decode("ascii", errors="replace").removeprefix("cl/")
        return text if text and text.isprintable() else None

    def _field(self, number: int) -> int | None:
        """Where the field stands."""
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return None
        offset = self._short(self._fields_at + entry)
        return self._at + offset if offset else None

    def _unsigned(self, at: int) -> int:
        return int(self._unpack("<I", at))

    def _signed(self, at: int) -> int:
        return int(self._unpack("<i", at))

    def _short(self, at: int) -> int:
        return int(self._unpack("<H", at))

    def _unpack(self, form: str, at: int) -> int:
        if at < 0:
            raise struct.error("before the beginning")  # struct itself would count from the end
        value: int = struct.unpack_from(form, self._content, at)[0]
        return value
