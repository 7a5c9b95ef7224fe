"""What must not be lost and waits for the broker: in memory, or on the disk (owns sqlite3)."""

from edge_agent.outbox.kept import Kept
from edge_agent.outbox.losses import Gap
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.settings import OutboxSettings, OutboxStatus

__all__ = ["Gap", "Kept", "Outbox", "OutboxSettings", "OutboxStatus"]
