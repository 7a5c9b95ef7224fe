"""Google's ``edgetpu_compiler``: proprietary, for x86-64 alone, and so often not there."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge_agent.child import ask
from edge_agent.errors import ConversionError
from edge_agent.workbench.edgetpu_mapping import Mapping, Row, Verdict

PROGRAM = "edgetpu_compiler"
TIMEOUT_S = 600.0
"""It has a limit of its own of 180 s for each try."""

_ROW = re.compile(r"^([A-Z][A-Z0-9_]*)\s+([0-9]+)\s+(\S.*?)\s*$", re.MULTILINE)
_SIZE = re.compile(r"^(On-chip|Off-chip) memory used for [a-z ]+: ([0-9.]+)(B|KiB|MiB)$", re.MULTILINE)
_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)$", re.MULTILINE)
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_MAPPED = "Mapped to Edge TPU"


@dataclass(frozen=True)
class Compiled:
    """What came out: the ``*_edgetpu.tflite``, and what the compiler's log says of it."""

    content: bytes
    version: str
    mapping: Mapping


def find_compiler() -> str | None:
    """Its path, None where it is not installed."""
    return shutil.which(PROGRAM)


def command_elsewhere(model: str) -> str:
    """What to type where it is installed."""
    return f"{PROGRAM} -s {model}"


def compile_model(program: str, model: Path, folder: Path) -> Compiled:
    """Compile ``model`` into ``folder``. Raises ConversionError in the compiler's words."""
    try:
        said = ask([program, "-s", "-o", str(folder), str(model)], TIMEOUT_S)
    except OSError as error:
        raise ConversionError(f"{program} cannot be started: {error.strerror}", "install it again") from error
    except subprocess.TimeoutExpired as error:
        raise ConversionError(
            f"{program} was not done after {TIMEOUT_S:.0f} s", "use a smaller network"
        ) from error
    log = said.stdout.decode("utf-8", "replace") + said.stderr.decode("utf-8", "replace")
    made = folder / f"{model.stem}_edgetpu.tflite"
    if said.returncode != 0 or not made.is_file():
        raise ConversionError(f"{PROGRAM} failed: {_complaint(log)}", "see which operators the table doubts")
    return Compiled(made.read_bytes(), compiler_version(log), parse_log(log))


def compiler_version(log: str) -> str:
    """The version that a log names, "unknown" where it names none."""
    found = _VERSION.search(log)
    return found[1] if found else "unknown"


def parse_log(log: str) -> Mapping:
    """The table of operators that ``edgetpu_compiler -s`` prints, and the bytes of parameters."""
    rows = [
        Row(name, int(count), Verdict.MAPS, "")
        if status == _MAPPED
        else Row(name, int(count), Verdict.CPU, status)
        for name, count, status in _ROW.findall(log)
    ]
    return Mapping(
        tuple(rows), sum(int(float(number) * _UNITS[unit]) for _, number, unit in _SIZE.findall(log))
    )


def _complaint(log: str) -> str:
    """Its most telling line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if re.search("error|failed|invalid|not quantized", line, re.IGNORECASE)]
    return (telling or lines or ["it said nothing"])[0]
