"""The program once it hears SIGTERM: runs a command; errors become one line and an exit code."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from edge_agent.cli import edge_agent
from edge_agent.errors import EdgeAgentError, one_line
from edge_agent.logs import error_line

INTERRUPTED = 130  # as a shell says of SIGINT


def run_program(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1, 2 (usage), 78 (configuration), 130 (Ctrl-C).

    Without ``arguments`` it is the program itself and may leave instead of returning.
    """
    if arguments is not None:
        return _code_of(list(arguments))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Labels and file names may hold what the locale cannot write, or what is no UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    _open_closed_streams()
    code = _code_of(sys.argv[1:])
    _leave_if_threads_are_left(code)
    return code


def _open_closed_streams() -> None:
    """``edge-agent run <&- >&- 2>&-``: Python has None for a closed stream, and its number would go to the
    next file or socket, which no child could then be given.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It takes the lowest free number, the stream's own.
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  for good


def _code_of(arguments: list[str]) -> int:
    given, debug = _without_debug(arguments)
    try:
        return _finish(_run(given or ["--help"]))
    except click.ClickException as error:
        return _tell(_usage(error), error.exit_code)
    except click.Abort:
        return INTERRUPTED
    except EdgeAgentError as error:
        _trace(debug)
        return _tell(str(error), error.exit_code)
    except OSError as error:
        _trace(debug)
        return _tell(_output_failed(error) or _fault(error), 1)
    except Exception as error:
        _trace(debug)
        return _tell(_fault(error), 1)


def _run(arguments: list[str]) -> int:
    code = edge_agent.main(arguments, prog_name="edge-agent", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """``--debug`` may stand anywhere before a ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return options + arguments[end:], len(options) < end


def _finish(code: int) -> int:
    """Write out what is left, for at exit an error would be a traceback and no exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()  # the reader has seen enough: `edge-agent ... | head`
    return code


def _leave_if_threads_are_left(code: int) -> None:
    """A thread that comes back from C++ (a camera's driver or decoder) while Python is being taken down is
    unwound through it, which ends the process by SIGABRT: then it is not taken down.
    """
    if threading.active_count() > 1:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _drop_output() -> None:
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _output_failed(error: OSError) -> str | None:
    """Rooms translate what the system says of files; of standard output nobody else speaks."""
    if error.errno not in (errno.ENOSPC, errno.EIO) or error.filename is not None:
        return None
    _drop_output()
    return f"cannot write the output: {error.strerror}; send it elsewhere"


def _fault(error: Exception) -> str:
    return f"internal fault: {type(error).__name__}: {error}; run again with --debug"


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see '{context.command_path} --help'" if context else message


def _trace(debug: bool) -> None:
    if debug:
        traceback.print_exc()


def _tell(what: str, code: int) -> int:
    print(error_line(f"error: {one_line(what)}", os.environ, sys.stderr), file=sys.stderr)
    return code
