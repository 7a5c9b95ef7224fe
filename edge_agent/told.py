"""What is retained of each camera on the broker, kept in a file: a kill leaves it there, and the next start
takes it back before the first prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter

from edge_agent.clock import Clock
from edge_agent.errors import ConfigError
from edge_agent.state_file import Later, StateFile
from edge_agent.topics import check_level

FILE = "told.json"


def _level(name: str) -> str:
    try:
        return check_level(name)
    except ConfigError as error:
        raise ValueError(error.what) from error


_Level = Annotated[str, AfterValidator(_level)]


@dataclass(frozen=True)
class Told:
    """Of one camera: the ``slugs`` of labels whose state is retained; with ``multilabel`` there is no settled
    label.
    """

    slugs: tuple[_Level, ...] = ()
    multilabel: bool = False


ToldFile = StateFile[Mapping[_Level, Told]]
"""By camera."""


def told_file(state_dir: Path, later: Later, clock: Clock) -> ToldFile:
    """Without it all works, but a state may stand ON until the first prediction after a kill."""
    kind = TypeAdapter[Mapping[_Level, Told]](Mapping[_Level, Told])
    without = "states of labels may stand until the first prediction"
    return StateFile(state_dir / FILE, kind, later, clock, without)
