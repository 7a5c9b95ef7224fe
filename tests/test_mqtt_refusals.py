"""What a real mosquitto refuses: users, topics, clients; and a second agent of the same name."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt import PublisherStatus
from edge_agent.mqtt.echo import Echo
from edge_agent.mqtt.namesake import Namesake
from tests.brokers import PATIENCE_S, Broker, Heard, need_mosquitto, publish
from tests.publishers import QUICK, TOPICS, comes_to, publishing, scripted

LABEL = TOPICS.label("door")
IMPATIENT = replace(QUICK, echo_s=0.2, refused_s=0.1)
OURS = b'{"session":"ours"}'

VERSIONS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@contextmanager
def broker_with(folder: Path, acl: str) -> Iterator[Broker]:
    """A broker with the user "dock", password "right", and these rights."""
    file = folder / "acl"
    file.write_text(f"user dock\n{acl}")
    file.chmod(0o644)
    with Broker(listener=[f"acl_file {file}"], users={"dock": "right", "viewer": "seen"}) as broker:
        yield broker


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was told aloud."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@need_mosquitto
@VERSIONS
def test_a_wrong_password_is_told_once_and_tried_until_it_is_right(
    caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    """Somebody mends the broker; the agent needs no restart."""
    with (
        Broker(users={"dock": "other"}) as broker,
        publishing(broker.port, username="dock", password="right", protocol=protocol) as publisher,
    ):
        fault = comes_to(publisher, lambda status: status.fault is not None).fault
        assert str(fault).endswith("(as 'dock'); check [mqtt] username and password_file")
        broker.stop()
        broker.set_password("dock", "right")
        broker.start()
        assert publisher.wait_connected(PATIENCE_S)
    assert 1 == len([text for text in warnings(caplog) if "refuses us" in text])
    assert "right" not in caplog.text


@need_mosquitto
def test_topics_that_may_not_be_written_are_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MQTT 5 says no to each message; the user reads it once, with the remedy."""
    with (
        broker_with(tmp_path, "topic read edge-agent/#\n") as broker,
        publishing(broker.port, username="dock", password="right") as publisher,
    ):
        for name in ("door", "belt", "yard"):
            publisher.publish(TOPICS.label(name), b"red", retain=True)
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        fault = publisher.status().fault
    assert fault is not None
    assert "Not authorized; allow this user to write below the base topic (the broker's ACL)" in fault
    assert 1 == len(warnings(caplog))


@need_mosquitto
def test_an_event_that_may_not_be_written_waits_for_the_right(tmp_path: Path) -> None:
    """An access list is mended some day; until then nothing is given up, and the fault is told."""
    event = TOPICS.event("door")
    with (
        broker_with(tmp_path, f"topic write {TOPICS.availability}\n") as broker,
        publishing(broker.port, username="dock", password="right", protocol="5") as publisher,
    ):
        publisher.publish(event, b"began")
        comes_to(publisher, lambda status: f"does not take {event}: Not authorized" in (status.fault or ""))
        comes_to(publisher, lambda status: status.queued == 1)
        broker.stop()
        (tmp_path / "acl").write_text("user dock\ntopic readwrite edge-agent/#\n")
        broker.start()
        assert publisher.drain(PATIENCE_S)
        status = comes_to(publisher, lambda status: status.fault is None)
        assert (3, 0) == (status.sent, status.dropped)  # online, online again, and the event


@need_mosquitto
@VERSIONS
@pytest.mark.parametrize("acl", ["topic read edge-agent/#\n", "topic write edge-agent/#\n"])
def test_rights_that_are_missing_in_silence_are_noticed(tmp_path: Path, acl: str, protocol: str) -> None:
    """Mosquitto grants every subscription and delivers nothing; 3.1.1 acknowledges what is thrown away."""
    with (
        broker_with(tmp_path, acl) as broker,
        publishing(
            broker.port,
            IMPATIENT,
            hear=lambda _: None,
            session="ours",
            username="dock",
            password="right",
            protocol=protocol,
        ) as publisher,
    ):
        publisher.publish(TOPICS.health, OURS, retain=True)
        fault = comes_to(publisher, lambda status: status.fault is not None).fault
        assert fault is not None
        assert "(the broker's ACL)" in fault


@need_mosquitto
@VERSIONS
def test_what_is_retained_follows_once_the_access_list_is_mended(tmp_path: Path, protocol: str) -> None:
    """The connection stands, a label may be the same for days. 3.1.1 knows by its health, which is back."""
    with (
        broker_with(tmp_path, "topic read edge-agent/#\nuser viewer\ntopic read #\n") as broker,
        publishing(
            broker.port,
            IMPATIENT,
            hear=lambda _: None,
            session="ours",
            username="dock",
            password="right",
            protocol=protocol,
        ) as publisher,
        Heard(broker.port, username="viewer", password="seen") as heard,
    ):
        publisher.publish(LABEL, b"red", retain=True)
        publisher.publish(TOPICS.health, OURS, retain=True)
        comes_to(publisher, lambda status: "(the broker's ACL)" in (status.fault or ""))
        (tmp_path / "acl").write_text("user dock\ntopic readwrite edge-agent/#\nuser viewer\ntopic read #\n")
        broker.reload()

        def follows(_: PublisherStatus) -> bool:
            publisher.publish(TOPICS.health, OURS, retain=True)
            return bool(heard.payloads(LABEL))

        status = comes_to(publisher, follows)
        assert (0, 0) == (status.reconnects, status.dropped)
        assert [b"red"] == list(dict.fromkeys(heard.payloads(LABEL)))
        assert heard.hears(TOPICS.availability, b"online")


@need_mosquitto
@VERSIONS
def test_whoever_hears_nothing_needs_no_right_to_read(tmp_path: Path, protocol: str) -> None:
    """With requests off, a user that may only write is no fault."""
    with (
        broker_with(tmp_path, "topic write edge-agent/#\n") as broker,
        publishing(
            broker.port, IMPATIENT, session="ours", username="dock", password="right", protocol=protocol
        ) as publisher,
    ):
        publisher.publish(TOPICS.health, OURS, retain=True)
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        assert publisher.status().fault is None


@need_mosquitto
def test_our_own_words_are_heard_where_all_is_well() -> None:
    """What comes back is no request, and no fault comes of it."""
    heard: list[str] = []
    with (
        Broker() as broker,
        publishing(broker.port, hear=lambda each: heard.append(each.topic), session="ours") as publisher,
    ):
        publisher.publish(TOPICS.health, OURS, retain=True)
        assert publisher.wait_connected(PATIENCE_S)
        assert publisher.drain(PATIENCE_S)
        publish(broker.port, TOPICS.request("ping"), b"{}")
        comes_to(publisher, lambda _: bool(heard))
        assert [TOPICS.request("ping")] == heard
        assert publisher.status().fault is None


SUBACK_REFUSED = bytes([0x90, 4, 0, 1, 0, 0x87])


def test_a_subscription_that_is_refused_is_a_fault() -> None:
    """Without it no request is heard, and nobody would know why."""
    with (
        scripted(b"\x20\x03\x00\x00\x00" + SUBACK_REFUSED, stays=True) as (port, _),
        publishing(port, hear=lambda _: None, protocol="5") as publisher,
    ):
        words = "does not let us listen to edge-agent/dock/request/#; allow this user to read"
        comes_to(publisher, lambda status: words in (status.fault or ""))
        publisher.close(0.0)


@need_mosquitto
@VERSIONS
def test_a_full_broker_is_told(protocol: str) -> None:
    """Mosquitto closes the connection without a word; the line names that, too."""
    with (
        Broker(listener=["max_connections 1"]) as broker,
        contextlib.ExitStack() as others,
    ):
        for _ in range(2):  # it counts so that one more than allowed gets in
            others.enter_context(Heard(broker.port))
        with publishing(broker.port, protocol=protocol) as publisher:
            fault = comes_to(publisher, lambda status: status.fault is not None).fault
            assert "has it room for another client?" in str(fault)
            others.close()
            assert publisher.wait_connected(PATIENCE_S)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (0x97, "give it room for one more client"),
        (0x85, "ours is edge-agent-<[agent] name>"),
        (0x8A, "lift the ban"),
    ],
)
def test_each_refusal_of_mqtt_5_has_its_remedy(code: int, remedy: str) -> None:
    """Quota exceeded, client identifier not valid, banned."""
    with (
        scripted(bytes([0x20, 3, 0, code, 0])) as (port, _),
        publishing(port, protocol="5") as publisher,
    ):
        fault = comes_to(publisher, lambda status: status.fault is not None).fault
        assert remedy in str(fault)


def health(session: str, uptime_s: int) -> bytes:
    """A message on an agent's health."""
    return json.dumps({"schema": "edge-agent/health/1", "uptime_s": uptime_s, "session": session}).encode()


@need_mosquitto
@VERSIONS
def test_two_agents_of_one_name_are_told_on_both(protocol: str) -> None:
    """The one that stays connected learns it from what the other one left on their health."""
    pace = replace(QUICK, takeover_s=0.4)
    with (
        Broker() as broker,
        publishing(broker.port, pace, session="one", protocol=protocol) as one,
        publishing(broker.port, pace, session="two", protocol=protocol) as two,
    ):
        met: dict[object, set[str]] = {one: set(), two: set()}
        connected_and_told = False
        until_s = time.monotonic() + PATIENCE_S
        for uptime_s in itertools.takewhile(lambda _: time.monotonic() < until_s, itertools.count()):
            for session, each in (("one", one), ("two", two)):
                each.publish(TOPICS.health, health(session, uptime_s), retain=True)
                status = each.status()
                met[each] |= {status.fault} if status.fault and "own [agent] name" in status.fault else set()
                connected_and_told |= status.connected and "another agent of our name" in str(status.fault)
                each.drain(0.01)
            if all(met.values()) and connected_and_told:
                break
        assert all(met.values()), met
        assert connected_and_told


def test_what_an_agent_of_yesterday_left_is_no_namesake() -> None:
    """It was there before we were."""
    namesake = Namesake("ours")
    assert not namesake.is_alive(health("yesterday", 1))
    assert not namesake.is_alive(health("ours", 1))
    assert not namesake.is_alive(health("ours", 2))


def test_what_a_broker_brought_back_from_its_disk_is_no_namesake() -> None:
    """The same old words, again and again, after ours were there."""
    namesake = Namesake("ours")
    namesake.is_alive(health("ours", 1))
    assert not namesake.is_alive(health("yesterday", 7))
    namesake.is_alive(health("ours", 2))
    assert not namesake.is_alive(health("yesterday", 7))


def test_who_says_something_new_is_alive() -> None:
    """Another session, with other words than before, where ours were."""
    namesake = Namesake("ours")
    namesake.is_alive(health("ours", 1))
    assert not namesake.is_alive(health("theirs", 7))
    assert namesake.is_alive(health("theirs", 8))


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_any_health_is_read_without_harm(payload: bytes) -> None:
    """Who may write there may write anything."""
    namesake = Namesake("ours")
    namesake.is_alive(OURS)
    assert not namesake.is_alive(payload)


SECOND_NS = 10**9


def test_an_echo_is_missed_after_its_time_and_not_before() -> None:
    """Counted from the first message that did not come back."""
    echo = Echo(3.0)
    assert not echo.is_missing(10**12)
    echo.begun()
    echo.said(0)
    echo.said(2 * SECOND_NS)
    assert [False, False, False] == [echo.is_missing(second * SECOND_NS) for second in (1, 2, 3)]
    assert echo.is_missing(3 * SECOND_NS + 1)
    echo.heard()
    assert not echo.is_missing(10**12)


def test_an_echo_may_come_before_the_broker_acknowledges() -> None:
    """Mosquitto sends them in this order: then it is not waited for; of the next message it is anew."""
    echo = Echo(1.0)
    echo.begun()
    echo.heard()
    echo.said(0)
    assert [False, False] == [echo.is_missing(second * SECOND_NS) for second in (1, 2)]
    echo.begun()
    echo.said(2 * SECOND_NS)
    assert [False, True] == [echo.is_missing(second * SECOND_NS) for second in (3, 4)]


def test_time_in_which_the_agent_did_not_run_is_no_silence_of_the_broker() -> None:
    """Stopped for an hour, it hears first; only then does it wait for what is still missing."""
    echo = Echo(3.0)
    echo.begun()
    echo.said(0)
    assert [False, False, False, True] == [echo.is_missing(at * SECOND_NS) for at in (3600, 3601, 3602, 3603)]
