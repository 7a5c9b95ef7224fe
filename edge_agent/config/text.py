"""A configuration as TOML: the commented file to begin with, and the effective values with their origins."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge_agent.addresses import masked
from edge_agent.config.file import ReadConfig
from edge_agent.config.models import Config, MqttConfig
from edge_agent.config.tables import holds_names, table_of

MASK = "********"
_BARE = re.compile("[A-Za-z0-9_-]+")

_OPENING = """\
# edge-agent: configuration (TOML).
#
# A key behind a # shows its default, or an example where there is none: remove the # to set it.
# EDGE_AGENT_<SECTION>__<KEY> in the environment wins over this file. Relative paths start beside this file.
# "edge-agent check" proves the whole; "edge-agent config show" prints what is in force.\
"""


def example(model: Path) -> str:
    """A commented file made from the models: the defaults, a slot for ``model``, a camera of no hardware."""
    live = {"models": ("default", {"path": str(model)}), "cameras": ("scene", {"source": "scene:finishes"})}
    lines = _OPENING.splitlines()
    for section, field in Config.model_fields.items():
        table = table_of(field)
        assert table is not None
        name, keys = live.get(section, ("", {}))
        lines += ["", *_comment(field.description)]
        lines += _commented(f"{section}.{name}".rstrip("."), table, keys)
    return "\n".join(lines) + "\n"


def _commented(header: str, model: type[BaseModel], live: Mapping[str, object]) -> Iterator[str]:
    """A table's lines; keys that are not ``live`` stand behind a #."""
    yield f"[{header}]"
    for key, field in model.model_fields.items():
        if table_of(field) is None:
            shown = live.get(key, (field.examples or [field.default])[0])
            yield from _comment(field.description)
            yield f"{'' if key in live else '#'}{key} = {toml(shown)}"
    for key, field in model.model_fields.items():
        if table := table_of(field):
            yield from ("", *_comment(field.description))
            below, is_off = f"{header}.{key}", field.default is None or holds_names(field)
            if holds_names(field):
                below += f".{_key((field.examples or ['name'])[0])}"
            lines = _commented(below, table, {})
            yield ("#" if is_off else "") + next(lines)
            yield from lines


def _comment(description: str | None) -> list[str]:
    return textwrap.wrap(description or "", 100, initial_indent="# ", subsequent_indent="# ")


def effective(read: ReadConfig) -> str:
    """What is in force, as TOML: every key with its origin behind it, secrets masked."""
    lines = [f"# {read.path}"]
    for path, keys in _tables(read.config, ()):
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
        header = ".".join(path)
        for key, value in keys.items():
            shown = (
                f"{'# ' if value is MASK else ''}{key} = {toml(value)}"
                if value is not None
                else f"# {key}: not set"
            )
            lines.append(f"{shown:<50} # {_origin(read, header, key)}")
    return "\n".join(lines) + "\n"


def effective_json(read: ReadConfig) -> dict[str, Any]:
    """The same as an object: ``file``, ``values`` (nested), ``origins`` (by dotted key)."""
    origins = {
        ".".join((*path, key)): _origin(read, ".".join(path), key)
        for path, keys in _tables(read.config, ())
        for key in keys
    }
    return {"file": str(read.path), "values": values(read.config), "origins": origins}


def values(config: Config) -> dict[str, Any]:
    """Every value in force, in nested tables, secrets masked."""
    tables: dict[str, Any] = {section: {} for section in Config.model_fields}
    for path, keys in _tables(config, ()):
        table = tables
        for part in path:
            table = table.setdefault(part, {})
        table |= keys
    return tables


def _origin(read: ReadConfig, header: str, key: str) -> str:
    return read.origins.get(f"{header}.{key}", "default")


def _tables(
    table: BaseModel | Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each table's path and its plain values, fit to be shown."""
    entries = dict(table)
    below = {key: value for key, value in entries.items() if isinstance(value, BaseModel | Mapping)}
    plain = {key: _fit_to_show(value) for key, value in entries.items() if key not in below}
    if isinstance(table, MqttConfig) and table.password:
        plain["password"] = MASK
    if plain:
        yield path, plain
    for key, value in below.items():
        yield from _tables(value, (*path, key))


def _key(name: str) -> str:
    """A table's name in TOML's notation."""
    return name if _BARE.fullmatch(name) else toml(name)


def _fit_to_show(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return masked(str(value)) if isinstance(value, str | Path) else value


def toml(value: object) -> str:
    """A plain value in TOML's notation."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
