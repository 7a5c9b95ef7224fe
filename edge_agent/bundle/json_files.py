"""JSON from files that somebody else wrote, for the files that Custom Vision writes."""

from __future__ import annotations

import json
from typing import Any

from edge_agent.errors import BundleError

MAX_JSON_BYTES = 1 << 20
"""Manifest and metadata are about 1 KB each."""


def json_object(content: bytes, where: str, kind: type[BundleError]) -> dict[str, Any]:
    """A JSON object from bytes in UTF-8, with or without BOM. Raises ``kind``."""
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise kind(f"{where} is not JSON: {error}", "export the model again") from error
    if not isinstance(value, dict):
        raise kind(f"{where} holds no JSON object", "export the model again")
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def shown(value: object) -> str:
    """A JSON value for an error; nested ones by their kind, for they may be too deep to print."""
    if isinstance(value, (dict, list)):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    return f"{value!r:.120}"
