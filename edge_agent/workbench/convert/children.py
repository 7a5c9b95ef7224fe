"""The children that convert: their memory, their logs and their end are their own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any

from edge_agent.errors import ConversionError, EdgeAgentError, ending

TIMEOUT_S = 1800.0
"""To convert, once it has been given all: a small board takes minutes for what a PC does in seconds."""

FEED_TIMEOUT_S = 120.0
"""For one picture."""

WITHOUT_PACKAGES = "pip install ai-edge-quantizer tensorflow"

Answer = Mapping[str, Any]


def run_child(module: str, arguments: Sequence[str], feed: Iterable[bytes] = ()) -> Answer:
    """Run a module of this package as a program; what it answers. ``feed`` goes to its standard input.

    Raises ConversionError: in its words, or of its death. Whatever ends this ends the child.
    """
    command = [sys.executable, "-P", "-m", f"edge_agent.workbench.convert.{module}", *arguments]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        # A group of its own: Ctrl-C is ours, and ends it below.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=complained, process_group=0
        ) as child:
            try:
                assert child.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    _feed(child.stdin.fileno(), feed)
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.close()
                child.wait(TIMEOUT_S)
            except BaseException as error:
                child.kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise ConversionError(
                        f"not done after {TIMEOUT_S:.0f} s", "use a smaller network"
                    ) from error
                raise
        return _answer_of(child.returncode, said, complained)


def _feed(descriptor: int, feed: Iterable[bytes]) -> None:
    """Write all of it. Raises ConversionError where the child takes nothing for too long."""
    os.set_blocking(descriptor, False)
    for piece in feed:
        left = memoryview(piece)
        end_s = time.monotonic() + FEED_TIMEOUT_S
        while left:
            wait_s = end_s - time.monotonic()
            if wait_s <= 0:
                raise ConversionError("the quantiser takes no more pictures", "run it again")
            if select.select([], [descriptor], [], wait_s)[1]:
                left = left[os.write(descriptor, left) :]


def _answer_of(returncode: int, said: IO[bytes], complained: IO[bytes]) -> Answer:
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").splitlines()
    with contextlib.suppress(ValueError, IndexError):
        answer = json.loads(lines[-1])
        if "error" in answer:
            raise ConversionError(answer["error"], answer["remedy"])
        if returncode == 0 and isinstance(answer, dict):
            return answer
    complained.seek(0)
    words = complained.read().decode("utf-8", "replace").strip().splitlines()
    last = f": {words[-1]}" if words else ""
    remedy = "it may want more memory than there is: convert on a larger machine"
    raise ConversionError(f"the converter ended by {ending(returncode)}{last}", remedy)


def serve(package: str, work: Callable[[Sequence[str]], Answer]) -> int:
    """The whole of such a child: do it, and answer in one line. The exit code."""
    # Libraries print as they please; the answer is the last line of what was stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(2), "wb"), write_through=True)
    try:
        answer = work(sys.argv[1:])
    except ImportError as error:
        answer = {"error": f"{package} is not installed ({error})", "remedy": WITHOUT_PACKAGES}
    except EdgeAgentError as error:
        answer = {"error": error.what, "remedy": error.remedy}
    except Exception as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        answer = {"error": f"{package}: {told[0][:500] if told else type(error).__name__}", "remedy": None}
    print(json.dumps(answer), file=answers, flush=True)
    return 1 if "error" in answer else 0
