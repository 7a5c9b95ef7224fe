"""Whether a second agent of our name is about. The broker lets one of us in at a time, and may not say so."""

from __future__ import annotations

import json

_FOREIGN = 8
"""Other sessions that are remembered: nobody can fill our memory with invented ones."""


class Namesake:
    """Reads what is retained on our own ``health``: each session of an agent writes its own name there.

    A session that is not ours may be what an agent of yesterday left, or what a broker that was killed
    brought back from its disk. It is alive when it is found twice, with other words, after ours was there.
    """

    def __init__(self, session: str) -> None:
        self._session = session
        self._was_ours = False
        self._foreign: dict[str, bytes] = {}

    def is_alive(self, health: bytes) -> bool:
        """Look at one message of ``health``; True: somebody else writes there, now."""
        session = _session(health)
        if session == self._session:
            self._was_ours = True
        if session is None or session == self._session or not self._was_ours:
            return False
        if session not in self._foreign and len(self._foreign) >= _FOREIGN:
            self._foreign.clear()
        return self._foreign.setdefault(session, health) != health


def _session(health: bytes) -> str | None:
    try:
        content = json.loads(health)
    except (ValueError, RecursionError):
        return None
    session = content.get("session") if isinstance(content, dict) else None
    return session if isinstance(session, str) else None
