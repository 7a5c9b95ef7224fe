"""Why a connection to the broker ended, or never came about, in words."""

from __future__ import annotations

import enum
import socket
import ssl
from dataclasses import dataclass

from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.errors import BrokerError
from edge_agent.mqtt import tls
from edge_agent.mqtt.settings import BrokerSettings


class Cause(enum.Enum):
    """What the next attempt depends on."""

    UNREACHABLE = "no connection came about"
    REFUSED = "the broker answered no"
    NOT_SPOKEN = "the broker does not speak this version of MQTT, or seems not to"
    SILENT = "a connection was accepted, and nothing came after it"
    TAKEN_OVER = "another client uses our id"
    LOST = "an established connection ended"
    BROKEN = "the broker sent what nobody may send us"
    CLOSED = "we closed it"


@dataclass(frozen=True)
class Ending:
    """Why a session is over; ``error`` is what to tell."""

    cause: Cause
    error: BrokerError


TOO_LARGE = "it is larger than the broker takes"
"""Why a message was not even sent."""

FOR_GOOD = frozenset({TOO_LARGE, "Topic name invalid", "Payload format invalid", "Packet too large"})
"""Why a message is refused that would be refused again whenever it came."""

_NOT_AUTHORISED = frozenset({"Not authorized", "Bad user name or password"})
_REFUSED_REMEDIES = {
    "Banned": "lift the ban in the broker",
    "Client identifier not valid": "the broker wants other client ids; ours is edge-agent-<[agent] name>",
    **dict.fromkeys(
        ("Server unavailable", "Server busy", "Quota exceeded", "Connection rate exceeded"),
        "the broker is full or busy: give it room for one more client",
    ),
}
_NOT_TAKEN_REMEDIES = {
    "Not authorized": "allow this user to write below the base topic (the broker's ACL)",
    "Quota exceeded": "the broker is full: make room in it, or raise its limits",
    TOO_LARGE: "raise the broker's limit, or publish less at once",
}
_CLOSED_REMEDY = (
    "is it an MQTT broker, does port fit with [mqtt.tls], has it room for another client? its log says more"
)
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
            return tls.why_untrusted(broker, error)
        case ssl.SSLError():
            return tls.why_no_session(broker, error)
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
    return Ending(Cause.REFUSED, BrokerError(what, _REFUSED_REMEDIES.get(said, "the broker's log says more")))


def not_taken(settings: BrokerSettings, topic: str, why: str) -> str:
    """The broker would not take a message, in one line."""
    remedy = _NOT_TAKEN_REMEDIES.get(why, "the broker's log says more")
    return f"the MQTT broker at {settings.where} does not take {topic}: {why}; {remedy}"


def not_granted(settings: BrokerSettings, topic_filter: str) -> BrokerError:
    """The broker does not let us subscribe."""
    return BrokerError(
        f"the MQTT broker at {settings.where} does not let us listen to {topic_filter}",
        "allow this user to read below the base topic (the broker's ACL)",
    )


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
            BrokerError(f"{broker} closed the connection before it answered", _CLOSED_REMEDY),
        )
    if from_broker:
        return Ending(
            Cause.LOST, BrokerError(f"{broker} ended the session: {reason.getName()}", "its log says more")
        )
    if reason.getName() == "Keep alive timeout":
        return Ending(Cause.LOST, BrokerError(f"{broker} fell silent", "check the network and the broker"))
    return Ending(Cause.LOST, BrokerError(f"lost the connection to {broker}", "is it running?"))


def tls_ended(settings: BrokerSettings, alert: ssl.SSLError, *, accepted: bool) -> Ending:
    """TLS ended after the handshake: with TLS 1.3 that is when a broker says no to our certificate."""
    what, remedy = tls.why_no_session(f"the MQTT broker at {settings.where}", alert)
    return Ending(Cause.LOST if accepted else Cause.REFUSED, BrokerError(what, remedy))


def oversized(settings: BrokerSettings, size: int) -> Ending:
    """A packet that we do not take was announced."""
    return Ending(
        Cause.BROKEN,
        BrokerError(
            f"the MQTT broker at {settings.where} sent a packet of {size} bytes, more than we take",
            "who publishes that below our topics? MQTT 5 brokers hold it back",
        ),
    )


def unasked(settings: BrokerSettings) -> Ending:
    """A message of QoS 2 came, where at most 1 was granted."""
    return Ending(
        Cause.BROKEN,
        BrokerError(f"the MQTT broker at {settings.where} sent QoS 2 where 1 was asked for", "is it broken?"),
    )


def left_over(settings: BrokerSettings) -> Ending:
    """The broker goes on with a session that we do not know."""
    return Ending(
        Cause.LOST,
        BrokerError(
            f"the MQTT broker at {settings.where} keeps a session that it was told to forget",
            _TAKEOVER_REMEDY,
        ),
    )


def no_receipts(settings: BrokerSettings, timeout_s: float) -> Ending:
    """It answers, perhaps, but does not acknowledge what we publish."""
    return Ending(
        Cause.LOST,
        BrokerError(
            f"the MQTT broker at {settings.where} did not acknowledge a message in {timeout_s:g} s",
            "it may be overloaded, or its disk may hang: its log says more",
        ),
    )


def not_given_back(settings: BrokerSettings, topic: str) -> BrokerError:
    """The broker acknowledges what we publish, and does not send it to us though we subscribed to it."""
    return BrokerError(
        f"the MQTT broker at {settings.where} does not give back what we publish to {topic}: "
        "this user may not write or not read there",
        "allow both below the base topic (the broker's ACL)",
    )


def namesake(settings: BrokerSettings) -> BrokerError:
    """Somebody else publishes to our topics."""
    return BrokerError(
        f"another agent of our name publishes through the MQTT broker at {settings.where}", _TAKEOVER_REMEDY
    )


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
