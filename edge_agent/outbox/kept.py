"""One message that must not be lost, and how a batch of them becomes the bytes of one row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BATCH_ROWS = 500
"""Messages in one row at most: so many at most may be sent again after a kill in the middle of them."""

BATCH_BYTES = 256 * 1024
"""Topics and payloads in one row at most, before they are packed."""


@dataclass(slots=True, eq=False)
class Batch:
    """One row on the disk: messages ``first`` to ``last``, of which ``pending`` are not acknowledged.

    ``oldest_ns`` and ``newest_ns`` are Unix times; ``monotonic_ns`` is the newest's in the boot ``boot``.
    """

    first: int
    last: int
    count: int
    nbytes: int
    oldest_ns: int
    newest_ns: int
    monotonic_ns: int
    boot: str
    pending: int = 0


@dataclass(slots=True, eq=False)
class Kept:
    """One message. ``wall_ns`` and ``monotonic_ns`` are when it was handed over, in the boot ``boot``;
    ``number`` is its place in the order of all, ``batch`` where it is on the disk.
    """

    topic: str
    payload: bytes
    wall_ns: int
    monotonic_ns: int
    boot: str
    number: int = 0
    batch: Batch | None = None
    settled: bool = False

    @property
    def nbytes(self) -> int:
        """What it counts for against the bound; characters of the topic stand for bytes."""
        return len(self.topic) + len(self.payload)


def batches(messages: Sequence[Kept]) -> Iterator[list[Kept]]:
    """The messages in their order, as many of one boot together as one row takes; none that is stored stands
    between two of a row.
    """
    batch: list[Kept] = []
    nbytes = 0
    for message in messages:
        full = len(batch) == BATCH_ROWS or nbytes + message.nbytes > BATCH_BYTES
        if batch and (full or message.boot != batch[0].boot or message.number > batch[-1].number + 1):
            yield batch
            batch, nbytes = [], 0
        batch.append(message)
        nbytes += message.nbytes
    if batch:
        yield batch


def pack(messages: Sequence[Kept]) -> bytes:
    """Messages of one camera are much alike: packed they wear a card a fifth as much (measured)."""
    rows = [
        [each.topic, _text(each.payload), each.wall_ns, each.monotonic_ns, each.number] for each in messages
    ]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode())


def unpack(packed: bytes, batch: Batch) -> list[Kept]:
    """The messages of a row. Raises ValueError where it is damaged."""
    try:
        rows = json.loads(zlib.decompress(packed))
        messages = [
            Kept(topic, _bytes(text), wall_ns, monotonic_ns, batch.boot, number, batch)
            for topic, text, wall_ns, monotonic_ns, number in rows
        ]
    except (zlib.error, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    if len(messages) != batch.count:
        raise ValueError(f"{len(messages)} messages instead of {batch.count}")
    return messages


def _text(payload: bytes) -> str:
    """Any bytes as text that JSON can hold; UTF-8 stays what it is."""
    return payload.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
