"""Whether what we publish comes back: an ACL may swallow it without a word, and in MQTT 3.1.1 has to."""

from __future__ import annotations


class Echo:
    """One topic that we publish to and listen to; times are monotonic ns."""

    def __init__(self, patience_s: float) -> None:
        self._patience_ns = int(patience_s * 1e9)
        self._waits_since_ns: int | None = None
        self._came = False

    def forget(self) -> None:
        """A session began: what the last one took is nobody's to give back."""
        self._waits_since_ns = None

    def begun(self) -> None:
        """A message of ours goes to the broker."""
        self._came = False

    def said(self, now_ns: int) -> None:
        """The broker has acknowledged one; what it gives back may have come before that word."""
        if self._waits_since_ns is None and not self._came:
            self._waits_since_ns = now_ns

    def heard(self) -> None:
        """One came back."""
        self._waits_since_ns = None
        self._came = True

    def is_missing(self, now_ns: int) -> bool:
        """Nothing has come back for longer than a broker takes."""
        return self._waits_since_ns is not None and now_ns - self._waits_since_ns > self._patience_ns
