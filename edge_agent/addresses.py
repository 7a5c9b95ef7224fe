"""Addresses with passwords in them: what may be shown of one, and where it leads."""

from __future__ import annotations

import re
import urllib.parse

from edge_agent.errors import CameraSetupError

HIDDEN = "***"
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_LOGIN = re.compile(r"^([a-z][a-z0-9+.-]*://)(.*)@", re.IGNORECASE | re.DOTALL)
"""Up to the last @ of all: a password with / or # in it is wrong in an address, and still a password."""
_QUERY_VALUE = re.compile(r"([?&;][^=&;#]*=)[^&;#]*")
_PATH_SECRET = re.compile(
    r"((?:user|login|pass|pwd|token|secret|auth|key)[^=/?&;#]*=)[^/?&;#]*", re.IGNORECASE
)


def scheme_of(source: str) -> str | None:
    """``rtsp`` of ``RTSP://...``; None for what is no address."""
    match = _SCHEME.match(source)
    return match[1].lower() if match else None


def masked(source: str) -> str:
    """The source as it may stand in a log: no login, no values of a query, nothing named a password."""
    if scheme_of(source) is None:
        return source
    source = _LOGIN.sub(rf"\1{HIDDEN}@", source)
    source = _QUERY_VALUE.sub(rf"\1{HIDDEN}", source)
    return _PATH_SECRET.sub(rf"\1{HIDDEN}", source)


def scrub(text: str, source: str) -> str:
    """A text of third parties without the source's secrets."""
    text = text.replace(source, masked(source))
    for secret in _secrets(source):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(source: str) -> list[str]:
    if scheme_of(source) is None:
        return []
    found = {match[0].partition("=")[2] for match in _QUERY_VALUE.finditer(source)}
    found |= {match[0].partition("=")[2] for match in _PATH_SECRET.finditer(source)}
    login = _LOGIN.match(source)
    if login:
        found |= {login[2], login[2].partition(":")[2]}
    found |= {urllib.parse.unquote(secret) for secret in found}
    # Longest first, so that no part of a secret is left over. One or two letters would blot out words.
    return sorted((secret for secret in found if len(secret) > 2), key=len, reverse=True)


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of an address. Raises CameraSetupError."""
    remedy = "write it as rtsp://user:password@host:port/path, with %23 for # and %2F for / in a password"
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise CameraSetupError(f"{masked(url)} is no address", remedy) from error
    if not host or "@" in parts.fragment:
        raise CameraSetupError(f"{masked(url)} names no host", remedy)
    return host, port or PORTS[parts.scheme.lower()]
