"""TLS with the broker: who we trust, who we are, and what goes wrong with it, in words."""

from __future__ import annotations

import re
import ssl

from edge_agent.mqtt.settings import TlsSettings

_FILES_REMEDY = "set [mqtt.tls] ca_file to the authority behind it"
_NAME_REMEDY = "set [mqtt] host to a name that the certificate is made out to"
_REMEDIES_BY_CODE = {
    9: "check the clock of this machine: timedatectl",
    10: "renew the broker's certificate; if it is still good, this machine's clock is wrong: timedatectl",
    62: _NAME_REMEDY,
    64: _NAME_REMEDY,
}
"""OpenSSL's X509_V_ERR_*: not yet valid, expired, other host name, other address."""

_PORT_REMEDY = "check that port is the broker's TLS port (usually 8883)"
_OURS_REMEDY = "the broker does not accept the certificate in [mqtt.tls] cert_file; its log says why"
_REMEDIES_BY_ALERT = {
    "certificate required": "the broker wants a certificate of ours: set [mqtt.tls] cert_file and key_file",
    "certificate expired": "renew the certificate in [mqtt.tls] cert_file, or set the broker's clock",
    "certificate revoked": "the certificate in [mqtt.tls] cert_file was revoked: make a new one",
    "certificate unknown": _OURS_REMEDY,
    "bad certificate": _OURS_REMEDY,
    "unknown ca": "the broker must trust the authority behind [mqtt.tls] cert_file (mosquitto: cafile)",
    "access denied": _OURS_REMEDY,
    "no application protocol": "the broker does not know the protocol in [mqtt.tls] alpn",
    "protocol version": "the broker speaks no TLS 1.2 or newer: update it",
    "handshake failure": "the broker may want a certificate of ours: [mqtt.tls] cert_file and key_file",
}
"""Parts of OpenSSL's words for what the other side says when it ends TLS."""

_PLACE = re.compile(r"\[[^]]*\] ?| ?\(_ssl\.c:[0-9]+\)")
"""Where in OpenSSL and in Python it was noticed."""


def context(tls: TlsSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer; the broker's chain and name are verified, always.

    A key with a passphrase is refused rather than asked for on a terminal. Not as strict as the default of
    Python 3.13, which wants extensions that home-made certificates seldom have.

    Raises:
        OSError: a file cannot be used (ssl.SSLError is one).
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file is None:
        made.load_default_certs()
    else:
        made.load_verify_locations(tls.ca_file)
    if tls.cert_file is not None:
        made.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: "")
    if tls.alpn is not None:
        made.set_alpn_protocols([tls.alpn])
    return made


def why_untrusted(broker: str, error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """What is wrong with the broker's certificate, and the remedy."""
    what = f"the certificate of {broker} is not trusted: {error.verify_message}"
    return what, _REMEDIES_BY_CODE.get(error.verify_code, _FILES_REMEDY)


def why_no_session(broker: str, error: ssl.SSLError) -> tuple[str, str]:
    """What ended TLS, before or after the handshake, and the remedy."""
    said = _PLACE.sub("", str(error))  # error.reason is None for alerts that Python has no name for
    remedies = (remedy for part, remedy in _REMEDIES_BY_ALERT.items() if part in said)
    return f"no TLS session with {broker}: {said}", next(remedies, _PORT_REMEDY)
