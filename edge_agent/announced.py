"""What was announced to Home Assistant, kept in a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edge_agent.repository import Disk

logger = logging.getLogger(__name__)

FILE = "home-assistant.json"


@dataclass(frozen=True)
class Announced:
    """Where, and the platform of each entity by its key."""

    topic: str
    components: Mapping[str, str]


_ANNOUNCED = TypeAdapter(Announced)


class AnnouncedFile:
    """``state_dir/home-assistant.json``. Without it all works, but what went while the agent was stopped
    stays in Home Assistant.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._disk = Disk(state_dir, state_dir)

    def read(self) -> Announced | None:
        """None where nothing was announced, or that is not known any more."""
        try:
            return _ANNOUNCED.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            logger.warning("%s: %s; Home Assistant may keep entities that are gone", self._path, reason)
            return None

    def write(self, announced: Announced | None) -> None:
        """Keep it; None: nothing is announced."""
        try:
            if announced is None:
                self._path.unlink(missing_ok=True)
                return
            self._disk.folder(self._path.parent)
            self._disk.replace(self._path, json.dumps(_ANNOUNCED.dump_python(announced)).encode())
        except OSError as error:
            logger.warning("%s: %s; it is announced all the same", self._path, error.strerror or error)
