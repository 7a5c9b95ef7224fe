"""Surgery on a ``.tflite``: a float network as the quantiser wants it, and 8-bit inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_agent.errors import BundleError, ConversionError
from edge_agent.workbench.tflite_file import READ_FAILURES, operator_name, read_model, schema, write_model

SIGNATURE = "serving_default"
INPUT, OUTPUT = "image", "scores"
"""What the only signature calls the input and the output."""

UNSIGNED_SHIFT = 128
"""From an int8 code to the uint8 code of the same real."""


def plain_float(content: bytes) -> bytes:
    """The same network with float32 constants, a batch of exactly one, and one signature.

    Custom Vision's float16 exports keep constants as float16 behind a DEQUANTIZE each; the quantiser takes
    those for computed values. Raises ConversionError for one that is quantised already or has no fixed size,
    BundleError for no model.
    """
    model = read_model(content)
    if len(model.subgraphs) != 1:
        raise ConversionError(
            f"it has {len(model.subgraphs)} graphs", "export it without loops and conditions"
        )
    graph = model.subgraphs[0]
    try:
        _refuse(graph)
        _widen_constants(model)
        for tensor in graph.tensors:
            tensor.shapeSignature = None
        _drop_orphans(model)
        _sign(model)
        return write_model(model)
    except READ_FAILURES as error:
        raise BundleError(f"the model's tables do not fit together: {error}", "copy it again") from error


def _refuse(graph: Any) -> None:
    if any(
        tensor.quantization is not None and tensor.quantization.scale is not None for tensor in graph.tensors
    ):
        raise ConversionError("it is quantised already", "convert the float model that it was made from")
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ConversionError(
            f"it has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
            "export a classifier: one picture in, one row of scores out",
        )
    signature = graph.tensors[graph.inputs[0]].shapeSignature
    if signature is not None and any(side < 1 for side in list(signature)[1:]):
        raise ConversionError(
            f"its input {[int(side) for side in signature]} has no fixed size",
            "save it for pictures of one size, (1, height, width, 3)",
        )


def _widen_constants(model: Any) -> None:
    """Put float32 in the place of each DEQUANTIZE of a float16 constant."""
    graph, kinds = model.subgraphs[0], schema().TensorType
    kept = []
    for operator in graph.operators:
        source = graph.tensors[operator.inputs[0]] if operator_name(model, operator) == "DEQUANTIZE" else None
        halves = None if source is None else model.buffers[source.buffer].data
        if source is None or halves is None or source.type != kinds.FLOAT16:
            kept.append(operator)
            continue
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(bytes(halves), np.float16).astype(np.float32).view(np.uint8)
        model.buffers.append(buffer)
        graph.tensors[operator.outputs[0]].buffer = len(model.buffers) - 1
    graph.operators = kept


def _drop_orphans(model: Any) -> None:
    """Leave out tensors and buffers that nothing uses, metadata with them: it counts buffers."""
    graph = model.subgraphs[0]
    used = {*map(int, graph.inputs), *map(int, graph.outputs)}
    for operator in graph.operators:
        for indices in (operator.inputs, operator.outputs, operator.intermediates):
            used.update(int(index) for index in _listed(indices) if index >= 0)
    kept = sorted(used)
    moved = {-1: -1, **{old: new for new, old in enumerate(kept)}}
    for operator in graph.operators:
        for name in ("inputs", "outputs", "intermediates"):
            setattr(operator, name, [moved[int(index)] for index in _listed(getattr(operator, name))])
    graph.inputs = [moved[int(index)] for index in graph.inputs]
    graph.outputs = [moved[int(index)] for index in graph.outputs]
    graph.tensors = [graph.tensors[index] for index in kept]
    buffers = [0, *sorted({tensor.buffer for tensor in graph.tensors} - {0})]
    for tensor in graph.tensors:
        tensor.buffer = buffers.index(tensor.buffer)
    model.buffers = [model.buffers[index] for index in buffers]
    model.metadata, model.metadataBuffer = [], None


def _listed(indices: Sequence[int] | None) -> Sequence[int]:
    return [] if indices is None else indices


def _sign(model: Any) -> None:
    """One signature for the one input and output, in the place of those that there are."""
    graph, signature = model.subgraphs[0], schema().SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_named(INPUT, graph.inputs[0])]
    signature.outputs = [_named(OUTPUT, graph.outputs[0])]
    model.signatureDefs = [signature]


def _named(name: str, index: int) -> Any:
    named = schema().TensorMapT()
    named.name, named.tensorIndex = name, index
    return named


def with_unsigned_ends(content: bytes) -> bytes:
    """An int8 network that takes and gives uint8, by a QUANTIZE at each int8 end. Raises BundleError."""
    model = read_model(content)
    graph, signed = model.subgraphs[0], schema().TensorType.INT8
    taken, given = int(graph.inputs[0]), int(graph.outputs[0])
    if graph.tensors[taken].type == signed:
        graph.inputs = [_unsigned_copy(graph, taken)]
        graph.operators.insert(0, _quantize(model, graph.inputs[0], taken))
    if graph.tensors[given].type == signed:
        graph.outputs = [_unsigned_copy(graph, given)]
        graph.operators.append(_quantize(model, given, graph.outputs[0]))
    _sign(model)
    return write_model(model)


def _unsigned_copy(graph: Any, index: int) -> int:
    """The number of a new tensor like that one, of the same reals in uint8; it takes its name over."""
    inner, outer, codes = graph.tensors[index], schema().TensorT(), schema().QuantizationParametersT()
    codes.scale = inner.quantization.scale
    codes.zeroPoint = [int(inner.quantization.zeroPoint[0]) + UNSIGNED_SHIFT]
    outer.shape, outer.type, outer.quantization, outer.buffer = (
        inner.shape,
        schema().TensorType.UINT8,
        codes,
        0,
    )
    outer.name, inner.name = inner.name, (inner.name or b"") + b"_int8"
    graph.tensors.append(outer)
    return len(graph.tensors) - 1


def _quantize(model: Any, source: int, target: int) -> Any:
    operator, code, number = schema().OperatorT(), schema().OperatorCodeT(), schema().BuiltinOperator.QUANTIZE
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 1
    known = [each.builtinCode for each in model.operatorCodes]
    if number not in known:
        model.operatorCodes.append(code)
        known.append(number)
    operator.opcodeIndex = known.index(number)
    operator.inputs, operator.outputs = [source], [target]
    operator.builtinOptionsType = schema().BuiltinOptions.QuantizeOptions
    operator.builtinOptions = schema().QuantizeOptionsT()
    return operator
