"""The HTTP server that Prometheus scrapes (owns prometheus_client's handler)."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import ThreadingHTTPServer

from prometheus_client import CollectorRegistry, MetricsHandler, ProcessCollector
from prometheus_client.core import Metric

logger = logging.getLogger(__name__)

CLIENT_TIMEOUT_S = 10.0
"""A client that asks nothing, or takes nothing, for so long is hung up on."""


class MetricsServer:
    """Serves what ``collect`` gives at each scrape, in threads of its own."""

    def __init__(self, host: str, port: int, collect: Callable[[], Iterable[Metric]]) -> None:
        """Raises OSError where it cannot listen there."""
        registry = CollectorRegistry()
        registry.register(_Collector(collect))
        ProcessCollector(registry=registry)
        handler = type("Handler", (MetricsHandler,), {"registry": registry, "timeout": CLIENT_TIMEOUT_S})
        server = _Server6 if ":" in host else _Server
        self._server = server((host, port), handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more; whoever is being answered is left behind."""
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # else the thread looks twice a second
        self._server.shutdown()
        self._server.server_close()


class _Collector:
    """As the registry wants it."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterator[Metric]:
        """Nothing is collected to find out names."""
        return iter(())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """A client that hangs up in the middle is no news, and no traceback."""
        logger.debug("metrics: %s was not answered", client_address, exc_info=True)

    def server_bind(self) -> None:
        """Without the look for a name, which waits for a name server that may not be there."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class _Server6(_Server):
    address_family = socket.AF_INET6
