"""What a model's network consists of, for ``models inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_agent.cli.edgetpu_table import mapping_json, mapping_lines
from edge_agent.cli.table import size_text, table
from edge_agent.workbench.edgetpu_mapping import COMPILED, predict
from edge_agent.workbench.graph import Graph, Operator, Tensor

_LAYERS = ("#", "OPERATOR", "OUTPUT", "TYPE", "SCALE", "ZERO", "PARAMETERS", "MACS", "NAME")
_RIGHT = "# SCALE ZERO PARAMETERS MACS"
MAX_NAME = 48


def network_rows(graph: Graph) -> list[tuple[str, str, str]]:
    """Name, value and origin of what the network is as a whole."""
    scales = ", a scale per channel" if graph.per_channel else ""
    rows = [
        ("file", size_text(graph.size), ""),
        ("numbers", graph.scheme + scales, ""),
        ("network", f"{len(graph.operators)} operators, {len(graph.tensors)} tensors", ""),
        ("parameters", size_text(graph.parameters), ""),
    ]
    if graph.macs:
        rows.append(("multiply-adds", f"{graph.macs / 1e6:.1f} million per picture", ""))
    return rows


def edgetpu_lines(graph: Graph) -> Iterator[str]:
    """What would run on the Edge TPU; nothing for a model that is compiled."""
    if not _is_compiled(graph):
        yield ""
        yield from mapping_lines(predict(graph), None)


def layer_lines(graph: Graph) -> Iterator[str]:
    """Each operator in a line."""
    yield ""
    rows = [_layer_row(graph, number, operator) for number, operator in enumerate(graph.operators)]
    yield from table(_LAYERS, rows, _RIGHT)


def network_json(graph: Graph) -> dict[str, Any]:
    """All of it in plain values."""
    return {
        "bytes": graph.size,
        "scheme": graph.scheme,
        "per_channel": graph.per_channel,
        "parameter_bytes": graph.parameters,
        "macs": graph.macs,
        "tensors": [_tensor_json(tensor) for tensor in graph.tensors],
        "operators": [
            {
                "operator": operator.name,
                "activation": operator.activation or None,
                "inputs": list(operator.inputs),
                "outputs": list(operator.outputs),
                "parameter_bytes": graph.parameter_bytes(operator),
                "macs": graph.macs_of(operator),
            }
            for operator in graph.operators
        ],
        "edgetpu": None if _is_compiled(graph) else mapping_json(predict(graph), None),
    }


def _is_compiled(graph: Graph) -> bool:
    return any(operator.name == COMPILED for operator in graph.operators)


def _layer_row(graph: Graph, number: int, operator: Operator) -> tuple[str, ...]:
    given = graph.gives(operator)[0]
    fused = f"+{operator.activation}" if operator.activation else ""
    macs = graph.macs_of(operator)
    return (
        str(number),
        operator.name + fused,
        " x ".join(map(str, given.shape)),
        given.dtype,
        f"{given.scales[0]:.4g}" if given.scales else "-",
        str(given.zero_point) if given.scales else "-",
        size_text(graph.parameter_bytes(operator)),
        f"{macs / 1e6:.2f} M" if macs else "-",
        given.name[-MAX_NAME:],
    )


def _tensor_json(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scales": list(tensor.scales),
        "zero_point": tensor.zero_point if tensor.scales else None,
        "constant_bytes": tensor.constant_bytes,
    }
