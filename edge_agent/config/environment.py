"""What the environment says: ``EDGE_AGENT_<SECTION>__<KEY>`` variables, laid over the file's tables."""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.config.models import Config
from edge_agent.config.tables import fields_of_table, holds_names, table_of
from edge_agent.errors import ConfigError

PREFIX = "EDGE_AGENT_"
NOT_KEYS = frozenset(
    {
        "EDGE_AGENT_CONFIG",
        "EDGE_AGENT_TEST_DATA",
        "EDGE_AGENT_TEST_HOMEASSISTANT",
        "EDGE_AGENT_TEST_PYTHONS",
    }
)
"""Variables with the prefix that are no keys of the configuration."""


def overlay(tables: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put each variable's value into the tables of the file, and tell which key came from which variable.

    A variable that fits no key is put where it would belong, so that validation refuses it.

    Raises:
        ConfigError: it fits two names of the file, or goes below what is no table.
    """
    origins: dict[str, str] = {}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in NOT_KEYS:
            keys = _keys(variable, tables)
            _put(tables, keys, _value(environ[variable], keys), variable)
            origins[".".join(keys)] = variable
    return origins


def _keys(variable: str, tables: Mapping[str, Any]) -> tuple[str, ...]:
    """The path of keys that a variable stands for; a name in it is spelt as the file spells it."""
    section, _, rest = variable[len(PREFIX) :].partition("__")
    section = section.lower()
    if section not in Config.model_fields or not holds_names(Config.model_fields[section]):
        return (section, *rest.lower().split("__")) if rest else (section,)
    name, _, key = rest.rpartition("__")
    if not name or not key:
        raise ConfigError(
            f"environment: {variable}: no key", f"it takes {PREFIX}{section.upper()}__NAME__KEY"
        )
    known = tables.get(section)
    owner, _, table = name.rpartition("__")
    below = [key for key, field in fields_of_table((section, owner)).items() if table_of(field)]
    if owner and table.lower() in below and not _alike(name, known):
        return (section, _spelt(owner, known, variable), table.lower(), key.lower())
    return (section, _spelt(name, known, variable), key.lower())


def _spelt(name: str, known: object, variable: str) -> str:
    """The name as the file spells it; in lower case where the file does not have it."""
    alike = _alike(name, known)
    if len(alike) > 1:
        raise ConfigError(
            f"environment: {variable}: fits {' and '.join(alike)}", "rename one of them in the file"
        )
    return alike[0] if alike else name.lower()


def _alike(name: str, known: object) -> list[str]:
    """The names of the file that a variable may mean by this."""
    names = known if isinstance(known, dict) else {}
    return [written for written in names if _flat(written) == _flat(name)]


def _flat(name: str) -> str:
    """A variable's name holds no -, and is upper case by custom."""
    return name.lower().replace("-", "_")


def _put(tables: dict[str, Any], keys: tuple[str, ...], value: object, variable: str) -> None:
    table = tables
    for depth, key in enumerate(keys[:-1], 1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(
                f"environment: {variable}: {'.'.join(keys[:depth])} is no table", "unset the variable"
            )
    table[keys[-1]] = value


def _value(text: str, keys: tuple[str, ...]) -> object:
    """Text as it is where the key takes text, else as TOML would read it: a number, a boolean, a list."""
    field = fields_of_table(keys[:-1]).get(keys[-1])
    if field is None or _takes_text(field.annotation):
        return text
    try:
        parsed = tomllib.loads(f"value = {text.strip().lower()}")
    except (ValueError, RecursionError):
        return text  # validation will say what it should have been
    return parsed["value"] if len(parsed) == 1 else text


def _takes_text(annotation: Any) -> bool:
    if annotation in (str, Path) or isinstance(annotation, str):
        return True
    return any(_takes_text(part) for part in typing.get_args(annotation))
