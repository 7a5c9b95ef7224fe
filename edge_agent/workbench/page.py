"""Tables and pictures as one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from edge_agent.workbench.tables import Table, html_table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 68em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; padding: 0.2em 0.9em 0.2em 0; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #999; } .n { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
"""


def html_page(title: str, tables: Sequence[Table], pictures: Sequence[tuple[str, bytes]]) -> str:
    """The first table, the pictures (what each shows, and its PNG), and the other tables."""
    lines = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        *html_table(tables[0]),
    ]
    for shows, png in pictures:
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        lines += [f"<h2>{html.escape(shows)}</h2>", f'<img alt="{html.escape(shows)}" src="{source}">']
    for table in tables[1:]:
        lines += html_table(table)
    return "\n".join([*lines, "</body></html>", ""])
