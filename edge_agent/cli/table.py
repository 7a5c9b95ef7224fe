"""Tables for people: columns as wide as what is in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

_GAP = "  "


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> Iterator[str]:
    """The lines of a table. Columns whose header is among ``right`` are set to the right."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        cells = [
            cell.rjust(width) if header in right else cell.ljust(width)
            for header, cell, width in zip(headers, row, widths, strict=True)
        ]
        yield _GAP.join(cells).rstrip()


def local_time(timestamp: str | None) -> str:
    """A published timestamp as "2026-11-20 12:00", here; "-" for none."""
    if timestamp is None:
        return "-"
    return datetime.fromisoformat(timestamp).astimezone().strftime("%Y-%m-%d %H:%M")


def size_text(size: int) -> str:
    """Bytes as "2.6 MB"."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
