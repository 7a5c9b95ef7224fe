"""Long lines for people: broken between words, and what follows set below the text."""

from __future__ import annotations

import textwrap

WIDTH = 80
"""What every terminal shows, a serial console too."""


def folded(text: str, start: str, width: int = WIDTH) -> list[str]:
    """The lines of ``text`` behind ``start``. No word is broken: it may be a path, or part of a command."""
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [start.rstrip()]
