"""places.py: memory shared with a worker."""

from __future__ import annotations

import os

import numpy as np
import pytest

from edge_agent.places import MAX_TENSOR, SharedMemory
from edge_agent.tensors import TensorSpec
from edge_agent.worker.places import Places

SPEC = TensorSpec("input", (1, 70, 70, 3), "int8")


def test_what_is_written_is_read_at_the_other_end() -> None:
    """Each place is its own, also those that are taken after the worker has mapped the first."""
    memory = SharedMemory()
    theirs = Places(memory.fileno())
    places = []
    for value in (1, 2, 3):
        place = memory.place("model", SPEC)
        assert ("model", SPEC.shape, np.dtype("int8")) == (
            place.network,
            place.tensor.shape,
            place.tensor.dtype,
        )
        place.tensor.fill(value)
        assert bytes([value]) * SPEC.nbytes == bytes(theirs.view(place.offset, SPEC.nbytes))
        places.append(place)
    places[0].tensor.fill(9)
    assert [9, 2, 3] == [theirs.view(place.offset, SPEC.nbytes)[-1] for place in places]
    memory.close()


def test_a_worker_cannot_take_the_memory_away() -> None:
    """Cut short, it would end the daemon with SIGBUS; and what the worker maps it cannot write to."""
    memory = SharedMemory()
    place = memory.place("model", SPEC)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fileno(), 0)
    assert Places(memory.fileno()).view(place.offset, SPEC.nbytes).readonly
    memory.close()


def test_places_outlast_the_memory() -> None:
    """A lane that is late by a moment writes into memory that is still there; new places there are none."""
    memory = SharedMemory()
    place = memory.place("model", SPEC)
    memory.close()
    place.tensor.fill(7)
    assert 7 == place.tensor[0, 69, 69, 2]
    with pytest.raises(OSError, match="closed"):
        memory.place("model", SPEC)


def test_an_input_over_the_limit_has_no_place() -> None:
    """What a garbled model asks for must not take the machine's memory."""
    memory = SharedMemory()
    with pytest.raises(OSError, match="too large"):
        memory.place("model", TensorSpec("input", (1, MAX_TENSOR + 1), "uint8"))
    memory.close()
