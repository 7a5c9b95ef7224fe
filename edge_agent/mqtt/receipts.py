"""Whether the broker still acknowledges what it is given: one that answers pings may be stuck behind that."""

from __future__ import annotations

from edge_agent.mqtt.backlog import Outgoing


class Receipts:
    """Watches the oldest message in flight of one session; times are monotonic ns."""

    def __init__(self, patience_s: float) -> None:
        self._patience_ns = int(patience_s * 1e9)
        self._oldest: Outgoing | None = None
        self._since_ns = 0

    def forget(self) -> None:
        """A session began: what an earlier one left has its whole time again."""
        self._oldest = None

    def are_missing(self, oldest: Outgoing | None, now_ns: int) -> bool:
        """The same message has been the oldest for longer than a broker takes."""
        if oldest is None or oldest is not self._oldest:
            self._oldest, self._since_ns = oldest, now_ns
        return oldest is not None and now_ns - self._since_ns > self._patience_ns
