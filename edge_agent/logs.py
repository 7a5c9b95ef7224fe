"""Where log records go: stderr, one line each, without colour.

For the journal each line begins with its syslog priority (``<4>``), for it keeps the time itself; in a
terminal it begins with the time of day; elsewhere (a file, a pipe) with the whole time in UTC.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog(3); below: 7, debug


def set_up_logs(level: str, environ: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Send every record to ``stream`` (stderr); calling it again replaces what it had set up.

    Other packages are heard from WARNING on, edge-agent itself from ``level`` on ("debug" ... "error").
    """
    stream = stream or sys.stderr
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        root.removeHandler(handler)
    handler = LineHandler(stream)
    handler.setFormatter(_formatter(stream, environ))
    root.addHandler(handler)
    set_level(level)


def set_level(level: str) -> None:
    """Change the level while the agent runs."""
    logging.getLogger("edge_agent").setLevel(level.upper())


def error_line(text: str, environ: Mapping[str, str], stream: TextIO) -> str:
    """The line with which a command ends on ``stream``: in the journal an error, too."""
    return f"<3>{text}" if _is_the_journal(stream, environ.get("JOURNAL_STREAM", "")) else text


class LineHandler(logging.StreamHandler[TextIO]):
    """The one handler of ours, known by its class."""


class LineFormatter(logging.Formatter):
    """``level name: message`` on one line, whatever the message holds.

    Control characters are escaped. An exception is told by its type, text and innermost place; at level
    "debug" with its whole traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The whole line, without its end."""
        text = f"{self.opening(record)}{record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1]:
            text += f": {self._exception(record)}"
        return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)

    def opening(self, record: logging.LogRecord) -> str:
        """What stands before the logger's name."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{moment}.{int(record.msecs):03d}Z {record.levelname} "

    def _exception(self, record: logging.LogRecord) -> str:
        assert record.exc_info
        _, error, trace = record.exc_info
        if logging.getLogger("edge_agent").isEnabledFor(logging.DEBUG):
            return "".join(traceback.format_exception(error)).rstrip()
        innermost = traceback.extract_tb(trace)[-1:]
        place = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in innermost)
        return f"{type(error).__name__}: {error}{place}"


class TerminalFormatter(LineFormatter):
    """For the eyes: the time of day, here."""

    def opening(self, record: logging.LogRecord) -> str:
        """``12:00:00 WARNING ``."""
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname:<7} "


class JournalFormatter(LineFormatter):
    """For systemd's journal, which reads the priority off the line and keeps the time itself."""

    def opening(self, record: logging.LogRecord) -> str:
        """``<4>``."""
        return f"<{next((number for level, number in _PRIORITIES if record.levelno >= level), 7)}>"


def _formatter(stream: TextIO, environ: Mapping[str, str]) -> LineFormatter:
    if _is_the_journal(stream, environ.get("JOURNAL_STREAM", "")):
        return JournalFormatter()
    return TerminalFormatter() if stream.isatty() else LineFormatter()


def _is_the_journal(stream: TextIO, journal: str) -> bool:
    """Whether systemd's ``device:inode`` is this stream: children inherit the variable."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal == f"{status.st_dev}:{status.st_ino}"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
