"""TLS with the broker: who we trust, who we are, and what goes wrong with it, in words."""

from __future__ import annotations

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
    "CERTIFICATE_REQUIRED": "the broker wants a certificate of ours: set [mqtt.tls] cert_file and key_file",
    "CERTIFICATE_EXPIRED": "renew the certificate in [mqtt.tls] cert_file, or set the broker's clock",
    "CERTIFICATE_REVOKED": "the certificate in [mqtt.tls] cert_file was revoked: make a new one",
    "CERTIFICATE_UNKNOWN": _OURS_REMEDY,
    "BAD_CERTIFICATE": _OURS_REMEDY,
    "UNKNOWN_CA": "the broker must trust the authority behind [mqtt.tls] cert_file (mosquitto: cafile)",
    "ACCESS_DENIED": _OURS_REMEDY,
    "NO_APPLICATION_PROTOCOL": "the broker does not know the protocol in [mqtt.tls] alpn",
    "PROTOCOL_VERSION": "the broker speaks no TLS 1.2 or newer: update it",
    "HANDSHAKE_FAILURE": "the broker may want a certificate of ours: [mqtt.tls] cert_file and key_file",
}
"""Parts of OpenSSL's names for what the other side says when it ends TLS."""


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
    reason = error.reason or ""
    remedies = (remedy for part, remedy in _REMEDIES_BY_ALERT.items() if part in reason)
    return f"no TLS session with {broker}: {reason or error}", next(remedies, _PORT_REMEDY)
