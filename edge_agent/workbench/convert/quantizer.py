"""A child: a float32 ``.tflite`` to another scheme. The only room that imports ai-edge-quantizer.

``quantizer SCHEME IN OUT LOW HIGH``; for int8 its standard input is the calibration set, one input tensor
behind the other, and LOW and HIGH are the reals that the input can hold at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np

from edge_agent.errors import ConversionError
from edge_agent.tensors import Array
from edge_agent.workbench.convert.children import Answer, serve
from edge_agent.workbench.convert.plain import INPUT, SIGNATURE
from edge_agent.workbench.graph import read_graph

PACKAGE = "ai-edge-quantizer"


def quantize(arguments: Sequence[str]) -> Answer:
    """Quantise; versions. Raises ConversionError, ImportError."""
    scheme, source, out = arguments[:3]
    from ai_edge_quantizer import quantizer

    content = Path(source).read_bytes()
    recipe = _recipe(scheme)
    ranges = (
        _calibrated(content, recipe, (float(arguments[3]), float(arguments[4]))) if scheme == "int8" else None
    )
    result = quantizer.Quantizer(content, recipe).quantize(
        ranges, enable_progress_bar=False, enable_progress_report=False
    )
    Path(out).write_bytes(bytes(result.quantized_model))
    return {PACKAGE: version(PACKAGE)}


def _recipe(scheme: str) -> Any:
    from ai_edge_quantizer import qtyping, recipe_manager

    rules = recipe_manager.RecipeManager()
    everything, dense = qtyping.TFLOperationName.ALL_SUPPORTED, qtyping.TFLOperationName.FULLY_CONNECTED
    whole = qtyping.QuantGranularity.TENSORWISE
    # A scale per channel for convolutions only. TensorFlow's converter long had one scale for dense layers;
    # edgetpu_compiler and tflite-runtime 2.14 are of that time, and the latter answers wrongly otherwise.
    if scheme == "int8":
        rules.add_static_config(".*", everything, 8, 8)
        rules.add_static_config(".*", dense, 8, 8, weight_granularity=whole)
    elif scheme == "dynamic":
        rules.add_dynamic_config(".*", everything, 8)
        rules.add_dynamic_config(".*", dense, 8, granularity=whole)
    else:
        _add_halves(rules)
    return rules.get_quantization_recipe()


def _add_halves(rules: Any) -> None:
    """Weights in float16, behind a DEQUANTIZE each."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    halves = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=halves,
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    key = algorithm_manager.AlgorithmName.FLOAT_CASTING
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_2D_TRANSPOSE"):
        rules.add_quantization_config(".*", qtyping.TFLOperationName(kind), config, key)


def _calibrated(content: bytes, recipe: Any, span: tuple[float, float]) -> Any:
    """The range of each tensor over all pictures; of the input, what it can hold at all."""
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    graph = read_graph(content)
    taken = graph.tensors[graph.inputs[0]]
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe)
    # The library's own rule, a moving average, would follow the last pictures.
    looker = calibrator.Calibrator(
        content, num_threads=len(os.sched_getaffinity(0)), qsv_update_func=qsv_utils.min_max_update
    )
    count = 0
    for count, picture in enumerate(_pictures(sys.stdin.buffer, taken.shape), start=1):  # noqa: B007
        looker.calibrate({SIGNATURE: [{INPUT: picture}]}, rules)
    if count == 0:
        raise ConversionError("no picture to calibrate with", "name a folder with pictures")
    ranges = looker.get_model_qsvs()
    for name, value in zip(("min", "max"), span, strict=True):
        ranges[taken.name][name] = np.full_like(ranges[taken.name][name], value)
    return ranges


def _pictures(stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[Array]:
    size = int(np.prod(shape)) * 4
    while len(content := stream.read(size)) == size:
        yield np.frombuffer(content, np.float32).reshape(shape)


if __name__ == "__main__":
    sys.exit(serve(PACKAGE, quantize))
