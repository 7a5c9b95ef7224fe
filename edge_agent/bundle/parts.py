"""The files that belong to a bundle: what its digest is over, and what must be kept to have it again."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_agent.bundle.identity import ROLES, bundle_digest

MAX_BUNDLE_BYTES = 256 << 20
"""Of all parts, for they are held in memory, and a small board has 1 GB; an Edge TPU has 8 MB for a model,
MobileNets have 4 to 25 MB."""

LISTED = "listed"
"""The role of a file that only ``[sha256]`` in bundle.toml names: it must be there, nothing uses it."""

SIGNATURE = "signature"


@dataclass(frozen=True)
class Part:
    """A file of a bundle.

    ``role`` is one of :data:`~edge_agent.bundle.identity.ROLES`, or LISTED or SIGNATURE, which are not in the
    digest; ``name`` is relative to the bundle's top, with ``/`` between its parts.
    """

    role: str
    name: str
    content: bytes = field(repr=False)


class Parts:
    """Collects the parts as they are read."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    @property
    def room(self) -> int:
        """Bytes that may still be read, so that all parts hold :data:`MAX_BUNDLE_BYTES` at most."""
        return MAX_BUNDLE_BYTES - sum(len(each.content) for each in self._parts)

    def add(self, part: Part) -> None:
        """The next one, of no more bytes than there is :attr:`room` for."""
        self._parts.append(part)

    def has(self, name: str) -> bool:
        """Whether a part has this name."""
        return any(part.name == name for part in self._parts)

    def digest(self) -> str:
        """See :func:`~edge_agent.bundle.identity.bundle_digest`."""
        return bundle_digest((part.role, part.content) for part in self._parts if part.role in ROLES)

    def files(self) -> tuple[Part, ...]:
        """Each file once, though it may play several parts (a picture that is golden twice)."""
        return tuple({part.name: part for part in reversed(self._parts)}.values())[::-1]
