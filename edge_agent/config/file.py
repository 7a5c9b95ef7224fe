"""Reading the configuration: a TOML file, the environment over it, the password beside it.

``-c FILE``, else ``$EDGE_AGENT_CONFIG``, else /etc/edge-agent/config.toml. A variable
``EDGE_AGENT_<SECTION>__<KEY>`` wins over the file. Each refusal is one line: where, which key, what is wrong.

pydantic-settings would do most of this, but importing it costs some 80 ms on top of pydantic's 50, and it
knows neither keys that depend on the names in the file (``EDGE_AGENT_CAMERAS__FRONT_DOOR__FPS`` for
``[cameras.front-door]``) nor where a value came from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_agent.config.environment import overlay
from edge_agent.config.faults import told
from edge_agent.config.models import Config
from edge_agent.config.secrets import PASSWORD_VARIABLE, with_secrets
from edge_agent.errors import ConfigError

DEFAULT_PATH = Path("/etc/edge-agent/config.toml")
_FILE_LIMIT = 1 << 20  # a configuration is a few kB; /dev/zero is not one


@dataclass(frozen=True)
class ReadConfig:
    """A configuration, the file it is from, and the origin of each key that was set: "file" or a variable."""

    config: Config
    path: Path
    origins: Mapping[str, str]


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The effective configuration.

    Raises:
        ConfigError: there is no such file, or it, the environment or the password file cannot be used.
    """
    return read_config(path, environ).config


def read_config(path: Path | None, environ: Mapping[str, str]) -> ReadConfig:
    """The same as :func:`load_config`, together with where everything came from."""
    path = path or Path(environ.get("EDGE_AGENT_CONFIG") or DEFAULT_PATH)
    tables = _read_toml(path)
    origins = dict.fromkeys(_keys_of(tables), "file")
    origins |= overlay(tables, {key: environ[key] for key in environ if key != PASSWORD_VARIABLE})
    try:
        config = Config.model_validate(tables, context={"base": path.absolute().parent})
    except ValidationError as error:
        raise told(error, str(path), origins) from None
    mqtt, from_elsewhere = with_secrets(config.mqtt, environ)
    return ReadConfig(config.model_copy(update={"mqtt": mqtt}), path, {**origins, **from_elsewhere})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file", f"create it: edge-agent config init -o {path}; or name another with -c"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {_why(error)}", "name another with -c") from None
    if len(raw) > _FILE_LIMIT:
        raise ConfigError(f"{path}: larger than {_FILE_LIMIT >> 20} MiB", "name a configuration file with -c")
    try:
        return tomllib.loads(raw.decode())
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _keys_of(tables: Mapping[str, Any], prefix: str = "", depth: int = 6) -> list[str]:
    """The dotted keys that are set; no known key is deeper than ``depth``."""
    keys = []
    for key, value in tables.items():
        below = _keys_of(value, f"{prefix}{key}.", depth - 1) if isinstance(value, dict) and depth else []
        keys += below or [prefix + key]
    return keys


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
