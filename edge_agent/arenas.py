"""How much memory glibc keeps for this process: how many heaps its threads have, and what is free in them."""

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


def return_free_pages() -> None:
    """Give the kernel what is free in all heaps: glibc keeps what large arrays took once it was freed, for it
    takes them for common.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
