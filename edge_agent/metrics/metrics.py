"""What the daemon knows of metrics: it counts, hands over its report, and hears of a port that is taken."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.clock import Clock
from edge_agent.errors import ConfigError
from edge_agent.metrics.tally import Tally
from edge_agent.reports import Report

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from edge_agent.metrics.server import MetricsServer

logger = logging.getLogger(__name__)

RETRY_S = 30.0
"""A port that is taken is tried again: an agent that is just ending may have it."""


@dataclass(frozen=True)
class MetricsSettings:
    """Where Prometheus is answered: an address of this machine."""

    host: str
    port: int


class Metrics:
    """``turn`` and ``close`` belong to the main thread; lanes count in ``tally``; scrapes read the latest
    report.
    """

    def __init__(self, settings: MetricsSettings, clock: Clock) -> None:
        """Raises ConfigError where the package is missing."""
        try:
            import prometheus_client  # noqa: F401  whether it can be had
        except ImportError as error:
            raise ConfigError(
                "[metrics] needs the package prometheus-client", "pip install prometheus-client"
            ) from error
        self.tally = Tally()
        self.fault: str | None = None
        self._settings = settings
        self._clock = clock
        self._server: MetricsServer | None = None
        self._due_ns = clock.monotonic_ns()
        self._latest: tuple[int, Report] | None = None

    @property
    def port(self) -> int | None:
        """Where it listens; None while it does not."""
        return None if self._server is None else self._server.port

    def turn(self, report: Report) -> None:
        """This is how the agent stands now."""
        now_ns = self._clock.monotonic_ns()
        self._latest = (now_ns, report)
        if self._server is None and now_ns >= self._due_ns:
            self._due_ns = now_ns + int(RETRY_S * 1e9)
            self._listen()

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()

    def _listen(self) -> None:
        from edge_agent.metrics.server import MetricsServer

        host, port = self._settings.host, self._settings.port
        try:
            self._server = MetricsServer(host, port, self._collect)
        except OSError as error:
            what = f"metrics: cannot listen on {host} port {port}: {error.strerror}"
            fault = f"{what}; set [metrics] host or port"
            logger.log(logging.DEBUG if self.fault else logging.WARNING, "%s", fault)
            self.fault = fault
            return
        self.fault = None
        logger.info("metrics for Prometheus: http://%s:%d/metrics", host, self._server.port)

    def _collect(self) -> Iterator[Metric]:
        """On a thread of the server's: all of the latest turn, nothing before the first."""
        from edge_agent.metrics.families import families

        if self._latest is None:
            return iter(())
        told_ns, report = self._latest
        return families(report, (self._clock.monotonic_ns() - told_ns) / 1e9, self.tally)
