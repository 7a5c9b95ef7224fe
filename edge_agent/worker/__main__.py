"""A worker: one set of networks on one device, from its start to its end.

It says ``ready``, ``refused`` or ``unable`` once, then answers each ``run`` with ``scores`` or
``failed``, and leaves when its socket ends. Runs on Python 3.9 with numpy and one TensorFlow Lite runtime.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Tuple

from edge_agent.errors import EdgeAgentError, InferenceError, ModelRefusedError, RuntimeMissingError
from edge_agent.tensors import TensorSpec
from edge_agent.worker import leash
from edge_agent.worker.interpreter import COMPILED_OPERATOR, Network, describe, load_delegate, load_runtime
from edge_agent.worker.places import Places
from edge_agent.worker.protocol import FAILED, SCORES, TOLD, Channel, GraphDescription

LEAVE_AFTER_S = 0.7
"""How long an invoke in flight may go on once the daemon is gone: a transfer to an Edge TPU that is
cut short wedges it, and a whole inference takes far less.
"""

NO_CORE = 1
"""Bytes. Writing a core of 100 MB to an SD card delays the news of the death; with 0, unlike 1, the kernel
would still hand it to a program that collects cores (core(5)).
"""


def main(arguments: Optional[List[str]] = None) -> int:
    """Serve until the socket ends."""
    options = _parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Meant for the daemon, which drains first; a worker follows its socket.
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=options.socket)
    busy = threading.Lock()
    threading.Thread(target=_leave_with, args=(options.socket, busy), name="leave", daemon=True).start()
    # A runtime that loads a model lets no other Python thread run: for that long the kernel alone watches,
    # its clock over a start that hangs, and the death of whoever started us.
    leash.put_on(options.start_timeout_s)
    _limit(resource.RLIMIT_CORE, NO_CORE)
    if options.memory_limit:
        _limit(resource.RLIMIT_AS, options.memory_limit)
    channel, places = Channel(sock), Places(options.memory)
    try:
        networks = _start(options, channel)
        leash.take_off()
        while networks:
            _answer(channel, networks, places, busy)
    except EOFError:
        pass
    return 0


def _parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="edge_agent.worker", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="the inherited end of a socketpair")
    parser.add_argument("--memory", type=int, required=True, help="the inherited memory of input tensors")
    parser.add_argument(
        "--network",
        type=_pair,
        action="append",
        required=True,
        metavar="NAME=PATH",
        help="a model to load, e.g. default=/proc/self/fd/5",
    )
    parser.add_argument("--runtime", default="auto", choices=["auto", "litert", "tflite-runtime"])
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--library", help="libedgetpu: run on its device instead of the CPU")
    parser.add_argument(
        "--delegate-option",
        type=_pair,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="e.g. device=usb:0",
    )
    parser.add_argument("--describe", action="store_true", help="send the graphs' descriptions too")
    parser.add_argument("--memory-limit", type=int, default=0, help="bytes of address space")
    parser.add_argument("--start-timeout-s", type=int, default=30)
    return parser.parse_args(arguments)


def _pair(text: str) -> Tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _limit(what: int, most: int) -> None:
    """Lower a limit of this process; who may only have less already has its limit."""
    _, hard = resource.getrlimit(what)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(what, (most, most))


def _leave_with(descriptor: int, busy: threading.Lock) -> None:
    """End this process soon after the other end of the socket is closed."""
    poller = select.poll()
    poller.register(descriptor, select.POLLRDHUP)
    poller.poll()
    busy.acquire(timeout=LEAVE_AFTER_S)
    os._exit(0)


def _start(options: argparse.Namespace, channel: Channel) -> Dict[str, Network]:
    """Load and warm every network and say so; none where that failed and was told.

    With ``describe`` a network that is compiled for an Edge TPU is only described on the CPU.
    """
    begun = time.perf_counter_ns()
    networks: Dict[str, Network] = {}
    ready: Dict[str, Any] = {"kind": "ready", "networks": {}}
    name = None
    try:
        runtime = load_runtime(options.runtime)
        ready["runtime"] = str(runtime)
        delegate = None
        if options.library:
            delegate = load_delegate(runtime, options.library, dict(options.delegate_option))
        # With threads = 0 every core is asked for by number: the runtimes' own default is one.
        threads = options.threads or len(os.sched_getaffinity(0))
        for name, path in options.network:
            graph = describe(runtime, path) if options.describe else None
            if graph is not None and COMPILED_OPERATOR in graph.op_counts and delegate is None:
                # Nothing here can run it: what it is, is all that there is to say.
                ready["networks"][name] = _said_of(graph.inputs[0], graph.outputs[0], 0.0, graph)
                continue
            network = networks[name] = Network(runtime, path, threads, delegate)
            # The first inference on an Edge TPU uploads the parameters.
            ready["networks"][name] = _said_of(network.input, network.output, network.invoke() / 1e6, graph)
    except (ModelRefusedError, InferenceError) as error:
        # A model that was allocated on an Edge TPU may run there; the stick failed, and may do it next time.
        by_stick = options.library is not None and isinstance(error, InferenceError)
        kind = "unable" if by_stick else "refused"
        _tell(channel, {"kind": kind, "network": name, "what": str(error)})
        return {}
    except EdgeAgentError as error:
        kind = "no runtime" if isinstance(error, RuntimeMissingError) else "unable"
        _tell(channel, {"kind": kind, "what": error.what, "remedy": error.remedy})
        return {}
    ready["load_ms"] = (time.perf_counter_ns() - begun) / 1e6
    _tell(channel, ready)
    return networks


def _said_of(
    source: TensorSpec, sink: TensorSpec, warm_ms: float, graph: Optional[GraphDescription]
) -> Dict[str, Any]:
    said = {"input": asdict(source), "output": asdict(sink), "warm_ms": warm_ms}
    return said if graph is None else {**said, "graph": graph.to_json()}


def _tell(channel: Channel, what: Dict[str, Any]) -> None:
    channel.send(TOLD, payload=json.dumps(what).encode())


def _answer(channel: Channel, networks: Dict[str, Network], places: Places, busy: threading.Lock) -> None:
    """One request, one answer."""
    _, request, offset, name = channel.receive()
    network = networks[name.decode()]
    network.write(places.view(offset, network.input.nbytes))
    with busy:
        try:
            invoke_ns = network.invoke()
        except InferenceError as error:
            channel.send(FAILED, request, payload=str(error).encode())
            return
    channel.send(SCORES, request, invoke_ns, network.output_bytes())


if __name__ == "__main__":
    sys.exit(main())
