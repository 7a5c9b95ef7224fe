"""edge_agent.logs: one line each, in the form its reader wants."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.logs import LineHandler, error_line, set_level, set_up_logs


class Terminal(io.StringIO):
    """A terminal, as far as a formatter asks."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The loggers of the other tests."""
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        root.removeHandler(handler)
    logging.getLogger("edge_agent").setLevel(logging.NOTSET)


logger = logging.getLogger("edge_agent.logs_test")


def test_a_pipe_gets_the_whole_time() -> None:
    """A log file is read days later, elsewhere."""
    stream = io.StringIO()
    set_up_logs("info", {}, stream)
    logger.warning("camera %s is back", "door")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING edge_agent\.logs_test: camera door is back\n",
        stream.getvalue(),
    )


def test_a_terminal_gets_the_time_of_day() -> None:
    """Short, without colour."""
    stream = Terminal()
    set_up_logs("info", {}, stream)
    logger.info("hello")
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    edge_agent\.logs_test: hello\n", stream.getvalue())


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 3)],
)
def test_the_journal_gets_a_priority(tmp_path: Path, level: int, priority: int) -> None:
    """`journalctl -p warning` finds warnings; the time is the journal's own."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        set_up_logs("debug", {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, stream)
        logger.log(level, "hello")
        stream.seek(0)
        assert f"<{priority}>edge_agent.logs_test: hello\n" == stream.read()


def test_the_last_line_of_a_command_is_an_error_in_the_journal(tmp_path: Path) -> None:
    """`journalctl -p err` finds why the service does not start; a terminal sees nothing of it."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert "<3>error: bad luck" == error_line("error: bad luck", environ, stream)
        assert "error: bad luck" == error_line("error: bad luck", {}, stream)


def test_another_journal_stream_is_not_ours(tmp_path: Path) -> None:
    """A child whose stderr is redirected inherits the variable; its lines have no prefix."""
    with (tmp_path / "journal").open("w+") as stream:
        set_up_logs("info", {"JOURNAL_STREAM": "1:1"}, stream)
        logger.info("hello")
        stream.seek(0)
        assert not stream.read().startswith("<")


def test_the_level_is_ours_alone() -> None:
    """Other packages are heard from WARNING on, whatever ours is; it changes while the agent runs."""
    stream = io.StringIO()
    set_up_logs("debug", {}, stream)
    logging.getLogger("other").info("unheard")
    logging.getLogger("other").warning("heard")
    logger.debug("heard")
    set_level("error")
    logger.warning("unheard")
    assert 2 == stream.getvalue().count("heard\n")
    assert "unheard" not in stream.getvalue()


def test_a_second_set_up_replaces_the_first() -> None:
    """No line comes twice."""
    first, second = io.StringIO(), io.StringIO()
    set_up_logs("info", {}, first)
    set_up_logs("info", {}, second)
    logger.info("hello")
    assert "" == first.getvalue()
    assert 1 == second.getvalue().count("hello")


def test_a_record_is_one_line() -> None:
    """Whatever a label, a topic or a broker smuggles in, it forges no second record and no colour."""
    stream = io.StringIO()
    set_up_logs("info", {}, stream)
    logger.info("label %s", "a\nb\x1b[31m\u2028c")
    assert stream.getvalue().endswith("label a\\nb\\x1b[31m\\u2028c\n")
    assert 1 == stream.getvalue().count("\n")


@pytest.mark.parametrize(
    ("level", "end"), [("info", r"ValueError: bad luck \(test_logs\.py:\d+\)"), ("debug", "luck")]
)
def test_an_exception_stays_on_the_line(level: str, end: str) -> None:
    """Type, text and place; the whole traceback at level debug."""
    stream = io.StringIO()
    set_up_logs(level, {}, stream)
    try:
        raise ValueError("bad luck")
    except ValueError:
        logger.exception("camera thread")
    assert re.search(f"ERROR edge_agent.logs_test: camera thread: .*{end}\n$", stream.getvalue())
    assert ("Traceback" in stream.getvalue()) == (level == "debug")
    assert 1 == stream.getvalue().count("\n")


def test_stderr_is_the_default() -> None:
    """Nothing is logged to stdout, which belongs to the command's results."""
    script = (
        "import logging, os\nfrom edge_agent.logs import set_up_logs\n"
        "set_up_logs('info', os.environ)\nlogging.getLogger('edge_agent').info('hello')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ("", True) == (done.stdout, done.stderr.endswith("INFO edge_agent: hello\n"))
