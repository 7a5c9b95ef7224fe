"""A small file in ``state_dir`` that follows a value."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from edge_agent.clock import Clock
from edge_agent.repository import Disk

logger = logging.getLogger(__name__)

T = TypeVar("T")

Later = Callable[[Callable[[], None]], None]
"""Has a piece of work done, beside who hands it over."""

AGAIN_S = 60.0
"""Before a disk that refused is tried again: it is full for minutes, not for moments."""


class StateFile(Generic[T]):
    """JSON of the shape ``kind``; what cannot be read or written is warned of, with what goes ``without`` it.

    ``keep`` belongs to one thread, and is called again and again. A power cut leaves what was kept before, or
    what is kept now; the card is written to only where that differs.
    """

    def __init__(self, path: Path, kind: TypeAdapter[T], later: Later, clock: Clock, without: str) -> None:
        self._path = path
        self._kind = kind
        self._later = later
        self._clock = clock
        self._without = without
        self._disk = Disk(path.parent, path.parent)
        self._writing = threading.Lock()
        self._value: T | None = None
        self._written: T | None = None
        self._refused = False
        self._again_ns: int | None = None

    def read(self) -> T | None:
        """None where nothing was kept, or that is not known any more."""
        try:
            self._value = self._written = self._kind.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            logger.warning("%s: %s; %s", self._path, reason, self._without)
        return self._value

    def keep(self, value: T | None) -> None:
        """Have that on the disk soon, or once the disk takes it; None: nothing is to be there."""
        again = self._again_ns is not None and self._clock.monotonic_ns() >= self._again_ns
        if value != self._value or again:
            self._value, self._again_ns = value, None
            self._later(self._write)

    def _write(self) -> None:
        """What is wanted by now, so that the last one wins, whichever comes first."""
        with self._writing:
            value = self._value
            if value == self._written:
                return
            try:
                if value is None:
                    self._path.unlink(missing_ok=True)
                else:
                    self._disk.folder(self._path.parent)
                    self._disk.replace(self._path, self._kind.dump_json(value))
            except OSError as error:
                level = logging.DEBUG if self._refused else logging.WARNING
                logger.log(level, "%s: %s; %s", self._path, error.strerror or error, self._without)
                self._refused, self._again_ns = True, self._clock.monotonic_ns() + int(AGAIN_S * 1e9)
            else:
                self._written, self._refused = value, False
