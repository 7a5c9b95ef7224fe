"""Tables as they are meant, before they are text of some kind."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_agent.errors import one_line


@dataclass(frozen=True)
class Table:
    """A title, a header per column, and rows of text; columns named in ``right`` hold numbers."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()


def markdown(table: Table) -> Iterator[str]:
    """The lines of a Markdown table under its title."""
    yield f"## {table.title}"
    yield ""
    yield _pipes(table.headers)
    yield _pipes(["---:" if header in table.right else "---" for header in table.headers])
    yield from map(_pipes, table.rows)


def html_table(table: Table) -> Iterator[str]:
    """The lines of an HTML table under its title."""
    yield f"<h2>{html.escape(table.title)}</h2>"
    yield "<table>"
    classes = ["n" if header in table.right else "" for header in table.headers]
    for tag, row in (("th", table.headers), *(("td", row) for row in table.rows)):
        cells = (
            f'<{tag} class="{kind}">{html.escape(cell)}</{tag}>'
            if kind
            else f"<{tag}>{html.escape(cell)}</{tag}>"
            for cell, kind in zip(row, classes, strict=True)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</table>"


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV with a header; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return text.getvalue()


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"
