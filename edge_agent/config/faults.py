"""What is wrong with a configuration, in one line: where, which key, what, and the nearest known key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from edge_agent.addresses import masked
from edge_agent.config.tables import fields_of_table
from edge_agent.config.values import PATTERN_WORDS
from edge_agent.errors import ConfigError

_SHOWN = 3  # faults told in full; a line of more is not read

_WORDS = {
    "missing": "is missing",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "tuple_type": "must be [x, y, width, height]",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
}
"""pydantic's kinds of fault in the words of a TOML file; others are told in pydantic's own."""


def told(error: ValidationError, file: str, origins: Mapping[str, str]) -> ConfigError:
    """The error that names the first faults, each with its file or variable, and counts the rest."""
    faults = [_fault(dict(fault), file, origins) for fault in error.errors(include_url=False)]
    more = f" (and {len(faults) - _SHOWN} more)" if len(faults) > _SHOWN else ""
    return ConfigError(" | ".join(faults[:_SHOWN]) + more)


def _fault(fault: dict[str, Any], file: str, origins: Mapping[str, str]) -> str:
    keys = [str(part) for part in fault["loc"] if part != "[key]"]
    dotted = ".".join(keys)
    origin = origins.get(dotted) or origins.get(_parent(dotted), "file")
    variable = None if origin == "file" else origin
    where = f"environment: {variable}" if variable else ": ".join(part for part in (file, dotted) if part)
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; {_nearest(keys, variable)}"
    return f"{where}: {_wrong(fault)}{_instead(fault)}"


def _parent(dotted: str) -> str:
    """A region's number belongs to the region's key, a mask's region to the mask's."""
    return re.sub("([.][0-9]+)+$", "", dotted)


def _wrong(fault: dict[str, Any]) -> str:
    kind, message, context = fault["type"], str(fault["msg"]), fault.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return PATTERN_WORDS.get(context["pattern"], message)
    message = message.removeprefix("Value error, ").replace("'", '"')
    return _WORDS.get(kind) or re.sub("^[A-Z][a-z]+ should ", "must ", message)


def _instead(fault: dict[str, Any]) -> str:
    """What stands there now, where it is short and is no table."""
    given = fault["input"]
    if not isinstance(given, str | int | float | bool) or fault["type"] == "finite_number":
        return ""
    shown = masked(given) if isinstance(given, str) else given
    try:
        text = json.dumps(shown, ensure_ascii=False)
    except ValueError:  # an integer of thousands of digits
        return ""
    return f", not {text if len(text) <= 60 else text[:57] + '...'}"


def _nearest(keys: list[str], variable: str | None) -> str:
    import difflib  # 4 ms that only a fault needs

    known = list(fields_of_table(keys[:-1]))
    near = difflib.get_close_matches(keys[-1].lower(), known, n=1)
    if not near:
        return "known here: " + ", ".join(known) if known else "remove it"
    whole = variable.removesuffix(keys[-1].upper()) + near[0].upper() if variable else near[0]
    return f'did you mean "{whole}"?'
