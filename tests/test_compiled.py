"""bundle/compiled.py: what a compiled model asks of libedgetpu."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bundle import runtime_needed
from tests.places import CORAL, need_data
from tests.sticks import LARGE, SMALL


def package(version: int, *, offset: int = 4, size: int = 6) -> bytes:
    """A FlatBuffer marked DWN1 whose root table has ``version`` as its first field."""
    fields_at, table = 8, 16
    content = struct.pack("<I4s", table, b"DWN1") + struct.pack("<HHH", size, 8, offset) + bytes(2)
    return content + struct.pack("<ii", table - fields_at, version)


@need_data
@pytest.mark.parametrize("path", [SMALL, LARGE], ids=lambda path: path.stem)
def test_corals_models_ask_for_runtime_12(path: Path) -> None:
    """As their compiler was told: they run on every libedgetpu of the last years."""
    assert 12 == runtime_needed(path.read_bytes())


@need_data
def test_a_model_that_is_not_compiled_asks_for_nothing() -> None:
    """There is no package in it."""
    assert None is runtime_needed((CORAL / "vww_96_int8.tflite").read_bytes())


def test_of_several_packages_the_most_counts() -> None:
    """Networks compiled together: one that libedgetpu refuses is enough."""
    assert 14 == runtime_needed(b"..." + package(13) + b"DWN1" + package(14) + package(10))


NO_PACKAGES = {
    "nothing": b"",
    "too early a mark": b"DWN1",
    "nothing behind the mark": b"....DWN1",
    "cut short": package(14)[:-1],
    "without its beginning": package(14)[4:],
    "a table far outside": b"\xff\xff\xff\xffDWN1" + bytes(64),
    "no fields": package(14, size=4),
    "the field left out": package(14, offset=0),
    "version 0": package(0),
    "version -3": package(-3),
    "version 1000": package(1000),
}


@pytest.mark.parametrize("content", NO_PACKAGES.values(), ids=NO_PACKAGES)
def test_what_is_no_package_asks_for_nothing(content: bytes) -> None:
    """Cut short, beside the mark, without the field, or with a version that never was."""
    assert None is runtime_needed(content)


@given(st.lists(st.one_of(st.binary(max_size=24), st.just(b"DWN1"), st.just(package(14)))))
def test_no_input_is_too_strange(pieces: list[bytes]) -> None:
    """Whatever the bytes: a version or None, never a traceback."""
    assert runtime_needed(b"".join(pieces)) in (None, *range(1, 1000))


@need_data
@given(st.integers(0, 9000), st.binary(min_size=1, max_size=64))
def test_a_damaged_model_is_read_all_the_same(at: int, damage: bytes) -> None:
    """A real package with bytes of it replaced."""
    content = _SMALL_HEAD[:at] + damage + _SMALL_HEAD[at + len(damage) :]
    assert runtime_needed(content) in (None, *range(1, 1000))


_SMALL_HEAD = SMALL.read_bytes()[:8192] if SMALL.exists() else b""
