"""How much memory glibc keeps for this process: in how many heaps, and what is free in them."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8
"""Of malloc.h, for mallopt(3)."""


def share_one_heap() -> None:
    """Let all threads share the main heap: glibc gives each thread its own, each keeps the largest pictures
    that it ever held (some 20 MB with every camera that fails and comes back), and of these heaps it never
    returns what is free at their ends, 50 MB after a scene was drawn.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def return_free_pages() -> None:
    """Give the kernel what is free in all heaps: glibc keeps what large arrays took once it was freed, for it
    takes them for common.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
