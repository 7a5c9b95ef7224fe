"""The steps that a plan may name, for a slot's workers on the CPU and for the Edge TPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """Start a worker on the CPU for the slot, with the model of this digest."""

    slot: str
    digest: str


@dataclass(frozen=True)
class Flip:
    """Let this READY worker on the CPU serve its slot."""

    key: int


@dataclass(frozen=True)
class Retire:
    """End this worker on the CPU."""

    key: int


@dataclass(frozen=True)
class GiveUp:
    """Stop trying: the slot's model keeps killing its workers."""

    slot: str


@dataclass(frozen=True)
class Promote:
    """Let the slot's candidate serve, and the slot aspire to it: it has shown what it must."""

    slot: str


@dataclass(frozen=True)
class Refuse:
    """Let the slot's candidate go: only an Edge TPU could run it, and none is there."""

    slot: str


@dataclass(frozen=True)
class Look:
    """See whether there is an Edge TPU for us."""


@dataclass(frozen=True)
class Climb:
    """Take the next rung of the recovery ladder."""


@dataclass(frozen=True)
class StartEdgeTpu:
    """Start the Edge TPU's worker with these networks: digests by slot."""

    networks: Mapping[str, str]


@dataclass(frozen=True)
class Prove:
    """Hold the Edge TPU's worker against the CPU's answers."""


@dataclass(frozen=True)
class FlipToEdgeTpu:
    """Let the proven worker of the Edge TPU serve this slot."""

    slot: str


@dataclass(frozen=True)
class RetireEdgeTpu:
    """End the Edge TPU's worker."""


@dataclass(frozen=True)
class Release:
    """Give the Edge TPU back: no slot has a use for it."""


SlotAction = Start | Flip | Retire | GiveUp | Promote | Refuse
StickAction = Look | Climb | StartEdgeTpu | Prove | FlipToEdgeTpu | RetireEdgeTpu | Release
Action = SlotAction | StickAction
