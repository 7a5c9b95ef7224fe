"""TLS with a real mosquitto: who is let in, and how each refusal reads."""

from __future__ import annotations

import contextlib
import datetime
import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.mqtt import BrokerSettings, TlsSettings
from edge_agent.mqtt.session import Session
from tests.brokers import HOST, PATIENCE_S, Broker, need_mosquitto
from tests.certificates import DAY, Authority, Pair
from tests.publishers import QUICK, TOPICS, comes_to, publishing

pytestmark = [
    need_mosquitto,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # paho's, when the handshake fails
]

VERSIONS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that the agent trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


def listener(pair: Pair, *more: str) -> list[str]:
    """Lines of mosquitto.conf for a listener with this certificate."""
    return [f"certfile {pair.certificate}", f"keyfile {pair.key}", *more]


def fault_with(tls: TlsSettings, lines: list[str], protocol: str, host: str = HOST) -> str:
    """What a publisher that is not let in says; it never connects, and tries again and again."""
    with (
        Broker(listener=lines) as broker,
        publishing(broker.port, host=host, tls=tls, protocol=protocol) as publisher,
    ):
        fault = comes_to(publisher, lambda status: status.fault is not None).fault
        assert not publisher.wait_connected(0)
        assert fault is not None
        assert "\n" not in fault
        return fault


@VERSIONS
def test_the_right_authority_opens(authority: Authority, protocol: str) -> None:
    """The authority of ca_file vouches for the broker and its name; much data passes."""
    tls = TlsSettings(ca_file=authority.certificate)
    with (
        Broker(listener=listener(authority.pair("broker"))) as broker,
        publishing(broker.port, tls=tls, protocol=protocol) as publisher,
    ):
        publisher.publish(TOPICS.event("door"), b"x" * 100_000)
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)


@VERSIONS
@pytest.mark.parametrize(
    ("begins", "ends", "words", "remedy"),
    [
        (-2 * DAY, -DAY, "certificate has expired", "renew the broker's certificate"),
        (DAY, 2 * DAY, "certificate is not yet valid", "check the clock of this machine"),
    ],
    ids=["expired", "not yet valid"],
)
def test_a_certificate_out_of_its_time_is_told(
    authority: Authority,
    begins: datetime.timedelta,
    ends: datetime.timedelta,
    words: str,
    remedy: str,
    protocol: str,
) -> None:
    """The certificate may be old, or the clock of a machine without a battery may be wrong."""
    old = authority.pair("old", begins=begins, ends=ends)
    fault = fault_with(TlsSettings(ca_file=authority.certificate), listener(old), protocol)
    assert f"is not trusted: {words}; {remedy}" in fault


@VERSIONS
@pytest.mark.parametrize(
    ("asked", "named"), [("localhost", HOST), (HOST, "broker.example")], ids=["name", "address"]
)
def test_a_certificate_of_another_host_is_told(
    authority: Authority, asked: str, named: str, protocol: str
) -> None:
    """The chain is good, the name is not: never a connection."""
    lines = listener(authority.pair("another", named))
    fault = fault_with(TlsSettings(ca_file=authority.certificate), lines, protocol, asked)
    assert "mismatch" in fault
    assert "set [mqtt] host to a name that the certificate is made out to" in fault


def test_an_authority_that_nobody_trusts_is_told(authority: Authority, tmp_path: Path) -> None:
    """Anyone can make a certificate for any name."""
    stranger = Authority(tmp_path, "stranger")
    fault = fault_with(TlsSettings(ca_file=authority.certificate), listener(stranger.pair("broker")), "auto")
    assert "is not trusted" in fault
    assert "set [mqtt.tls] ca_file to the authority behind it" in fault


def test_files_that_are_none_are_told(authority: Authority, tmp_path: Path) -> None:
    """A missing file, a key for a certificate, a key that belongs to another certificate."""
    pair, other = authority.pair("agent"), authority.pair("other")
    lines = listener(authority.pair("broker"))
    for tls in (
        TlsSettings(ca_file=tmp_path / "missing.pem"),
        TlsSettings(ca_file=pair.key),
        TlsSettings(authority.certificate, pair.certificate, other.key),
    ):
        assert "cannot use the TLS files" in fault_with(tls, lines, "auto")


def with_client_certificates(authority: Authority) -> list[str]:
    """A broker that lets in who has a certificate of the authority, under the name in it."""
    return listener(
        authority.pair("broker"),
        f"cafile {authority.certificate}",
        "require_certificate true",
        "use_identity_as_username true",
    )


@VERSIONS
def test_our_own_certificate_opens(authority: Authority, protocol: str) -> None:
    """Certificate and key in place of a password."""
    pair = authority.pair("agent")
    tls = TlsSettings(authority.certificate, pair.certificate, pair.key)
    with (
        Broker(listener=with_client_certificates(authority)) as broker,
        publishing(broker.port, tls=tls, protocol=protocol) as publisher,
    ):
        assert publisher.wait_connected(PATIENCE_S)
        assert broker.logged("u'agent'")


@VERSIONS
def test_a_certificate_of_ours_that_is_missing_is_told(authority: Authority, protocol: str) -> None:
    """With TLS 1.3 the broker says so after the handshake; it must not look like a dead broker."""
    tls = TlsSettings(ca_file=authority.certificate)
    fault = fault_with(tls, with_client_certificates(authority), protocol)
    assert "the broker wants a certificate of ours: set [mqtt.tls] cert_file and key_file" in fault


def test_a_refusal_is_told_each_time_though_our_words_cross_it(authority: Authority) -> None:
    """CONNECT is on its way when the alert comes, and may fail to be written before that is read."""
    settings = BrokerSettings(tls=TlsSettings(ca_file=authority.certificate))
    with Broker(listener=with_client_certificates(authority)) as broker:
        for _ in range(30):
            session = Session(replace(settings, port=broker.port), "5", "edge-agent-dock")
            ending = session.open(SystemClock(), PATIENCE_S, lambda: False)
            session.close()
            assert ending is not None
            assert "alert certificate required" in str(ending.error)


@VERSIONS
def test_a_certificate_of_ours_that_expired_is_told(authority: Authority, protocol: str) -> None:
    """Which of both certificates is to be renewed matters."""
    old = authority.pair("agent", begins=-2 * DAY, ends=-DAY)
    tls = TlsSettings(authority.certificate, old.certificate, old.key)
    fault = fault_with(tls, with_client_certificates(authority), protocol)
    assert "renew the certificate in [mqtt.tls] cert_file" in fault


def test_a_certificate_that_is_renewed_opens_without_a_restart(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, then endless attempts; the file, with the key in it, is read anew for each."""
    file = tmp_path / "agent.pem"
    in_one_file(authority.pair("old", begins=-2 * DAY, ends=-DAY), file)
    with (
        Broker(listener=with_client_certificates(authority)) as broker,
        publishing(broker.port, tls=TlsSettings(authority.certificate, file)) as publisher,
    ):
        comes_to(publisher, lambda status: status.fault is not None)
        in_one_file(authority.pair("new"), file)
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.status().fault is None
    assert 1 == len([record for record in caplog.records if record.levelno == logging.WARNING])


def in_one_file(pair: Pair, file: Path) -> None:
    """Certificate and key, put there at once."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    draft.replace(file)


@contextmanager
def tls_front(pair: Pair, protocol: str, behind: int) -> Iterator[int]:
    """Takes TLS off one connection and passes it on, if the client names the protocol. Yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.set_alpn_protocols([protocol])

    def serve() -> None:
        with contextlib.suppress(OSError):
            client, _ = front.accept()
            with client, context.wrap_socket(client, server_side=True) as inside:
                if inside.selected_alpn_protocol() == protocol:
                    _pass_on(inside, behind)

    with socket.create_server((HOST, 0)) as front:
        thread = threading.Thread(target=serve)
        thread.start()
        yield front.getsockname()[1]
        front.shutdown(socket.SHUT_RDWR)
        thread.join()


def _pass_on(inside: ssl.SSLSocket, behind: int) -> None:
    """CONNECT there, CONNACK back; then nothing more."""
    with socket.create_connection((HOST, behind)) as broker:
        broker.sendall(inside.recv(4096))
        inside.sendall(broker.recv(4096))
        inside.recv(4096)


def test_a_port_that_serves_several_protocols_is_told_ours(authority: Authority) -> None:
    """ALPN: a cloud's port 443 speaks MQTT only with who asks for it by name."""
    pair = authority.pair("front")
    with Broker() as broker, tls_front(pair, "x-amzn-mqtt-ca", broker.port) as port:
        tls = TlsSettings(ca_file=authority.certificate, alpn="x-amzn-mqtt-ca")
        with publishing(port, tls=tls) as publisher:
            assert publisher.wait_connected(PATIENCE_S)
            publisher.close(0.0)


def test_a_protocol_that_the_port_does_not_know_is_told(authority: Authority) -> None:
    """The handshake ends with an alert that has a name."""
    pair = authority.pair("front")
    program = ["openssl", "s_server", "-accept", f"{HOST}:0", "-alpn", "mqtt"]
    with subprocess.Popen(
        [*program, "-cert", pair.certificate, "-key", pair.key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        said = next(line for line in server.stdout if line.startswith("ACCEPT"))
        port = int(said.rpartition(":")[2])
        tls = TlsSettings(ca_file=authority.certificate, alpn="x-amzn-mqtt-ca")
        with publishing(port, tls=tls) as publisher:
            fault = comes_to(publisher, lambda status: status.fault is not None).fault
        server.kill()
    assert fault is not None
    assert fault.endswith(
        "alert no application protocol; the broker does not know the protocol in [mqtt.tls] alpn"
    )


def test_the_pace_of_the_attempts_is_capped() -> None:
    """Each pause is twice the last, up to the cap, and at least half of that."""
    waits = [QUICK.delay_s(failures) for failures in (1, 2, 3, 4, 100, 10_000)]
    caps = (0.02, 0.04, 0.08, 0.1, 0.1, 0.1)
    assert all(cap / 2 <= wait <= cap for wait, cap in zip(waits, caps, strict=True))
