"""How the agent stands, for Prometheus to read: off unless a port is configured."""

from edge_agent.metrics.metrics import Metrics, MetricsSettings
from edge_agent.metrics.tally import Tally

__all__ = ["Metrics", "MetricsSettings", "Tally"]
