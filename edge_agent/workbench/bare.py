"""Nothing but ``invoke()``, in a process of its own: what every figure of the benchmark is held against.

For each line on stdin it runs a round and prints the milliseconds per inference.
"""

from __future__ import annotations

import sys
import time

from edge_agent.worker.interpreter import Network, load_runtime


def main(path: str, runtime: str, threads: int, frames: int) -> None:
    """A round of ``frames`` inferences per line on stdin."""
    network = Network(load_runtime(runtime), path, threads)
    network.invoke()
    for _ in sys.stdin:
        start = time.perf_counter()
        for _frame in range(frames):
            network.invoke()
        print((time.perf_counter() - start) / frames * 1e3, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
