"""Which graphs are served: one picture in, one row of scores out."""

from __future__ import annotations

import math

from edge_agent.errors import UnsupportedModelError
from edge_agent.tensors import TensorSpec
from edge_agent.worker.protocol import GraphDescription

DTYPES = ("uint8", "int8", "float32")
DETECTION_OPERATOR = "TFLite_Detection_PostProcess"
DETECTION_OUTPUTS = 4
"""Boxes, classes, scores, count."""


def check_served(graph: GraphDescription) -> None:
    """Raises UnsupportedModelError for any other graph, naming the shape and the remedy."""
    if len(graph.inputs) != 1:
        raise UnsupportedModelError(
            f"the model has {len(graph.inputs)} inputs: {_shapes(graph.inputs)}",
            "one picture is all it is given",
        )
    _refuse_detection(graph)
    if len(graph.outputs) != 1:
        raise UnsupportedModelError(
            f"the model has {len(graph.outputs)} outputs: {_shapes(graph.outputs)}",
            "export a classifier with one output, (1, classes)",
        )
    _check_input(graph.inputs[0])
    _check_output(graph.outputs[0])


def _refuse_detection(graph: GraphDescription) -> None:
    outputs = graph.outputs
    named = any(output.name.rpartition("/")[2].startswith("detected_") for output in outputs)
    if named or len(outputs) == DETECTION_OUTPUTS or DETECTION_OPERATOR in graph.op_counts:
        found = f"outputs {_shapes(outputs)}"
    elif len(outputs) == 1 and len(outputs[0].shape) == 4:
        found = f"its output {_shapes(outputs)} is a grid"
    else:
        return
    raise UnsupportedModelError(f"an object detection model: {found}", "only classification is served")


def _check_input(spec: TensorSpec) -> None:
    shape, shown = spec.shape, _shapes((spec,))
    if spec.dtype not in DTYPES:
        raise UnsupportedModelError(f"input {shown} is {spec.dtype}", f"export it with {', '.join(DTYPES)}")
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        raise UnsupportedModelError(
            f"input {shown} has channels first (NCHW)", "export it with channels last, (1, height, width, 3)"
        )
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
        raise UnsupportedModelError(
            f"input {shown} takes no colour picture", "export it for (1, height, width, 3)"
        )
    if shape[0] != 1:
        raise UnsupportedModelError(
            f"input {shown} takes {shape[0]} pictures at once", "export it for a batch of 1"
        )
    if spec.dtype == "int8" and spec.quantization is None:
        raise UnsupportedModelError(
            f"input {shown} is int8 without scale and zero point", "quantise it again"
        )
    _check_scale(spec, f"input {shown}")


def _check_output(spec: TensorSpec) -> None:
    shape, shown = spec.shape, _shapes((spec,))
    if spec.dtype not in DTYPES:
        raise UnsupportedModelError(f"output {shown} is {spec.dtype}", f"export it with {', '.join(DTYPES)}")
    row = len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)
    if not row or min(shape) < 1:
        raise UnsupportedModelError(f"output {shown} is no row of scores", "export it for (1, classes)")
    if spec.dtype != "float32" and spec.quantization is None:
        raise UnsupportedModelError(f"output {shown} is {spec.dtype} without scale", "quantise it again")
    _check_scale(spec, f"output {shown}")


def _check_scale(spec: TensorSpec, what: str) -> None:
    quantization = spec.quantization
    if quantization is not None and not (math.isfinite(quantization.scale) and quantization.scale > 0):
        raise UnsupportedModelError(f"{what} has the scale {quantization.scale}", "quantise it again")


def _shapes(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in specs)
