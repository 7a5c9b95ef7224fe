"""What was set while the agent ran: pauses and thresholds, in ``state_dir/overrides.toml``.

They are laid over the configuration, win over the file and the environment, and outlive a restart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_agent.config.file import ReadConfig
from edge_agent.config.models import Config
from edge_agent.config.text import toml
from edge_agent.config.values import Name, Threshold
from edge_agent.errors import ConfigError, EdgeAgentError, RepositoryError
from edge_agent.repository.disk import Disk

logger = logging.getLogger(__name__)

FILE = "overrides.toml"
DAMAGED = "overrides.damaged.toml"
_LIMIT = 1 << 20  # a few lines per camera

_HEAD = "# Written by edge-agent: what was set while it ran. It wins over the configuration.\n"

Key = tuple[str, str, str]
"""Section, name, key: ("cameras", "door", "paused")."""


class _Override(BaseModel):
    """A key that a newer version may have written is left out, not the whole file."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Camera(_Override):
    paused: bool | None = None
    threshold: Threshold | None = None


class _Model(_Override):
    threshold: Threshold | None = None


class _File(_Override):
    cameras: Mapping[Name, _Camera] = {}
    models: Mapping[Name, _Model] = {}


class Overrides:
    """``base`` is the configuration as it was read; ``config`` is what is in force.

    ``write`` may be called from any thread, the rest belongs to one. ``fault`` says what is not kept.
    """

    def __init__(self, base: Config) -> None:
        """Read what was kept; a damaged file is set aside, with a warning."""
        self.base = base
        self.fault: str | None = None
        self._path = base.agent.state_dir / FILE
        self._writing = threading.Lock()
        self._written: Mapping[Key, object] | None = None
        self._values: Mapping[Key, object] = {}
        try:
            self._values = self._written = _read(self._path)
        except ConfigError as error:
            self._give_up(error)

    @property
    def config(self) -> Config:
        """``base`` with everything laid over it."""
        return _laid_over(self.base, self._values)

    def dotted(self) -> dict[str, object]:
        """What is laid over it: {"cameras.door.paused": True}."""
        return {".".join(key): value for key, value in self._values.items()}

    @contextlib.contextmanager
    def or_as_before(self) -> Iterator[None]:
        """What is changed in here is taken back where it cannot be followed."""
        before = self.base, self._values
        try:
            yield
        except EdgeAgentError:
            self.base, self._values = before
            raise

    def pause(self, cameras: Iterable[str], *, paused: bool) -> None:
        """These cameras are paused, or not any more, whatever ``base`` says."""
        for camera in cameras:
            configured = self.base.cameras[camera].paused
            self._set(("cameras", camera, "paused"), None if paused == configured else paused)

    def set_threshold(self, section: str, name: str, threshold: float | None) -> None:
        """Of a camera ("cameras") or a slot ("models"); None: what ``base`` says."""
        self._set((section, name, "threshold"), threshold)

    def write(self) -> None:
        """Have it on the disk, power cut or not. Raises RepositoryError; it is in force all the same."""
        disk = Disk(self._path.parent, self._path.parent)
        with self._writing:
            values = self._values
            if values == self._written:
                return  # who asks for the same again and again wears out no card
            try:
                with disk.refusing(f"keep {FILE}"):
                    disk.replace(disk.folder(self._path.parent) / FILE, _text(values).encode())
            except RepositoryError as error:
                self.fault = f"pauses and thresholds that were set are lost at the next start: {error}"
                raise
            self._written, self.fault = values, None

    def _set(self, key: Key, value: object) -> None:
        values = {**self._values, key: value}
        self._values = {each: kept for each, kept in values.items() if kept is not None}

    def _give_up(self, error: ConfigError) -> None:
        try:
            self._path.replace(self._path.with_name(DAMAGED))
        except OSError:
            where = "and cannot be moved away"
        else:
            where = f"and is now {DAMAGED}"
        self.fault = f"{error} {where}: no camera is paused and no threshold set but by the configuration"
        logger.warning("%s", self.fault)


def overridden(read: ReadConfig) -> ReadConfig:
    """A configuration that was read, with everything laid over it and named as its origin.

    Raises ConfigError where the overrides cannot be read.
    """
    values = _read(read.config.agent.state_dir / FILE)
    origins = {
        ".".join(key): FILE for key in values if key[1] in getattr(read.config, key[0])
    }  # what is no longer configured is kept for when it is again
    config = _laid_over(read.config, values)
    return dataclasses.replace(read, config=config, origins={**read.origins, **origins})


def _laid_over(config: Config, values: Mapping[Key, object]) -> Config:
    sections: dict[str, dict[str, Any]] = {"cameras": dict(config.cameras), "models": dict(config.models)}
    for (section, name, key), value in values.items():
        tables = sections[section]
        if name in tables:
            tables[name] = tables[name].model_copy(update={key: value})
    return config.model_copy(update=sections)


def _read(path: Path) -> dict[Key, object]:
    """Raises ConfigError; {} where there is none."""
    try:
        with path.open("rb") as file:
            tables = tomllib.loads(file.read(_LIMIT).decode())
        found = _File.model_validate(tables).model_dump(exclude_none=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError, ValidationError) as error:
        raise ConfigError(f"{path} is damaged") from error
    return {
        (section, name, key): value
        for section, tables in found.items()
        for name, table in tables.items()
        for key, value in table.items()
    }


def _text(values: Mapping[Key, object]) -> str:
    lines = [_HEAD]
    for section, name in sorted({key[:2] for key in values}):
        lines.append(f"[{section}.{name}]")
        lines += [f"{key[2]} = {toml(value)}" for key, value in values.items() if key[:2] == (section, name)]
        lines.append("")
    return "\n".join(lines)
