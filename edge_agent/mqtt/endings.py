"""Why a connection to the broker ended, or never came about, in words."""

from __future__ import annotations

import enum
import socket
import ssl
from dataclasses import dataclass

from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.errors import BrokerError
from edge_agent.mqtt.settings import BrokerSettings


class Cause(enum.Enum):
    """What the next attempt depends on."""

    UNREACHABLE = "no connection came about"
    REFUSED = "the broker answered no"
    NOT_SPOKEN = "the broker does not speak this version of MQTT, or seems not to"
    SILENT = "a connection was accepted, and nothing came after it"
    TAKEN_OVER = "another client uses our id"
    LOST = "an established connection ended"
    CLOSED = "we closed it"


@dataclass(frozen=True)
class Ending:
    """Why a session is over; ``error`` is what to tell."""

    cause: Cause
    error: BrokerError


_NOT_AUTHORISED = frozenset({"Not authorized", "Bad user name or password"})
_TAKEN_OVER = 142
_UNSUPPORTED_PROTOCOL = "Unsupported protocol version"

_TAKEOVER_REMEDY = "give each agent its own [agent] name, and run each only once"


def unreachable(settings: BrokerSettings, error: OSError | UnicodeError | ValueError) -> Ending:
    """A connection that could not be opened: DNS, TCP or TLS."""
    what, remedy = _why_unreachable(settings, error)
    return Ending(Cause.UNREACHABLE, BrokerError(what, remedy))


def _why_unreachable(settings: BrokerSettings, error: OSError | UnicodeError | ValueError) -> tuple[str, str]:
    broker = f"the MQTT broker at {settings.where}"
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of {broker} is not trusted: {error.verify_message}",
                "set [mqtt.tls] ca_file to the authority behind it, and host to the name it is made out to",
            )
        case ssl.SSLError():
            return (
                f"no TLS session with {broker}: {error.reason or error}",
                "check that port is the broker's TLS port (usually 8883) and that it accepts our certificate",
            )
        case socket.gaierror() | UnicodeError():
            said = error.strerror if isinstance(error, OSError) else "not a host name"
            return (
                f"cannot find the MQTT broker {settings.host!r}: {said}",
                "check [mqtt] host and the DNS of this machine",
            )
        case TimeoutError():
            return f"{broker} does not answer", "check [mqtt] host and port, the network and firewalls"
        case OSError():
            return (
                f"cannot reach {broker}: {error.strerror or error}",
                "is it running? check [mqtt] host and port",
            )
    return f"cannot reach {broker}: {error}", "check [mqtt] host and port"


def unreadable_tls_files(settings: BrokerSettings, error: OSError) -> Ending:
    """The files named in the TLS settings cannot be used."""
    tls = settings.tls
    names = ", ".join(str(each) for each in (tls.ca_file, tls.cert_file, tls.key_file) if each) if tls else ""
    said = getattr(error, "reason", None) or error.strerror or str(error)
    return Ending(
        Cause.UNREACHABLE,
        BrokerError(
            f"cannot use the TLS files {names}: {said}",
            "[mqtt.tls] wants readable PEM files, the key without a passphrase and matching the certificate",
        ),
    )


def refused(settings: BrokerSettings, reason: ReasonCode) -> Ending:
    """The broker's answer to CONNECT was no."""
    said = reason.getName()
    what = f"the MQTT broker at {settings.where} refuses us: {said}"
    if said == _UNSUPPORTED_PROTOCOL:
        return Ending(Cause.NOT_SPOKEN, BrokerError(what, 'set [mqtt] protocol to "auto" or "3.1.1"'))
    if said in _NOT_AUTHORISED:
        who = "without a username" if settings.username is None else f"as {settings.username!r}"
        return Ending(
            Cause.REFUSED,
            BrokerError(f"{what} ({who})", "check [mqtt] username and password_file"),
        )
    return Ending(Cause.REFUSED, BrokerError(what, "the broker's log says more"))


def no_answer(settings: BrokerSettings, timeout_s: float) -> Ending:
    """A connection was accepted, then no CONNACK came."""
    return Ending(
        Cause.SILENT,
        BrokerError(
            f"the MQTT broker at {settings.where} takes connections but did not answer in {timeout_s:g} s",
            "is it an MQTT broker, and does port fit with [mqtt.tls]? it may also be overloaded",
        ),
    )


def ended(settings: BrokerSettings, reason: ReasonCode, *, accepted: bool, from_broker: bool) -> Ending:
    """The connection was closed; ``from_broker``: it said why."""
    broker = f"the MQTT broker at {settings.where}"
    if reason.value == _TAKEN_OVER:
        return taken_over(settings)
    if not accepted:
        return Ending(
            Cause.NOT_SPOKEN,
            BrokerError(
                f"{broker} closed the connection before it answered",
                "is it an MQTT broker, and does port fit with [mqtt.tls]? its log says more",
            ),
        )
    if from_broker:
        return Ending(
            Cause.LOST, BrokerError(f"{broker} ended the session: {reason.getName()}", "its log says more")
        )
    if reason.getName() == "Keep alive timeout":
        return Ending(Cause.LOST, BrokerError(f"{broker} fell silent", "check the network and the broker"))
    return Ending(Cause.LOST, BrokerError(f"lost the connection to {broker}", "is it running?"))


def taken_over(settings: BrokerSettings) -> Ending:
    """The broker gave our client id to another connection."""
    return Ending(
        Cause.TAKEN_OVER,
        BrokerError(
            f"another client took over our session on the MQTT broker at {settings.where}", _TAKEOVER_REMEDY
        ),
    )


def flapping(settings: BrokerSettings) -> Ending:
    """Session after session ended right after it began: what a takeover looks like in MQTT 3.1.1."""
    return Ending(
        Cause.TAKEN_OVER,
        BrokerError(
            f"the MQTT broker at {settings.where} accepts us, then closes the connection, again and again; "
            "another client may use our id",
            _TAKEOVER_REMEDY,
        ),
    )


def closed(settings: BrokerSettings) -> Ending:
    """We closed it ourselves."""
    return Ending(Cause.CLOSED, BrokerError(f"disconnected from the MQTT broker at {settings.where}"))


def fault_of(settings: BrokerSettings, error: Exception) -> Ending:
    """A fault of this program, or of the broker's bytes in a way that nobody foresaw."""
    return Ending(
        Cause.LOST, BrokerError(f"the session with the MQTT broker at {settings.where} failed: {error!r}")
    )
