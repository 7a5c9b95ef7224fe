"""Why a network camera cannot be read, in words: FFmpeg only says no."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import urllib.parse

from edge_agent.addresses import endpoint
from edge_agent.errors import CameraError, CameraSetupError

REACH_TIMEOUT_S = 2.0
"""For a TCP connection; one that was begun while the camera was away must not outlast its return by much."""

_ANSWER_BYTES = 4096

_REASONS = {
    errno.ECONNREFUSED: ("nothing listens at {place}", "check that the camera streams, and the port"),
    errno.EHOSTUNREACH: ("no way to {place}", "check that the camera is powered and on this network"),
    errno.ENETUNREACH: ("no network to reach {place} by", "check this machine's network"),
}


def reach(url: str) -> None:
    """Whether the address's host takes connections. Raises CameraError, CameraSetupError."""
    host, port = endpoint(url)
    with _connected(host, port):
        pass


def _connected(host: str, port: int) -> socket.socket:
    place = f"{host}:{port}"
    try:
        return socket.create_connection((host, port), REACH_TIMEOUT_S)
    except (socket.gaierror, UnicodeError) as error:
        raise CameraError(f"no host named {host}", "check the name and this machine's DNS") from error
    except TimeoutError as error:
        remedy = "check that the camera is powered and on this network"
        raise CameraError(f"{place} does not answer", remedy) from error
    except OSError as error:
        what, remedy = _REASONS.get(
            error.errno or 0, (f"cannot connect to {{place}}: {error.strerror}", "check the camera's network")
        )
        raise CameraError(what.format(place=place), remedy) from error


def refusal(url: str) -> CameraError:
    """Why an address that takes connections gave no stream."""
    status = ""
    with contextlib.suppress(OSError, CameraError, UnicodeError):
        status = _status(url)
    if status.startswith(("401", "403")):
        # Not for every second: cameras lock a user out after a few wrong passwords.
        return CameraSetupError(
            f"the camera answers {status}", "check the user and the password in the source"
        )
    if status.startswith("404"):
        return CameraError(f"the camera answers {status}", "check the path in the source")
    if status and not status.startswith("200"):
        return CameraError(f"the camera answers {status}", "check the source's address")
    return CameraError(
        "it gives no picture that can be decoded", "check that a player such as ffplay shows it"
    )


def _status(url: str) -> str:
    """The status of the answer to a first request without a login: ``404 Not Found``; "" if there is none."""
    host, port = endpoint(url)
    parts = urllib.parse.urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
    bare = f"{parts.scheme}://{host}:{port}{path}"
    with contextlib.ExitStack() as closing:
        connection = closing.enter_context(_connected(host, port))
        if parts.scheme in ("https", "rtsps"):
            # Only a status is asked for, and no login sent: cameras sign their certificates themselves.
            context = ssl._create_unverified_context()  # noqa: S323
            connection = closing.enter_context(context.wrap_socket(connection))
        if parts.scheme.startswith("rtsp"):
            request = f"DESCRIBE {bare} RTSP/1.0\r\nCSeq: 1\r\n\r\n"
        else:
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("latin-1", "replace"))
        first = connection.recv(_ANSWER_BYTES).split(b"\r\n", 1)[0].decode("latin-1")
    protocol, _, status = first.partition(" ")
    known = protocol.startswith(("HTTP/", "RTSP/")) and status.isprintable()
    return status.strip()[:60] if known else ""
