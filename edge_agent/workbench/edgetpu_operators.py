"""The table of operators that Coral publishes for the Edge TPU, and the limits that it names.

After "TensorFlow models on the Edge TPU", runtime version 14 (compiler 16, the last one). What the table
calls possible the compiler may still refuse; the doubtful ones are marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.workbench.graph import Graph, Operator

MAX_SOFTMAX = 16_000
"""Elements, all in one row."""


@dataclass(frozen=True)
class Finding:
    """Why an operator does not map, or (``doubt``) may not; the remedy, "" where there is none."""

    reason: str
    fix: str = ""
    doubt: bool = False


Rule = Callable[[Graph, Operator], Finding | None]


def _anything(graph: Graph, operator: Operator) -> Finding | None:  # noqa: ARG001
    return None


def _no_activation(graph: Graph, operator: Operator) -> Finding | None:  # noqa: ARG001
    if operator.activation:
        return Finding(f"{operator.activation} is fused into it", "make the activation a layer of its own")
    return None


def _dilation(graph: Graph, operator: Operator) -> Finding | None:  # noqa: ARG001
    height, width = (operator.option(f"dilation{side}Factor", 1) for side in "HW")
    return Finding(f"dilation {height} x {width}", "dilate both alike") if height != width else None


def _concatenation(graph: Graph, operator: Operator) -> Finding | None:
    if any(tensor.is_constant for tensor in graph.takes(operator)):
        return Finding("it joins a constant", "pad with zeros instead", doubt=True)
    return _no_activation(graph, operator)


def _softmax(graph: Graph, operator: Operator) -> Finding | None:
    tensor = graph.takes(operator)[0]
    if tensor.elements != tensor.shape[-1] or tensor.elements > MAX_SOFTMAX:
        return Finding(f"{list(tensor.shape)} is not one row of at most {MAX_SOFTMAX}")
    return None


def _axes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """The axes that an operator names in its second input, counted from the front."""
    takes = graph.takes(operator)
    named = (takes[1].values or ()) if len(takes) > 1 else ()
    return tuple(axis % max(len(takes[0].shape), 1) for axis in named)


def _reduction(graph: Graph, operator: Operator) -> Finding | None:
    shape, axes = graph.takes(operator)[0].shape, _axes(graph, operator)
    if 0 in axes and shape[0] != 1:
        return Finding("it reduces the batch")
    if operator.name == "MEAN" and len(shape) - 1 in axes and shape[-1] % 4:
        return Finding(f"it reduces {shape[-1]} channels", "a multiple of 4 would map")
    return None


def _padding(graph: Graph, operator: Operator) -> Finding | None:
    paddings = graph.takes(operator)[1].values or ()
    return Finding("it pads the batch") if any(paddings[:2]) else None


def _not_the_batch(graph: Graph, operator: Operator) -> Finding | None:
    axis = operator.option("axis", -1)
    if operator.name == "SPLIT":
        axis = (graph.takes(operator)[0].values or (-1,))[0]
    return Finding("it works on the batch") if axis == 0 else None


def _prelu(graph: Graph, operator: Operator) -> Finding | None:
    alpha = graph.takes(operator)[1]
    if alpha.elements != alpha.shape[-1]:
        return Finding("its alpha differs by place", "share it over height and width (shared_axes=[1, 2])")
    return None


def _strided_slice(graph: Graph, operator: Operator) -> Finding | None:
    strides = graph.takes(operator)[-1].values or ()
    if (
        any(stride != 1 for stride in strides)
        or operator.option("ellipsisMask")
        or operator.option("newAxisMask")
    ):
        return Finding("only strides of 1 map, without new axes")
    return None


def _resize(graph: Graph, operator: Operator) -> Finding | None:  # noqa: ARG001
    return Finding("depends on its sizes: kept off where precision would be lost", doubt=True)


def _reshape(graph: Graph, operator: Operator) -> Finding | None:
    """One that only adds or drops sides of 1 moves nothing."""
    before, after = graph.takes(operator)[0].shape, graph.gives(operator)[0].shape
    if [side for side in before if side != 1] == [side for side in after if side != 1]:
        return None
    if rows_of(after) == 1:
        return None
    return Finding("it regroups what it is given: some reshapes do not map", doubt=True)


def rows_of(shape: tuple[int, ...]) -> int:
    """Rows of a tensor: its elements by those of its last side. One row is what a flattening gives."""
    rows = 1
    for side in shape[:-1]:
        rows *= side
    return rows


def _transpose(graph: Graph, operator: Operator) -> Finding | None:  # noqa: ARG001
    return Finding("needs compiler 16 (runtime 14), and not every order maps", doubt=True)


def _squeeze(graph: Graph, operator: Operator) -> Finding | None:
    shape = [side for side in graph.takes(operator)[0].shape if side != 1]
    return Finding("it would have to move data") if len(shape) > 3 else None


OPERATORS: dict[str, Rule] = {
    "ADD": _anything, "AVERAGE_POOL_2D": _no_activation, "CONCATENATION": _concatenation,
    "CONV_2D": _dilation, "DEPTHWISE_CONV_2D": _dilation, "EXPAND_DIMS": _anything,
    "FULLY_CONNECTED": _anything, "L2_NORMALIZATION": _anything, "LOGISTIC": _anything,
    "MAXIMUM": _anything, "MAX_POOL_2D": _no_activation, "MEAN": _reduction, "MINIMUM": _anything,
    "MUL": _anything, "PACK": _not_the_batch, "PAD": _padding, "PRELU": _prelu, "QUANTIZE": _anything,
    "REDUCE_MAX": _reduction, "REDUCE_MIN": _reduction, "RELU": _anything, "RELU6": _anything,
    "RELU_N1_TO_1": _anything, "RESHAPE": _reshape, "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize, "RSQRT": _anything, "SLICE": _anything, "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _anything, "SPLIT": _not_the_batch, "SQUARED_DIFFERENCE": _anything,
    "SQUEEZE": _squeeze, "STRIDED_SLICE": _strided_slice, "SUB": _anything, "SUM": _reduction,
    "TANH": _anything, "TRANSPOSE": _transpose, "TRANSPOSE_CONV": _anything,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _anything,
}  # fmt: skip
"""What the Edge TPU has, and what keeps one of them off it nevertheless."""

FIXES = {
    "LEAKY_RELU": "use ReLU or ReLU6 instead of LeakyReLU, and train again",
    "ELU": "use ReLU instead of ELU, and train again",
    "GELU": "use ReLU instead of GELU, and train again",
    "HARD_SWISH": "use ReLU6 instead of hard swish (MobileNet v3: its minimalistic form), and train again",
    "EXP": "use the network without it",
    "DIV": "multiply by the inverse",
    "POW": "multiply instead",
    "SQUARE": "multiply it by itself",
    "SQRT": "fold the normalisation into the convolution before it",
    "BATCH_MATMUL": "use a dense layer with constant weights",
    "ARG_MAX": "leave it out: the agent takes the best score by itself",
    "TOPK_V2": "leave it out: the agent takes the best scores by itself",
    "CAST": "leave it out: let the network take 8-bit pictures",
    "LOCAL_RESPONSE_NORMALIZATION": "use batch normalisation, which is folded away",
    "PADV2": "pad with zeros",
    "MIRROR_PAD": "pad with zeros",
    "SHAPE": "give the input a fixed size, the batch too",
    "GATHER": "take a slice",
    "UNPACK": "take slices",
}
"""For operators that it has not."""
