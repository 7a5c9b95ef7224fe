"""paho's client, with a bound on what a broker can make it hold (owns paho)."""

from __future__ import annotations

import contextlib
import ssl

import paho.mqtt.client as paho

RECEIVE_LIMIT_BYTES = 1 << 20
"""Of one packet that comes in: sixteen times the largest request that is answered. MQTT allows 256 MiB."""


class BoundedClient(paho.Client):
    """Gives up on a packet that is too large before it is read, and remembers what TLS said at the end.

    paho asks its socket for the whole rest of a packet as soon as it knows the length, and has no limit of
    its own; of an alert that ends TLS it tells no more than that the connection is lost.
    """

    oversized_bytes = 0
    tls_alert: ssl.SSLError | None = None

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > RECEIVE_LIMIT_BYTES:
            self.oversized_bytes = bufsize
            raise ConnectionAbortedError("larger than we take")
        try:
            return super()._sock_recv(bufsize)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise  # the connection ended, and TLS with it
        except ssl.SSLError as error:
            self.tls_alert = error
            raise

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError:
            # With TLS 1.3 our CONNECT crosses the alert that refuses our certificate.
            with contextlib.suppress(OSError):
                self._sock_recv(1)
            raise

    @property
    def holds_unasked(self) -> bool:
        """There are messages of QoS 2, kept until they are released; we never ask for more than QoS 1."""
        return bool(self._in_messages)
