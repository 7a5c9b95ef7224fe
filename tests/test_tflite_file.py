"""Model files read as Python objects: written back they are the same network, and damage is one line."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from edge_agent.errors import BundleError, ConversionError
from edge_agent.workbench.convert.plain import plain_float
from edge_agent.workbench.edgetpu_mapping import predict
from edge_agent.workbench.graph import read_graph
from edge_agent.workbench.tflite_file import read_model, write_model
from tests.places import CORAL, CUSTOM_VISION, need_data

pytestmark = need_data

EXPORT = CUSTOM_VISION / "apple_orange" / "model.tflite"
TABLES = 70_000
"""Bytes at the end of the export that hold its tables; the constants stand before."""


def damaged(content: bytes, rounds: int) -> Iterator[bytes]:
    """The file with three bytes changed, most of them in its tables."""
    chance = random.Random(1)
    for _ in range(rounds):
        changed = bytearray(content)
        for _ in range(3):
            start, end = (len(changed) - TABLES, len(changed)) if chance.random() < 0.8 else (8, 2000)
            changed[chance.randrange(start, end)] = chance.randrange(256)
        yield bytes(changed)


@pytest.mark.parametrize("name", ["vww_96_int8", "mobilenet_v1_0.25_128_quant"])
def test_what_is_written_is_what_was_read(name: str) -> None:
    """Operators, tensors, constants; but for its size, which depends on who wrote it."""
    content = (CORAL / f"{name}.tflite").read_bytes()
    before, after = read_graph(content), read_graph(write_model(read_model(content)))
    assert before.operators == after.operators
    assert before.tensors == after.tensors


def test_damage_is_told_in_words() -> None:
    """Whatever it hits: either the file is still one, or an error of ours says that it is not."""
    refused = 0
    for content in damaged(EXPORT.read_bytes(), 60):
        try:
            predict(read_graph(content))
            plain_float(content)
        except (BundleError, ConversionError):
            refused += 1
    assert 20 < refused < 60


def test_a_file_that_was_cut_off_is_refused() -> None:
    """At whatever place."""
    content = (CORAL / "vww_96_int8.tflite").read_bytes()
    for end in range(0, len(content) - 1000, len(content) // 20):
        with pytest.raises(BundleError, match=r"TensorFlow Lite model|do not fit together"):
            read_graph(content[:end])
