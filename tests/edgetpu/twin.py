"""Compute a compiled model's true scores with its CPU twin: the stand-in starts this and asks it.

The socket is standard input. It brings, as unsigned 64-bit numbers, the sizes of package, input and output,
then the package, then inputs; each is answered with an output. Ends with the socket, or with a traceback in
``twin.log``. Runs on Python 3.9, in the runtime that the asking process has loaded.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

RUNTIMES = ("ai_edge_litert", "tflite_runtime")


def main() -> None:
    """Answer until the socket ends."""
    folder = Path(sys.argv[1])
    sock = socket.socket(fileno=0)
    package_size, input_size, output_size = struct.unpack("=QQQ", receive(sock, 24))
    interpreter = open_twin(twin_of(receive(sock, package_size), folder))
    source = interpreter.get_input_details()[0]
    sink = interpreter.get_output_details()[0]
    if (input_size, output_size) != (nbytes(interpreter, source), nbytes(interpreter, sink)):
        sys.exit(f"the twin takes and gives other sizes than {input_size} and {output_size} bytes")
    while True:
        tensor = receive(sock, input_size)
        view = memoryview(interpreter.tensor(source["index"])()).cast("B")
        view[:] = tensor
        del view
        interpreter.invoke()
        sock.sendall(interpreter.get_tensor(sink["index"]).tobytes())


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; leaves the program where the socket ends."""
    content = bytearray()
    while len(content) < size:
        piece = sock.recv(size - len(content))
        if not piece:
            os._exit(0)
        content += piece
    return bytes(content)


def twin_of(package: bytes, folder: Path) -> str:
    """The CPU twin of the compiled file that holds this package."""
    for compiled, twin in json.loads((folder / "twins.json").read_text()):
        if package in Path(compiled).read_bytes():
            return str(twin)
    sys.exit(f"no twin is known for a package of {len(package)} bytes")


def open_twin(path: str) -> Any:
    """An interpreter of the runtime that the parent has loaded."""
    loaded = Path(f"/proc/{os.getppid()}/maps").read_text()
    for name in RUNTIMES:
        if f"/{name}/" in loaded:
            interpreter = importlib.import_module(f"{name}.interpreter").Interpreter(
                model_path=path, num_threads=1
            )
            interpreter.allocate_tensors()
            return interpreter
    sys.exit("the parent has loaded no known runtime")


def nbytes(interpreter: Any, detail: Any) -> int:
    """The size of a tensor."""
    return int(interpreter.tensor(detail["index"])().nbytes)


if __name__ == "__main__":
    main()
