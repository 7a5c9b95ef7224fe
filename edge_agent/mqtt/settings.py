"""How the broker is reached, how patient we are with it, and what a publisher says of itself."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ProtocolVersion = Literal["5", "3.1.1"]


@dataclass(frozen=True)
class TlsSettings:
    """PEM files; no ``ca_file``: the system's authorities. The broker's host name is always verified.

    ``alpn`` names the protocol to a port that serves several.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    alpn: str | None = None


@dataclass(frozen=True)
class BrokerSettings:
    """Where the broker is and how to speak to it.

    ``queue_limit`` messages and ``queue_limit_bytes`` of topics and payloads may wait for it; the
    retained ones (one per topic) and those in flight come on top. An empty ``client_id`` stands for
    ``edge-agent-<agent>``. With MQTT 5 the broker holds the will back for ``will_delay_s`` and keeps the
    session as long, and forgets live messages that it could not deliver for ``live_expiry_s`` (0: never).
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    qos: Literal[0, 1, 2] = 1
    keepalive_s: int = 30
    tls: TlsSettings | None = None
    client_id: str = ""
    queue_limit: int = 1000
    queue_limit_bytes: int = 8 * 1024 * 1024
    will_delay_s: int = 0
    live_expiry_s: int = 0

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Pace:
    """How long to wait for what.

    A session shorter than ``steady_s`` does not count as a recovery; after a takeover the other
    client is left alone for about ``takeover_s``, and the fault stays told for twice that long.
    The broker has ``connack_s`` to answer CONNECT, but ``doubt_s`` while it is not known to speak MQTT 5:
    some older ones wait for the rest of a message that they misread (amqtt does, when there is a will).
    A topic filter that was refused is asked for again after ``refused_s``: the broker's ACL may be mended.
    What we publish to our own health is missed when it has not come back after ``echo_s``; a session in which
    a message is not acknowledged for ``receipt_s`` is given up.
    """

    first_s: float = 0.25
    cap_s: float = 5.0
    takeover_s: float = 60.0
    steady_s: float = 5.0
    connack_s: float = 10.0
    doubt_s: float = 2.0
    refused_s: float = 60.0
    echo_s: float = 10.0
    receipt_s: float = 60.0

    def delay_s(self, failures: int) -> float:
        """The wait after so many failures in a row: doubled each time, capped, half of it chance."""
        return self._jittered(min(self.cap_s, self.first_s * 2.0 ** min(max(failures - 1, 0), 30)))

    def takeover_delay_s(self) -> float:
        """Before the next attempt after another client took over."""
        return self._jittered(self.takeover_s)

    def _jittered(self, delay_s: float) -> float:
        return delay_s * random.uniform(0.5, 1.0)  # noqa: S311  spreads agents, hides nothing


@dataclass(frozen=True)
class PublisherStatus:
    """A publisher at one moment.

    ``queued`` messages wait or are in flight; ``sent`` were acknowledged (QoS 0: written);
    ``dropped`` were given up; ``reconnects`` counts the connections after the first; ``fault``
    is one line, with the remedy.
    """

    connected: bool
    protocol: ProtocolVersion | None
    queued: int
    sent: int
    dropped: int
    reconnects: int
    fault: str | None
