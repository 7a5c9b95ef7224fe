"""A child: TensorFlow's and Keras's models to float32 TensorFlow Lite. The only room that imports TensorFlow.

``from_tensorflow KIND SOURCE OUT``; KIND is keras, saved-model or frozen-graph.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.errors import ConversionError
from edge_agent.workbench.convert.children import Answer, serve

OUTPUTS = ("loss", "model_outputs")
"""What Custom Vision calls them, where a frozen graph has several ends."""

_NO_OUTPUT = frozenset({"NoOp", "Const", "Placeholder", "Assert"})
_FLEX = re.compile(r"Flex ops: ([A-Za-z0-9, ]+)|error: '(tf\.[A-Za-z0-9]+)' op")


def convert(arguments: Sequence[str]) -> Answer:
    """Convert; the version of TensorFlow. Raises ConversionError, ImportError."""
    kind, source, out = arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow

    function, owner = _READERS[kind](tensorflow, source)
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function], owner)
    try:
        content = converter.convert()
    except Exception as error:
        found = sorted({name for pair in _FLEX.findall(str(error)) for name in pair if name})
        if not found:
            raise
        raise ConversionError(
            f"TensorFlow Lite has no operator for {', '.join(found)}", "use the network without them"
        ) from error
    _compare(tensorflow, function, content)
    Path(out).write_bytes(content)
    return {"tensorflow": tensorflow.__version__}


def _compare(tensorflow: Any, function: Any, content: bytes) -> None:
    """Raises ConversionError unless what came out answers noise like the source does."""
    interpreter = tensorflow.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    noise = np.random.default_rng(0).integers(0, 256, taken["shape"]).astype(np.float32)
    interpreter.set_tensor(taken["index"], noise)
    interpreter.invoke()
    wanted = tensorflow.nest.flatten(function(tensorflow.constant(noise)))[0].numpy()
    found = interpreter.get_tensor(given["index"])
    if not np.allclose(wanted, found, rtol=1e-3, atol=1e-3):
        raise ConversionError(
            f"TensorFlow Lite answers {found.ravel()[:4]} where its source answers {wanted.ravel()[:4]}",
            "save the source again with this version of TensorFlow",
        )


def _frozen_graph(tensorflow: Any, source: str) -> tuple[Any, Any]:
    graph = tensorflow.compat.v1.GraphDef()
    try:
        graph.ParseFromString(Path(source).read_bytes())
    except Exception as error:
        raise ConversionError("no frozen TensorFlow graph", "export it again as TensorFlow") from error
    inputs = [node for node in graph.node if node.op == "Placeholder"]
    if len(inputs) != 1:
        names = ", ".join(node.name for node in inputs) or "none"
        raise ConversionError(
            f"the graph has {len(inputs)} inputs ({names})", "one picture is all it is given"
        )
    sides = inputs[0].attr["shape"].shape.dim
    _check_size([side.size if side.size >= 0 else None for side in sides])
    sides[0].size = 1
    output = _output_of(graph)
    imported = tensorflow.compat.v1.wrap_function(lambda: tensorflow.import_graph_def(graph, name=""), [])
    return imported.prune([f"{inputs[0].name}:0"], [f"{output}:0"]), imported


def _output_of(graph: Any) -> str:
    """The only end of a graph, or the one that is named as Custom Vision does."""
    used = {name.split(":")[0].lstrip("^") for node in graph.node for name in node.input}
    ends = [node.name for node in graph.node if node.name not in used and node.op not in _NO_OUTPUT]
    known = [name for name in OUTPUTS if name in ends]
    if len(ends) != 1 and not known:
        raise ConversionError(
            f"the graph has {len(ends)} outputs ({', '.join(ends[:8])})", "export a classifier"
        )
    return (known or ends)[0]


def _saved_model(tensorflow: Any, source: str) -> tuple[Any, Any]:
    try:
        loaded = tensorflow.saved_model.load(source)
    except (OSError, ValueError) as error:
        raise ConversionError(
            f"no SavedModel: {str(error).splitlines()[0]}", "copy the whole folder again"
        ) from error
    signatures = loaded.signatures
    name = "serving_default" if "serving_default" in signatures else next(iter(signatures), None)
    if name is None:
        raise ConversionError("the SavedModel has no signature", "save it with model.export(), or as .keras")
    signature = signatures[name]
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(
            f"the SavedModel has {len(inputs)} inputs and {len(outputs)} outputs", "export a classifier"
        )
    (key, spec), output = next(iter(inputs.items())), next(iter(outputs))
    traced = tensorflow.function(lambda picture: signature(**{key: picture})[output])
    return _traced(tensorflow, traced, spec.shape, key), loaded


def _keras(tensorflow: Any, source: str) -> tuple[Any, Any]:
    try:
        model = tensorflow.keras.models.load_model(source, compile=False)
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise ConversionError(
            f"Keras cannot read it: {first}", "save it again with this version of Keras"
        ) from error
    # Not traced here: converted with a Keras model as their owner, the variables were found to be lost.
    folder = f"{source}.saved"
    model.export(folder)
    return _saved_model(tensorflow, folder)


def _check_size(sides: Sequence[int | None]) -> None:
    """Raises ConversionError unless all but the batch are known."""
    if len(sides) < 2 or None in sides[1:]:
        raise ConversionError(
            f"its input {list(sides)} has no fixed size",
            "save it for pictures of one size, (1, height, width, 3)",
        )


def _traced(tensorflow: Any, function: Any, shape: Any, name: str) -> Any:
    """For a batch of exactly one: with any number, shapes are computed, and those stay off the Edge TPU."""
    _check_size([] if shape.rank is None else shape.as_list())
    sides = [1, *shape.as_list()[1:]]
    readable = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return function.get_concrete_function(tensorflow.TensorSpec(sides, tensorflow.float32, name=readable))


_READERS = {"frozen-graph": _frozen_graph, "saved-model": _saved_model, "keras": _keras}

if __name__ == "__main__":
    sys.exit(serve("TensorFlow", convert))
