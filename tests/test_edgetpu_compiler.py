"""edgetpu_compiler's log, and the program itself where it is installed: a stand-in is, here."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ConversionError
from edge_agent.workbench.edgetpu_compiler import compile_model, compiler_version, parse_log
from edge_agent.workbench.edgetpu_mapping import Verdict

LOG = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 1379 ms.

Input model: model.tflite
Input size: 4.41MiB
Output model: model_edgetpu.tflite
Output size: 5.49MiB
On-chip memory used for caching model parameters: 1.50MiB
On-chip memory remaining for caching model parameters: 1.75KiB
Off-chip memory used for streaming uncached model parameters: 512.00KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 29
Operation log: model_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 26
Number of operations that will run on CPU: 3

Operator                       Count      Status

CONV_2D                        26         Mapped to Edge TPU
QUANTIZE                       2          More than one subgraph is not supported
DEQUANTIZE                     1          Operation is working on an unsupported data type
"""


def stand_in(folder: Path, script: str) -> str:
    """A program in the compiler's place; called with -s -o FOLDER MODEL."""
    program = folder / "edgetpu_compiler"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_the_log_becomes_a_table() -> None:
    """Count, verdict and the compiler's own reason; the parameters on the chip and off it."""
    mapping = parse_log(LOG)
    assert [("CONV_2D", 26), ("QUANTIZE", 2), ("DEQUANTIZE", 1)] == [
        (row.operator, row.count) for row in mapping.rows
    ]
    assert (26, 0, 3) == tuple(map(mapping.count, Verdict))
    assert "Operation is working on an unsupported data type" == mapping.rows[2].reason
    assert 2 << 20 == mapping.parameters
    assert "16.0.384591198" == compiler_version(LOG)


def test_it_is_run_where_it_is_installed(tmp_path: Path) -> None:
    """What it wrote, and what it said."""
    (tmp_path / "log").write_text(LOG)
    program = stand_in(tmp_path, f"cat {tmp_path}/log; printf compiled > $3/model_edgetpu.tflite")
    compiled = compile_model(program, tmp_path / "model.tflite", tmp_path)
    assert (b"compiled", "16.0.384591198", 26) == (
        compiled.content,
        compiled.version,
        compiled.mapping.count(Verdict.MAPS),
    )


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo Edge TPU Compiler version 16.0; echo 'Invalid model: m.tflite'; exit 1",
            "Invalid model: m.tflite",
        ),
        ("echo 'Model not quantized'", "Model not quantized"),
        ("exit 1", "it said nothing"),
    ],
)
def test_its_failure_is_told_in_its_words(tmp_path: Path, script: str, told: str) -> None:
    """The telling line of its log; also where it says that all went well and wrote nothing."""
    with pytest.raises(ConversionError, match=told):
        compile_model(stand_in(tmp_path, script), tmp_path / "model.tflite", tmp_path)


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    """One for another machine, for instance."""
    with pytest.raises(ConversionError, match="cannot be started"):
        compile_model(str(tmp_path / "none"), tmp_path / "model.tflite", tmp_path)
