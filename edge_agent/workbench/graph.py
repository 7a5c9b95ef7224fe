"""What a network consists of, in plain values: tensors, operators, sizes, multiplications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_agent.errors import BundleError
from edge_agent.workbench.tflite_file import (
    READ_FAILURES,
    dtype_name,
    operator_name,
    read_model,
    schema,
    text,
)

MAX_VALUES = 64
"""Elements of a constant that are kept: axes, paddings and shapes have fewer."""

EIGHT_BITS = frozenset({"int8", "uint8"})


@dataclass(frozen=True)
class Tensor:
    """One tensor.

    ``scales`` is () for reals, one for the whole, or one per channel. ``constant_bytes`` is 0 where it is
    computed; ``values`` are those of a small constant of int32 or int64, None of others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    constant_bytes: int = 0
    values: tuple[int, ...] | None = None

    @property
    def elements(self) -> int:
        """How many."""
        return math.prod(self.shape)

    @property
    def is_constant(self) -> bool:
        """Whether the file holds it."""
        return self.constant_bytes > 0


@dataclass(frozen=True)
class Operator:
    """One operator; ``inputs`` and ``outputs`` are numbers of tensors, absent optional inputs left out.

    ``activation`` is what is fused into it, "" for nothing; ``options`` the numbers of its options by name.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str = ""
    options: tuple[tuple[str, int], ...] = ()

    def option(self, name: str, otherwise: int = 0) -> int:
        """One of its options."""
        return dict(self.options).get(name, otherwise)


@dataclass(frozen=True)
class Graph:
    """The network of a file, operators in the order in which they run; ``size`` is the file's, in bytes."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    size: int

    def takes(self, operator: Operator) -> list[Tensor]:
        """An operator's inputs."""
        return [self.tensors[index] for index in operator.inputs]

    def gives(self, operator: Operator) -> list[Tensor]:
        """An operator's outputs."""
        return [self.tensors[index] for index in operator.outputs]

    def parameter_bytes(self, operator: Operator) -> int:
        """Of its constants; one that several operators share counts for each."""
        return sum(tensor.constant_bytes for tensor in self.takes(operator))

    @property
    def scheme(self) -> str:
        """How its numbers are kept: int8 (all of it), mixed, dynamic, float16 or float32."""
        moving = {
            self.tensors[index].dtype
            for operator in self.operators
            for index in (*operator.inputs, *operator.outputs)
            if not self.tensors[index].is_constant
        }
        kept = {tensor.dtype for tensor in self.tensors if tensor.is_constant}
        if moving <= EIGHT_BITS:
            return "int8"
        if moving & EIGHT_BITS:
            return "mixed"
        return "dynamic" if "int8" in kept else "float16" if "float16" in kept else "float32"

    @property
    def per_channel(self) -> bool:
        """Whether any tensor has a scale for each channel."""
        return any(len(tensor.scales) > 1 for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Bytes of all constants, each counted once."""
        return sum(tensor.constant_bytes for tensor in self.tensors)

    @property
    def macs(self) -> int:
        """Multiplications of one inference."""
        return sum(self.macs_of(operator) for operator in self.operators)

    def macs_of(self, operator: Operator) -> int:
        """Multiplications with weights; 0 for operators that have none."""
        takes, gives = self.takes(operator), self.gives(operator)
        if operator.name in ("CONV_2D", "FULLY_CONNECTED"):
            return gives[0].elements * math.prod(takes[1].shape[1:])
        if operator.name == "DEPTHWISE_CONV_2D":
            return gives[0].elements * math.prod(takes[1].shape[1:3])
        if operator.name == "TRANSPOSE_CONV":
            return takes[2].elements * math.prod(takes[1].shape[:3])
        return 0


def read_graph(content: bytes) -> Graph:
    """The graph of a ``.tflite`` file. Raises BundleError where it cannot be read, or has several."""
    model = read_model(content)
    if len(model.subgraphs or ()) != 1:
        raise BundleError(
            f"the model has {len(model.subgraphs or ())} graphs, not one",
            "export it without loops and conditions",
        )
    subgraph = model.subgraphs[0]
    try:
        graph = Graph(
            tensors=tuple(_tensor(model, tensor) for tensor in subgraph.tensors),
            operators=tuple(_operator(model, operator) for operator in subgraph.operators),
            inputs=_numbers(subgraph.inputs),
            outputs=_numbers(subgraph.outputs),
            size=len(content),
        )
        _check(graph)
    except READ_FAILURES as error:
        raise BundleError(f"the model's tables do not fit together: {error}", "copy it again") from error
    return graph


def _check(graph: Graph) -> None:
    """Raises IndexError where something names a tensor that is not there, or gives none."""
    for operator in graph.operators:
        graph.takes(operator)
        graph.gives(operator)[0]
        graph.macs_of(operator)


def _numbers(values: Sequence[int] | None) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)


def _tensor(model: Any, tensor: Any) -> Tensor:
    quantization = tensor.quantization
    scaled = quantization is not None and quantization.scale is not None
    shape, dtype = _numbers(tensor.shape), dtype_name(tensor.type)
    content = model.buffers[tensor.buffer].data
    size = 0 if content is None else len(content)
    values = None
    if size > 0 and dtype in ("int32", "int64") and math.prod(shape) <= MAX_VALUES:
        values = tuple(np.frombuffer(bytes(content), dtype).tolist())
    return Tensor(
        name=text(tensor.name),
        shape=shape,
        dtype=dtype,
        scales=tuple(float(scale) for scale in quantization.scale) if scaled else (),
        zero_point=int(quantization.zeroPoint[0]) if scaled and quantization.zeroPoint is not None else 0,
        constant_bytes=size,
        values=values,
    )


def _operator(model: Any, operator: Any) -> Operator:
    options = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
    return Operator(
        name=operator_name(model, operator),
        inputs=tuple(index for index in _numbers(operator.inputs) if index >= 0),
        outputs=_numbers(operator.outputs),
        activation=_activation(options.get("fusedActivationFunction", 0)),
        options=tuple((name, int(value)) for name, value in options.items() if isinstance(value, int)),
    )


def _activation(number: int) -> str:
    if number == 0:
        return ""
    names = vars(schema().ActivationFunctionType)
    return next((name for name, value in names.items() if value == number), str(number))
