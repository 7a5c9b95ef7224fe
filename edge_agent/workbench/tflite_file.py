"""A ``.tflite`` file as the objects of its FlatBuffers schema: the only room that imports the schema.

Only Python reads here, and damage is an error in words; no runtime meets the file.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np

from edge_agent.errors import BundleError

MARK = b"TFL3"

READ_FAILURES = (
    struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
    MemoryError, AssertionError,
)  # fmt: skip
"""What the generated readers raise on bytes that are no such file, and whoever believes what they read."""


def schema() -> Any:
    """The module that LiteRT ships of the schema; it has nothing of the runtime."""
    # Not at the top: it takes longer to import than most commands that may never need it.
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def read_model(content: bytes) -> Any:
    """The ModelT of a file. Raises BundleError where it is none that could be read."""
    if content[4:8] != MARK:
        raise BundleError("no TensorFlow Lite model", "copy it again")
    try:
        model = schema().ModelT.InitFromObj(schema().Model.GetRootAs(bytearray(content), 0))
        for buffer in model.buffers:
            _bring_in(buffer, content)
    except READ_FAILURES as error:
        raise BundleError("no readable TensorFlow Lite model", "copy it again") from error
    return model


def _bring_in(buffer: Any, content: bytes) -> None:
    """Larger constants may stand behind the tables, where nothing but their place is said in them."""
    if buffer.data is None and buffer.offset > 1:
        if buffer.offset + buffer.size > len(content):
            raise ValueError("a constant is cut off")
        buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0


def write_model(model: Any) -> bytes:
    """The file of a ModelT."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), MARK)
    return bytes(builder.Output())


def operator_name(model: Any, operator: Any) -> str:
    """``CONV_2D``, or the name of a custom operator."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Files before 2020 know only the older field, and newer ones keep 127 there for what it cannot hold.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema().BuiltinOperator.CUSTOM:
        return text(code.customCode)
    return _operator_names().get(number, f"OPERATOR_{number}")


def dtype_name(number: int) -> str:
    """What numpy calls a tensor's element type, as far as numpy has it."""
    return _dtype_names().get(number, f"type {number}")


def text(value: Any) -> str:
    """A name of the file; the generated readers give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


@cache
def _operator_names() -> dict[int, str]:
    return {number: name for name, number in vars(schema().BuiltinOperator).items() if name[0] != "_"}


@cache
def _dtype_names() -> dict[int, str]:
    return {number: name.lower() for name, number in vars(schema().TensorType).items() if name[0] != "_"}
