"""How many heaps glibc keeps for the threads of this process."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8
"""Of malloc.h, for mallopt(3)."""


def use_few_arenas() -> None:
    """Let all threads share two heaps: glibc gives each thread its own, and each keeps the largest pictures
    that it ever held (some 20 MB with every camera that fails and comes back).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)
