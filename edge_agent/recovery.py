"""What is done about an Edge TPU that fails: the rungs of a ladder, and the pauses between them.

Which rung, and after how long, is decided by pure functions; ``climb`` acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Rung(Enum):
    """What precedes the next worker: nothing, a reset of the stick, its port without power for a while."""

    RESPAWN = "respawn"
    USB_RESET = "usb-reset"
    POWER_CYCLE = "power-cycle"


@dataclass(frozen=True)
class Ladder:
    """How often each rung is tried in a row, and the pauses between.

    ``backoff_s`` is the first pause, ``backoff_max_s`` the longest; a stick that served for ``stable_s`` has
    its failures forgotten.
    """

    respawns: int = 2
    usb_resets: int = 2
    power_cycles: int = 1
    backoff_s: float = 1.0
    backoff_max_s: float = 300.0
    stable_s: float = 60.0


def rung_for(step: int, ladder: Ladder) -> Rung:
    """The rung after ``step`` further failures in a row: 0 after the first one.

    After the last rung the ladder begins again; where every rung is left out a new worker is all that is
    tried.
    """
    rungs = (
        [Rung.RESPAWN] * ladder.respawns
        + [Rung.USB_RESET] * ladder.usb_resets
        + [Rung.POWER_CYCLE] * ladder.power_cycles
    )
    return rungs[step % len(rungs)] if rungs else Rung.RESPAWN


def delay_s(failures: int, ladder: Ladder, jitter: float) -> float:
    """How long to wait after that many failures in a row: not at all after the first, then doubling from
    ``backoff_s`` to the cap; ``jitter`` in 0..1 spreads it over 80 to 120 %.
    """
    if failures <= 1:
        return 0.0
    doubled = ladder.backoff_s * 2.0 ** min(failures - 2, 30)
    return min(ladder.backoff_max_s, doubled) * (0.8 + 0.4 * jitter)
