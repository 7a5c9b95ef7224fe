"""Memory that the daemon shares with one worker: input tensors are written into it and never sent."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
import weakref
from dataclasses import dataclass

import numpy as np

from edge_agent.tensors import Array, TensorSpec

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
"""What is mapped stays: a worker that cut the memory short would end us with SIGBUS."""

MAX_TENSOR = 1 << 26
"""Bytes: a float32 input of 2000 x 2000 x 3 fits; a garbled model must not ask for all there is."""


@dataclass(frozen=True, eq=False)
class Place:
    """Room for one input tensor of ``network``: ``tensor``, of the input spec's shape and dtype.

    The memory lasts as long as somebody holds it; the worker sees it as long as it lives.
    """

    network: str
    tensor: Array
    offset: int


class SharedMemory:
    """The memory of one worker's places; it grows with each that is taken. Any thread may use it."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._descriptor = os.memfd_create("edge-agent-places", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._lock = threading.Lock()
        self._size = 0
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def fileno(self) -> int:
        """To be passed on to the child, which maps it for reading."""
        return self._descriptor

    def place(self, network: str, spec: TensorSpec) -> Place:
        """One more place. Raises OSError where there is no memory for it, or it is closed."""
        if spec.nbytes > MAX_TENSOR:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        pages = -(-spec.nbytes // mmap.ALLOCATIONGRANULARITY)
        length = pages * mmap.ALLOCATIONGRANULARITY
        with self._lock:
            if not self._close.alive:
                raise OSError("the memory is closed")
            # Not merely made longer: memory that cannot be had is an error here, and SIGBUS when written to.
            os.posix_fallocate(self._descriptor, self._size, length)
            memory = mmap.mmap(self._descriptor, length, offset=self._size)
            place = Place(network, np.ndarray(spec.shape, spec.dtype, memory), self._size)
            self._size += length
        return place

    def close(self) -> None:
        """Take no more places; those that were taken stay as they are."""
        with self._lock:
            self._close()
