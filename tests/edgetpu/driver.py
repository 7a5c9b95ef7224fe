"""Use an Edge TPU delegate as a worker would, a step at a time: a test orders the steps.

Each line of standard input is a JSON list, ``[step, argument ...]``; each is answered by a line,
``{"ok": value}`` or ``{"error": [type, text]}``. Runs on Python 3.9, with whichever runtime there is.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
from typing import Any

import numpy as np


def load_runtime() -> Any:
    """LiteRT or tflite-runtime."""
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError:
        return importlib.import_module("tflite_runtime.interpreter")


class Device(ctypes.Structure):
    """``struct edgetpu_device``."""

    _fields_ = [("type", ctypes.c_int), ("path", ctypes.c_char_p)]


class Steps:
    """What can be ordered; every step's value goes out as JSON."""

    def __init__(self) -> None:
        self._runtime = load_runtime()
        self._delegate: Any = None
        self._interpreter: Any = None

    def load(self, library: str, options: dict[str, str]) -> int:
        """load_delegate; the pid."""
        self._delegate = self._runtime.load_delegate(library, options)
        return os.getpid()

    def construct(self, model: str) -> None:
        """An interpreter with the delegate, or without one where none was loaded."""
        delegates = [self._delegate] if self._delegate is not None else []
        self._interpreter = self._runtime.Interpreter(model_path=model, experimental_delegates=delegates)

    def allocate(self) -> list[int]:
        """allocate_tensors; the input's shape."""
        self._interpreter.allocate_tensors()
        return [int(size) for size in self._interpreter.get_input_details()[0]["shape"]]

    def invoke(self, seed: int) -> list[int]:
        """The scores of a random picture."""
        detail = self._interpreter.get_input_details()[0]
        self._interpreter.set_tensor(detail["index"], picture(seed, detail["shape"]))
        self._interpreter.invoke()
        scores = self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])
        return [int(score) for score in scores.ravel()]

    def close(self) -> None:
        """Let interpreter and delegate go."""
        self._interpreter = None
        self._delegate = None

    def devices(self, library: str) -> list[list[Any]]:
        """edgetpu_list_devices."""
        functions = ctypes.CDLL(library)
        functions.edgetpu_list_devices.restype = ctypes.POINTER(Device)
        functions.edgetpu_free_devices.argtypes = [ctypes.POINTER(Device)]
        count = ctypes.c_size_t(99)
        devices = functions.edgetpu_list_devices(ctypes.byref(count))
        found = [[devices[i].type, devices[i].path.decode()] for i in range(count.value)]
        functions.edgetpu_free_devices(devices)
        return found

    def create(self, library: str, kind: int, path: str | None, option: list[str]) -> bool:
        """edgetpu_create_delegate and edgetpu_free_delegate; whether there was a delegate."""
        functions = ctypes.CDLL(library)
        functions.edgetpu_create_delegate.restype = ctypes.c_void_p
        functions.edgetpu_free_delegate.argtypes = [ctypes.c_void_p]
        options = (ctypes.c_char_p * 2)(*(text.encode() for text in option))
        name = None if path is None else path.encode()
        delegate = functions.edgetpu_create_delegate(kind, name, options, ctypes.c_size_t(len(option) // 2))
        if delegate is not None:
            functions.edgetpu_free_delegate(delegate)
        return delegate is not None

    def version(self, library: str) -> str:
        """edgetpu_version."""
        functions = ctypes.CDLL(library)
        functions.edgetpu_version.restype = ctypes.c_char_p
        functions.edgetpu_verbosity(10)
        return str(functions.edgetpu_version().decode())


def picture(seed: int, shape: Any) -> np.ndarray:
    """Noise of uint8; the same for the same seed everywhere."""
    return np.random.RandomState(seed).randint(0, 256, tuple(shape)).astype(np.uint8)


def main() -> None:
    """Do what is ordered until the input ends."""
    steps = Steps()
    for line in sys.stdin:
        step, *arguments = json.loads(line)
        try:
            answer = {"ok": getattr(steps, step)(*arguments)}
        except (ValueError, RuntimeError, OSError) as error:
            answer = {"error": [type(error).__name__, str(error)]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
