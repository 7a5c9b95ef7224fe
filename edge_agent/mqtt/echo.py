"""Whether what we publish comes back: an ACL may swallow it without a word, and in MQTT 3.1.1 has to."""

from __future__ import annotations

LOOK_S = 1.0
"""We look twice a second. Where more has passed since the last look we did not run ourselves, stopped or
starved, and could have heard nothing: no more than this of it counts.
"""


class Echo:
    """One topic that we publish to and listen to; times are monotonic ns."""

    def __init__(self, patience_s: float) -> None:
        self._patience_ns = int(patience_s * 1e9)
        self._waited_ns: int | None = None
        self._looked_ns = 0
        self._came = False

    def forget(self) -> None:
        """A session began: what the last one took is nobody's to give back."""
        self._waited_ns, self._came = None, False

    def begun(self) -> None:
        """A message of ours goes to the broker."""
        self._came = False

    def said(self, now_ns: int) -> None:
        """The broker has acknowledged one; what it gives back may have come before that word."""
        if self._waited_ns is None and not self._came:
            self._waited_ns, self._looked_ns = 0, now_ns

    def heard(self) -> None:
        """One came back."""
        self._waited_ns, self._came = None, True

    def is_missing(self, now_ns: int) -> bool:
        """Look: nothing has come back for longer than a broker takes."""
        if self._waited_ns is None:
            return False
        self._waited_ns += min(now_ns - self._looked_ns, int(LOOK_S * 1e9))
        self._looked_ns = now_ns
        return self._waited_ns > self._patience_ns
