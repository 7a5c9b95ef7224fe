"""Which bundles may not serve, and what is held against those that are installed."""

from __future__ import annotations

from edge_agent.clock import Clock
from edge_agent.repository.disk import Disk
from edge_agent.repository.records import LATEST_NS, Rejection
from edge_agent.repository.rejections import Rejections
from edge_agent.repository.remembering import Remembering, checked


class Refusing(Remembering):
    """The part of :class:`~edge_agent.repository.Repository` that knows of refusals too."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        super().__init__(disk, clock)
        self._rejections = Rejections(disk)

    def reject(
        self,
        digest: str,
        name: str,
        reason: str,
        origin: str,
        *,
        unsigned: bool = False,
        conditions: str | None = None,
    ) -> Rejection:
        """Write down why a bundle may not serve; the newest 50 are kept. For the last two see Rejection."""
        with self._doing(f"note why model {digest[:12]} was refused"):
            newest = [refusal.at_ns + 1 for refusal in self._rejections.all()[:1]]
            refusal = Rejection(
                digest=checked(digest),
                name=name,
                at_ns=min(max([self._clock.wall_ns(), *newest]), LATEST_NS),
                reason=reason,
                origin=origin,
                unsigned=unsigned,
                conditions=conditions,
            )
            self._rejections.add(refusal)
            return refusal

    def rejection(self, digest: str) -> Rejection | None:
        """Why this digest was refused, None where it was not."""
        with self._doing("read why a model was refused"):
            return self._rejections.find(checked(digest))

    def rejections(self) -> list[Rejection]:
        """Newest first."""
        with self._doing("read why models were refused"):
            return self._rejections.all()

    def is_doubted(self, digest: str) -> bool:
        """Whether it is held or rejected."""
        with self._doing(f"read what is held against model {digest[:12]}"):
            return self._is_doubted(digest)

    def _is_doubted(self, digest: str) -> bool:
        return digest in self._memory.held or self._rejections.find(digest) is not None
