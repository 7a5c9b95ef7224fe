"""What a look at the machine says: one line each, and for what is wrong the reason and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``name`` is stable, for programs; ``found`` is what there is; ``why`` is why it matters; ``remedy`` is
    what to do, in words; ``fix`` is a command that can be typed as it stands. A problem has a ``why``, and a
    ``remedy`` or a ``fix``: no command plugs in a stick.
    """

    name: str
    level: Level
    found: str
    why: str | None = None
    remedy: str | None = None
    fix: str | None = None
