"""Who this agent is for as long as its state lasts: a new name, address or broker does not change it."""

from __future__ import annotations

import logging
import re
import uuid
from pathlib import Path

from edge_agent.repository import Disk

logger = logging.getLogger(__name__)

FILE = "agent-id"

_WHOLE = re.compile("[0-9a-f]{32}")
_NAMED = uuid.UUID("5f0e4b0c-6d5d-4a53-9a70-6f2c8f3b6f11")
"""A name space of our own, so that nobody else makes the same id of the same name."""


def agent_id(state_dir: Path, name: str) -> str:
    """32 hex digits, made once and kept in ``state_dir``.

    Where they cannot be kept, with a warning, those that follow from ``name``: they last as long as it does.
    """
    path = state_dir / FILE
    try:
        kept = path.read_text(errors="replace").strip()
        if _WHOLE.fullmatch(kept):
            return kept
        logger.warning("%s holds no id: a new one is made, and Home Assistant sees a new device", path)
    except FileNotFoundError:
        pass
    except OSError as error:
        return _named(path, name, error)
    fresh = uuid.uuid4().hex
    disk = Disk(state_dir, state_dir)
    try:
        disk.folder(state_dir)
        disk.replace(path, f"{fresh}\n".encode())
    except OSError as error:
        return _named(path, name, error)
    return fresh


def _named(path: Path, name: str, error: OSError) -> str:
    said = "%s: %s; the agent's id is made of its name: give it a state_dir that it may write to"
    logger.warning(said, path, error.strerror or error)
    return uuid.uuid5(_NAMED, name).hex
