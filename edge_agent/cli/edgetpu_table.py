"""What the Edge TPU would run of a model, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_agent.cli.table import size_text, table
from edge_agent.workbench.edgetpu_mapping import CACHE_BYTES, Mapping, Verdict

_HEADERS = ("OPERATOR", "COUNT", "VERDICT", "REASON")


def mapping_lines(mapping: Mapping, compiler: str | None) -> Iterator[str]:
    """The table; ``compiler`` is the version of edgetpu_compiler that said so, None for a prediction."""
    said = (
        "predicted from the published table of operators"
        if compiler is None
        else f"edgetpu_compiler {compiler}"
    )
    said += ", once it is converted to int8" if mapping.supposed else ""
    yield f"Edge TPU ({said}): {mapping.summary}"
    rows = [
        (row.operator, str(row.count), row.verdict, f"{row.reason}; {row.fix}" if row.fix else row.reason)
        for row in mapping.rows
    ]
    yield from table(_HEADERS, rows, "COUNT")
    yield f"parameters: {_cache_text(mapping)}"
    if mapping.count(Verdict.UNPROVEN):
        yield "unproven: only the compiler can tell; MobileNet v1 and v2 are known to map whole"


def mapping_json(mapping: Mapping, compiler: str | None) -> dict[str, Any]:
    """The same in plain values."""
    return {
        "compiler": compiler,
        "once_converted": mapping.supposed,
        "operators": [
            {
                "operator": row.operator,
                "count": row.count,
                "verdict": row.verdict.value,
                "reason": row.reason,
                "fix": row.fix or None,
            }
            for row in mapping.rows
        ],
        "parameter_bytes": mapping.parameters,
        "fits_cache": mapping.fits,
    }


def _cache_text(mapping: Mapping) -> str:
    cache = f"its cache of {CACHE_BYTES >> 20} MB"
    if mapping.fits:
        return f"{size_text(mapping.parameters)} fit into {cache}"
    return (
        f"{size_text(mapping.parameters)} do not fit into {cache}: the rest crosses the USB at each inference"
    )
