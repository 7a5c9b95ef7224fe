"""bundle.toml as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edge_agent.bundle import BundleSettings
from edge_agent.config.text import toml

_BARE = re.compile("[A-Za-z0-9_-]+")


def settings_text(settings: BundleSettings) -> str:
    """What :func:`edge_agent.bundle.settings.parse_settings` reads as ``settings``."""
    written = settings.model_dump(exclude_defaults=True, exclude_none=True)
    return "\n".join(_table(written, "")).strip() + "\n"


def _table(values: Mapping[str, Any], path: str) -> Iterator[str]:
    """The lines of a table: its own values first, for a header ends them."""
    nested = {key: value for key, value in values.items() if _is_nested(value)}
    if path and (len(nested) < len(values) or not values):
        yield from ("", f"[{path}]")
    for key, value in values.items():
        if key not in nested:
            yield f"{_key(key)} = {toml(value)}"
    for key, value in nested.items():
        below = f"{path}.{_key(key)}" if path else _key(key)
        if isinstance(value, Mapping):
            yield from _table(value, below)
        else:
            for element in value:
                yield from ("", f"[[{below}]]")
                yield from _table(element, "")


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value)
    )


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else toml(name)
