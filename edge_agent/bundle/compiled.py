"""What a model compiled for the Edge TPU asks of libedgetpu, read without a runtime.

edgetpu_compiler puts a package into the options of each operator ``edgetpu-custom-op``: a FlatBuffer with
the identifier ``DWN1``. The first field of its root table is the least runtime version that may run it. (The
fifth would be the compiler's own version; in published models it is empty.)
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

EDGETPU_OPERATOR = b"edgetpu-custom-op"

_MARK = b"DWN1"
_MARK_AT = 4
"""Where the identifier stands in a FlatBuffer: behind the offset of its root table."""

_FIRST_FIELD_AT = 4
"""In the table of fields: behind its own size and that of the table it describes, two bytes each."""

_VERSIONS = range(1, 1000)
"""There were 10 to 14 so far; what is far from them is no package."""


def runtime_needed(model: bytes) -> int | None:
    """The least ``RuntimeVersion`` that libedgetpu must have for this ``*_edgetpu.tflite``.

    Of several packages the one that asks for the most counts; None where none can be read. Never raises.
    """
    return max((version for version in _versions(model) if version in _VERSIONS), default=None)


def _versions(model: bytes) -> Iterator[int]:
    """What each package asks for."""
    mark = model.find(_MARK)
    while mark >= 0:
        # The four bytes may be of something else, and a package may be cut short.
        with contextlib.suppress(struct.error):
            yield _first_field(model, mark - _MARK_AT)
        mark = model.find(_MARK, mark + len(_MARK))


def _first_field(content: bytes, start: int) -> int:
    """The first field, a signed 32-bit number, of the FlatBuffer at ``start``; 0 where it was left out.

    Raises struct.error where that would be outside of the bytes that there are.
    """
    table = start + _number("<I", content, start)
    fields = table - _number("<i", content, table)
    if _number("<H", content, fields) < _FIRST_FIELD_AT + 2:
        return 0
    offset = _number("<H", content, fields + _FIRST_FIELD_AT)
    return _number("<i", content, table + offset) if offset else 0


def _number(form: str, content: bytes, at: int) -> int:
    if at < 0:
        raise struct.error("before the beginning")  # struct itself would count from the end
    value: int = struct.unpack_from(form, content, at)[0]
    return value
