"""``[outbox]``: what must not be lost, while the broker is away."""

from __future__ import annotations

from pydantic import Field

from edge_agent.config.section import Section


class OutboxConfig(Section):
    """``[outbox]``."""

    max_rows: int = Field(
        default=1_000_000,
        ge=1000,
        le=100_000_000,
        description="So many messages may wait for the broker; then the oldest are dropped.",
    )
    max_bytes: int = Field(
        default=64_000_000,
        ge=1_000_000,
        le=100_000_000_000,
        description="So many bytes of the disk they may take (packed: about a fifth of their length).",
    )
    max_age_s: float = Field(
        default=0.0,
        ge=0,
        le=31_536_000,
        description="Drop what has waited for more seconds than that. 0: never.",
    )
    daily_write_mb: int = Field(
        default=500,
        ge=0,
        le=1_000_000,
        description="So many MB may be written to the disk in a day, to spare an SD card: when they run "
        "short, messages wait in memory for longer before they are stored. 0: memory only.",
    )
    replay_per_s: float = Field(
        default=50.0,
        ge=1,
        le=100_000,
        description="When the broker is back, so many messages that waited are sent in a second, beyond "
        "those that come in.",
    )
