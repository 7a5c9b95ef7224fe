"""The worker's end of the places that the daemon writes input tensors into. Runs on Python 3.9."""

from __future__ import annotations

import mmap
from typing import Dict, Tuple


class Places:
    """Maps each place once, for reading alone: nothing that runs wild here reaches the daemon's memory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._views: Dict[Tuple[int, int], memoryview] = {}

    def view(self, offset: int, size: int) -> memoryview:
        """The ``size`` bytes at ``offset``."""
        view = self._views.get((offset, size))
        if view is None:
            memory = mmap.mmap(self._descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)
            view = self._views[offset, size] = memoryview(memory)
        return view
