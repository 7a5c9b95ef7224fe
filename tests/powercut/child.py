"""Forks a process for each order on stdin, which does its work on a repository and may die in it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from pathlib import Path

from edge_agent.bundle import read_bundle
from edge_agent.errors import DamagedVersionError
from edge_agent.repository import Repository

SLOT = "default"


def do(repository: Repository, work: list[str]) -> None:
    """``install PATH``, ``activate DIGEST``, ``rollback`` ..."""
    name, *arguments = work
    if name == "install":
        repository.install(read_bundle(Path(arguments[0])), "a test")
    elif name == "try":
        repository.activate(arguments[0], on_trial=True)
    elif name == "reject":
        repository.reject(arguments[0], "fruit", "its golden image", "a test")
    elif name == "read":
        with contextlib.suppress(DamagedVersionError):
            repository.read(arguments[0])
    else:
        getattr(repository, name)(*arguments)


def main() -> None:
    """Answer each order with the status that the process ended with: 0, or the signal's number."""
    arm = ctypes.CDLL(None).powercut_arm
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            arm(order["state_dir"].encode(), order["at"], order["log"].encode())
            with Repository(Path(order["state_dir"]), SLOT) as repository:
                do(repository, order["work"])
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
