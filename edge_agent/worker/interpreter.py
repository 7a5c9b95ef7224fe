"""The runtime and one network in it: the only room that imports LiteRT or tflite_runtime.

Runs on Python 3.9, in the worker only.
"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from edge_agent.errors import InferenceError, ModelRefusedError, RuntimeMissingError, WorkerStartError
from edge_agent.tensors import Quantization, TensorSpec
from edge_agent.worker.protocol import GraphDescription, HeadOp

RUNTIMES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
"""Names in the configuration to packages, in the order that ``auto`` tries them."""

ELEMENTWISE = frozenset({"QUANTIZE", "DEQUANTIZE", "ADD", "SUB", "MUL", "DIV"})
"""Operators that an input convention may be built into the graph with."""

COMPILED_OPERATOR = "edgetpu-custom-op"
"""What edgetpu_compiler puts in the place of all that the Edge TPU runs."""

MAX_HEAD = 8
MAX_CONSTANT = 16
"""Elements: per-channel constants have 1, 3 or 4."""


@dataclass(frozen=True)
class Runtime:
    """A TensorFlow Lite runtime that could be imported."""

    name: str
    version: str
    module: Any

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def load_runtime(name: str) -> Runtime:
    """The runtime ``litert`` or ``tflite-runtime``, or with ``auto`` the first that imports.

    Raises RuntimeMissingError, its remedy naming the package.
    """
    wanted = list(RUNTIMES) if name == "auto" else [name]
    failures = []
    for each in wanted:
        try:
            module = importlib.import_module(RUNTIMES[each] + ".interpreter")
        except (ImportError, AttributeError) as error:
            # AttributeError: tflite-runtime beside numpy 2 (_ARRAY_API not found)
            failures.append(f"{each}: {error}")
            continue
        return Runtime(each, _version(each), module)
    package = {"tflite-runtime": "'tflite-runtime' 'numpy<2'"}.get(name, "ai-edge-litert")
    raise RuntimeMissingError(f"no TensorFlow Lite runtime ({'; '.join(failures)})", f"pip install {package}")


def _version(runtime: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version({"litert": "ai-edge-litert"}.get(runtime, runtime))
    except PackageNotFoundError:
        return "of unknown version"


def load_delegate(runtime: Runtime, library: str, options: Mapping[str, str]) -> Any:
    """Libedgetpu's delegate, with the device opened; ``options`` as its plugin takes them (``device``,
    ``Performance`` ...).

    Raises WorkerStartError: the library is missing, or it gives no device (it does not say why).
    """
    try:
        return runtime.module.load_delegate(library, dict(options))
    except OSError as error:
        raise WorkerStartError(
            f"{library} cannot be loaded ({error})", "install libedgetpu1-std from Coral or a fork of it"
        ) from error
    except ValueError as error:
        raise WorkerStartError(
            f"{library} opens no Edge TPU: {error}", "plug the stick in, or see `edge-agent doctor`"
        ) from error


class Network:
    """A model, loaded and allocated; one input and one output."""

    def __init__(self, runtime: Runtime, path: str, threads: int, delegate: Any = None) -> None:
        """Load ``path`` with ``threads`` threads, or for the device of ``delegate``.

        Raises ModelRefusedError in the runtime's words.
        """
        try:
            self._interpreter = runtime.module.Interpreter(
                model_path=path,
                num_threads=threads,
                experimental_delegates=[delegate] if delegate is not None else None,
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, MemoryError, TypeError) as error:
            raise ModelRefusedError(f"{runtime}: {error}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if not inputs or not outputs:
            raise ModelRefusedError(f"{runtime}: a model without input or output")
        self.input = _spec(inputs[0])
        self.output = _spec(outputs[0])
        self._input_view = self._interpreter.tensor(inputs[0]["index"])
        self._output_view = self._interpreter.tensor(outputs[0]["index"])

    def write(self, codes: memoryview) -> None:
        """Copy the codes of an input tensor, all its bytes, into the interpreter's own memory."""
        # A view that were kept would make the runtime refuse to run.
        memoryview(self._input_view()).cast("B")[:] = codes

    def invoke(self) -> int:
        """Run once; the time in ns. Raises InferenceError."""
        start = time.perf_counter_ns()
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise InferenceError(f"invoke: {error}") from error
        return time.perf_counter_ns() - start

    def output_bytes(self) -> bytes:
        """The output tensor's codes."""
        raw: bytes = self._output_view().tobytes()
        return raw


def describe(runtime: Runtime, path: str) -> GraphDescription:
    """What the graph is, read without optimising delegates so that it is the file's own. One that is compiled
    for the Edge TPU is read too, though it can't be allocated without one.

    Raises ModelRefusedError.
    """
    resolver = runtime.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = runtime.module.Interpreter(model_path=path, experimental_op_resolver_type=resolver)
        operators = interpreter._get_ops_details()
        op_counts = Counter(operator["op_name"] for operator in operators)
        if COMPILED_OPERATOR not in op_counts:
            interpreter.allocate_tensors()
        tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        head = _Head(interpreter, tensors, operators).walk(int(inputs[0]["index"]))
    except (ValueError, RuntimeError, MemoryError, TypeError, IndexError) as error:
        raise ModelRefusedError(f"{runtime}: {error}") from error
    return GraphDescription(
        runtime=str(runtime),
        inputs=tuple(_spec(detail) for detail in inputs),
        outputs=tuple(_spec(detail) for detail in outputs),
        head=tuple(head),
        op_counts=dict(op_counts),
    )


class _Head:
    """The elementwise operators that the input meets first, with their constants."""

    def __init__(self, interpreter: Any, tensors: Dict[int, Any], operators: List[Any]) -> None:
        self._interpreter = interpreter
        self._tensors = tensors
        self._operators = operators
        self._producers = {int(out): operator for operator in operators for out in operator["outputs"]}

    def walk(self, tensor: int) -> List[HeadOp]:
        """From ``tensor`` on, while exactly one elementwise operator takes it."""
        head: List[HeadOp] = []
        source = tensor
        while len(head) < MAX_HEAD:
            takers = [operator for operator in self._operators if tensor in operator["inputs"]]
            if len(takers) != 1 or takers[0]["op_name"] not in ELEMENTWISE:
                break
            others = [int(i) for i in takers[0]["inputs"] if int(i) not in (tensor, source)]
            constants = [values for values in map(self._constant, others) if values is not None]
            head.append(HeadOp(takers[0]["op_name"], constants))
            tensor = int(takers[0]["outputs"][0])
        return head

    def _constant(self, index: int) -> Optional[List[float]]:
        """The reals of a small constant, also behind a DEQUANTIZE (float16 weights)."""
        producer = self._producers.get(index)
        if producer is not None:
            if producer["op_name"] != "DEQUANTIZE":
                return None
            index = int(producer["inputs"][0])
        detail = self._tensors.get(index)
        if detail is None or np.prod(detail["shape"]) > MAX_CONSTANT:
            return None
        values = self._interpreter.get_tensor(index).ravel()
        quantization = _spec(detail).quantization
        if quantization is not None and values.dtype.kind in "iu":
            values = quantization.dequantize(values)
        return [float(value) for value in values]


def _spec(detail: Any) -> TensorSpec:
    """A TensorSpec from the runtime's description of a tensor."""
    scale, zero_point = detail["quantization"]
    shape: Tuple[int, ...] = tuple(int(size) for size in detail["shape"])
    return TensorSpec(
        name=str(detail["name"]),
        shape=shape,
        dtype=np.dtype(detail["dtype"]).name,
        quantization=Quantization(float(scale), int(zero_point)) if scale else None,
    )
