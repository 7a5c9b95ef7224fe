"""A worker without a runtime: born in some ten milliseconds, where a real one takes three hundred.

It stands in for ``inference.python`` as ``tests.faults.worker`` does, says that it is ready with one network,
``vww``, and answers every request with zeros, until its socket ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """#!{python} -IS
import os, struct, sys
socket = int(sys.argv[2].partition("=")[2])
os.write(socket, {ready!r})
while request := os.read(socket, 27):
    os.write(socket, struct.pack("=IIQQ", 3, 2, struct.unpack_from("=IIQQ", request)[2], 1) + bytes(2))
"""

_READY = (
    b'{"kind": "ready", "runtime": "none", "load_ms": 1, "networks": {"vww": {"warm_ms": 1,'
    b' "input": {"name": "input", "shape": [1, 96, 96, 3], "dtype": "int8", "quantization": null},'
    b' "output": {"name": "output", "shape": [1, 2], "dtype": "int8", "quantization": null}}}}'
)


def slim_python(folder: Path) -> str:
    """A program whose workers are slim."""
    head = (1).to_bytes(4, sys.byteorder) + len(_READY).to_bytes(4, sys.byteorder) + bytes(16)
    program = folder / "python-slim"
    program.write_text(_PROGRAM.format(python=sys.executable, ready=head + _READY))
    program.chmod(0o755)
    return str(program)
