"""Passwords stay out of sight."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.addresses import endpoint, masked, scrub
from edge_agent.errors import CameraSetupError

SECRET = "Tr0ub4dor"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"rtsp://admin:{SECRET}@cam:554/live", "rtsp://***@cam:554/live"),
        (f"RTSP://admin:{SECRET}@cam/live", "RTSP://***@cam/live"),
        (f"rtsp://admin:{SECRET}@@cam/live", "rtsp://***@cam/live"),
        (f"rtsp://admin:{SECRET}#/@cam/live", "rtsp://***@cam/live"),
        (f"http://cam/video?user=admin&pwd={SECRET}", "http://cam/video?user=***&pwd=***"),
        (f"rtsp://cam/user=admin_password={SECRET}_1.sdp", "rtsp://cam/user=***"),
        (f"foo://admin:{SECRET}@cam", "foo://***@cam"),
        ("/srv/clips/a@b.mp4", "/srv/clips/a@b.mp4"),
        ("scene:finishes?seed=3", "scene:finishes?seed=3"),
    ],
)
def test_a_source_is_shown_without_its_secrets(source: str, expected: str) -> None:
    """Logs, faults and status show where a camera is, never how to log in."""
    assert expected == masked(source)


@given(st.text())
@example("\n")
@example("@")
@example("a/b")
@example("p#ss?word")
def test_no_password_is_ever_shown(password: str) -> None:
    """Not even one that is not written as an address demands."""
    secret = f"{SECRET}{password}{SECRET}"
    assert SECRET not in masked(f"rtsp://admin:{secret}@cam/live")


@pytest.mark.parametrize(
    "source",
    [
        f"rtsp://admin:{SECRET}%21@cam/live",
        f"http://cam/v?pwd={SECRET}%21",
        f"rtsp://cam/password={SECRET}%21",
    ],
)
def test_words_of_third_parties_lose_the_secrets(source: str) -> None:
    """An exception may quote the address, or the password decoded."""
    text = scrub(f"cannot open '{source}': login {SECRET}! refused", source)
    assert SECRET not in text
    assert "refused" in text


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://cam/live", ("cam", 554)),
        ("rtsps://cam/live", ("cam", 322)),
        ("http://user:pw@cam:8080/", ("cam", 8080)),
        ("https://[::1]/v", ("::1", 443)),
    ],
)
def test_where_an_address_leads(url: str, expected: tuple[str, int]) -> None:
    """Host and port, the protocol's own port where none is given."""
    assert expected == endpoint(url)


@given(st.sampled_from(["rtsp", "rtsps", "http", "https"]), st.text())
@example("rtsp", "admin:p#ss@cam/live")
@example("rtsp", "[")
def test_an_address_leads_somewhere_or_is_refused(scheme: str, rest: str) -> None:
    """No address ends in anything but a host and port, or a CameraSetupError."""
    try:
        host, port = endpoint(f"{scheme}://{rest}")
    except CameraSetupError:
        return
    assert host
    assert 0 < port < 65536


def test_a_password_that_needs_encoding_is_told() -> None:
    """Otherwise the part before # would be taken for the host."""
    with pytest.raises(CameraSetupError, match="%23"):
        endpoint("rtsp://admin:p#ss@cam/live")
