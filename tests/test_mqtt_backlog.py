"""What waits for the broker: order, bounds and counts; and how patient we are. No broker needed."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.errors import BrokerError
from edge_agent.mqtt import endings
from edge_agent.mqtt.backlog import Backlog, Outgoing
from edge_agent.mqtt.endings import Cause, Ending
from edge_agent.mqtt.settings import BrokerSettings, Pace
from edge_agent.mqtt.troubles import Troubles
from edge_agent.mqtt.versions import VersionChoice
from edge_agent.outbox import Outbox, OutboxSettings


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_ns(self) -> int:
        """The set time."""
        return int(self.now_s * 1e9)

    def wall_ns(self) -> int:
        """The same."""
        return self.monotonic_ns()

    def is_synced(self) -> bool:
        """It is."""
        return True


def live(payload: bytes, topic: str = "a/prediction") -> Outgoing:
    """A message that is worth nothing later."""
    return Outgoing(topic, payload, retain=False, live=True)


def kept(payload: bytes, topic: str = "a/event") -> Outgoing:
    """A message that waits."""
    return Outgoing(topic, payload, retain=False, live=False)


def retained(topic: str, payload: bytes) -> Outgoing:
    """A state."""
    return Outgoing(topic, payload, retain=True, live=False)


ONLINE = retained("a/availability", b"online")


def empty(limit: int = 100, limit_bytes: int = 10_000) -> Backlog:
    """A backlog, and an outbox of the same size behind it that is in memory only."""
    bounds = OutboxSettings(memory_rows=limit, memory_bytes=limit_bytes)
    return Backlog(limit, limit_bytes, Outbox(bounds, SetClock()))


def connected(limit: int = 100, limit_bytes: int = 10_000) -> Backlog:
    """A backlog whose session has begun and sent its first words."""
    backlog = empty(limit, limit_bytes)
    backlog.connected(ONLINE)
    take_all(backlog)
    return backlog


def take_all(backlog: Backlog) -> list[bytes]:
    """Send and settle everything; the payloads in the order of sending."""
    sent = []
    while (message := backlog.take()) is not None:
        backlog.handed(1, message)
        backlog.settle(1, taken=True)
        sent.append(message.payload)
    return sent


def take_all_refused(backlog: Backlog) -> list[bytes]:
    """The broker refuses each for now; their payloads."""
    payloads = []
    while (message := backlog.take()) is not None:
        backlog.handed(1, message)
        backlog.settle(1, taken=False, for_good=False)
        payloads.append(message.payload)
    return payloads


def test_states_are_sent_again_at_each_connect_and_online_is_the_last() -> None:
    """A broker may have forgotten everything; `online` is said when the states are there."""
    backlog = empty(10, 1000)
    backlog.put(retained("a/model", b"finish"))
    backlog.connected(ONLINE)
    assert [b"finish", b"online"] == take_all(backlog)
    backlog.disconnected()
    backlog.put(retained("a/label", b"red"))
    backlog.connected(ONLINE)
    assert [b"finish", b"red", b"online"] == take_all(backlog)


def test_states_are_sent_again_where_that_is_asked_and_online_is_the_last() -> None:
    """Also those that came after `online`; of what is in flight or cleared nothing is lost or comes back."""
    backlog = connected()
    backlog.put(retained("a/model", b"finish"))
    assert [b"finish"] == take_all(backlog)
    backlog.resend(ONLINE.topic)
    backlog.put(retained("a/label", b"red"))
    assert [b"finish", b"online", b"red"] == take_all(backlog)
    backlog.put(retained("a/model", b""))
    assert [b""] == take_all(backlog)
    backlog.resend(ONLINE.topic)
    assert [b"red", b"online"] == take_all(backlog)


def test_only_the_latest_state_of_a_topic_waits() -> None:
    """A thousand changes while the broker is away are one message."""
    backlog = empty(10, 1000)
    for number in range(1000):
        backlog.put(retained("a/label", b"%d" % number))
    assert 1 == backlog.tally().waiting
    backlog.connected(ONLINE)
    assert [b"999", b"online"] == take_all(backlog)
    assert 0 == backlog.tally().dropped


def test_a_state_that_was_cleared_is_forgotten() -> None:
    """An empty retained message removes the topic; once the broker knows, there is nothing to repeat."""
    backlog = connected()
    backlog.put(retained("a/label", b"red"))
    backlog.put(retained("a/label", b""))
    assert [b""] == take_all(backlog)
    backlog.disconnected()
    backlog.connected(ONLINE)
    assert [b"online"] == take_all(backlog)


def test_a_state_that_was_refused_is_tried_again_until_it_is_taken() -> None:
    """The newest of its topic, and the clearing of one, too."""
    backlog = connected()
    for topic, payload in (("a/label", b"red"), ("a/label", b"blue"), ("a/model", b"")):
        backlog.put(retained(topic, payload))
        assert [payload] == take_all_refused(backlog)
    backlog.try_again()
    assert [b"blue", b""] == take_all_refused(backlog)
    backlog.try_again()
    assert [b"blue", b""] == take_all(backlog)
    backlog.try_again()
    assert [] == take_all(backlog)
    assert 0 == backlog.tally().dropped


def test_live_messages_are_dropped_and_counted_while_the_broker_is_away() -> None:
    """A prediction of a minute ago is no news."""
    backlog = empty(10, 1000)
    backlog.put(live(b"early"))
    backlog.connected(ONLINE)
    take_all(backlog)
    backlog.put(live(b"queued"))
    backlog.disconnected()
    backlog.put(live(b"late"))
    assert 3 == backlog.tally().dropped
    backlog.connected(ONLINE)
    assert [b"online"] == take_all(backlog)


def test_a_full_queue_drops_the_oldest_live_message() -> None:
    """Live messages have a bound of their own: they push out no kept one, and none pushes them out."""
    backlog = connected(limit=3)
    for message in (kept(b"k1"), live(b"l1"), live(b"l2"), live(b"l3"), kept(b"k2"), live(b"l4")):
        backlog.put(message)
    assert [b"l2", b"k1", b"l3", b"k2", b"l4"] == take_all(backlog)
    assert 1 == backlog.tally().dropped


def test_live_and_kept_messages_take_turns() -> None:
    """However many wait in the outbox, a live message is behind one of them at most, and the reverse."""
    backlog = connected()
    for number in range(5):
        backlog.put(kept(b"k%d" % number))
    take_all_but = [backlog.take() for _ in range(2)]
    assert [b"k0", b"k1"] == [each.payload for each in take_all_but if each is not None]
    for number in range(2):
        backlog.put(live(b"l%d" % number))
    assert [b"l0", b"k2", b"l1", b"k3", b"k4"] == take_all(backlog)


def test_bytes_are_bounded_too() -> None:
    """A few pictures fill the queue as well as many small messages; one that can never fit is dropped."""
    backlog = connected(limit_bytes=1000)
    backlog.put(live(b"x" * 600))
    backlog.put(live(b"y" * 600))
    backlog.put(kept(b"z" * 1001))
    assert [b"y" * 600] == take_all(backlog)
    assert 2 == backlog.tally().dropped


def test_a_live_message_that_never_fits_costs_no_other() -> None:
    """It is dropped by itself."""
    backlog = connected(limit_bytes=1000)
    backlog.put(live(b"small"))
    backlog.put(live(b"x" * 1001))
    assert [b"small"] == take_all(backlog)
    assert 1 == backlog.tally().dropped


def test_what_a_resumed_session_goes_on_with_is_not_sent_again() -> None:
    """What the broker may have stays in flight; where the broker forgot it, it is sent again in its place."""
    for resumed in (True, False):
        backlog = connected()
        for name in (b"k1", b"k2", b"k3"):
            backlog.put(kept(name))
        for ticket in (1, 2):
            message = backlog.take()
            assert message is not None
            backlog.handed(ticket, message)
        backlog.disconnected({1, 2})
        backlog.connected(ONLINE, resumed=resumed)
        if resumed:
            backlog.settle(1, taken=True)
            backlog.settle(2, taken=True)
        assert [b"online", *([] if resumed else [b"k1", b"k2"]), b"k3"] == take_all(backlog)
        assert (0, 5, 0) == (backlog.in_flight, backlog.tally().sent, backlog.tally().dropped)


def test_what_was_in_flight_and_kept_is_sent_again_in_order_before_the_rest() -> None:
    """A lost connection costs no kept message and no order."""
    backlog = connected()
    for name in (b"k1", b"k2", b"k3"):
        backlog.put(kept(name))
    for ticket in (1, 2):
        message = backlog.take()
        assert message is not None
        backlog.handed(ticket, message)
    backlog.take()  # in hand when the connection breaks
    backlog.disconnected()
    backlog.put(kept(b"k4"))
    backlog.connected(ONLINE)
    assert [b"online", b"k1", b"k2", b"k3", b"k4"] == take_all(backlog)


def test_room_is_what_a_kept_message_needs_and_empty_is_nothing_in_flight() -> None:
    """Live messages take no room from kept ones, for they give way."""
    backlog = connected(limit=10)
    for _ in range(10):
        backlog.put(live(b"l"))
    assert backlog.wait_for_room(0)
    for _ in range(9):
        backlog.put(kept(b"k"))
    assert not backlog.wait_for_room(0)
    assert not backlog.wait_empty(0)
    take_all(backlog)
    assert backlog.wait_for_room(0)
    assert backlog.wait_empty(0)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(0, 60)),
        st.tuples(st.just("kept"), st.integers(0, 60)),
        st.tuples(
            st.sampled_from(["take", "settle", "refuse", "hold", "connect", "disconnect", "close"]),
            st.just(0),
        ),
    ),
    max_size=80,
)


@given(OPERATIONS)
def test_no_message_is_lost_uncounted_and_the_bounds_hold(operations: list[tuple[str, int]]) -> None:
    """Whatever happens: handed over = waiting + in flight + sent + dropped, and the queue has a bound."""
    outbox = Outbox(OutboxSettings(memory_rows=5, memory_bytes=100), SetClock())
    backlog = Backlog(5, 100, outbox)
    given_over, tickets, number = 0, 0, 0
    for kind, size in operations:
        if kind in ("live", "kept"):
            number += 1
            given_over += 1
            backlog.put((live if kind == "live" else kept)(b"%d" % number + b"." * size, "t"))
        elif kind == "take" and backlog.in_flight < 3:
            if (message := backlog.take()) is not None:
                tickets += 1
                backlog.handed(tickets, message)
        elif kind in ("settle", "refuse", "hold"):
            backlog.settle(tickets, taken=kind == "settle", for_good=kind != "hold")
        elif kind == "connect":
            given_over += 1
            backlog.disconnected()
            backlog.connected(ONLINE)
            assert ONLINE is backlog.take()
            backlog.handed(0, ONLINE)
            backlog.settle(0, taken=True)
        elif kind == "disconnect":
            backlog.disconnected()
        elif kind == "close":
            backlog.close()
        tally = backlog.tally()
        assert given_over == tally.waiting + tally.in_flight + tally.sent + tally.dropped
        assert tally.waiting <= 5 + 5 + 3
    backlog.give_up()
    outbox.close()
    assert given_over == backlog.tally().sent + backlog.tally().dropped


SETTINGS = BrokerSettings(host="broker.local")
UNREACHABLE = endings.unreachable(SETTINGS, ConnectionRefusedError(111, "Connection refused"))
LOST = Ending(Cause.LOST, BrokerError("lost it"))


def records(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The levels logged so far; they are taken out."""
    levels = [record.levelname for record in caplog.records if record.name.startswith("edge_agent.mqtt")]
    caplog.clear()
    return levels


def test_a_trouble_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    """First failure WARNING, repeats DEBUG, recovery INFO; after a steady session a new one is news again."""
    caplog.set_level(logging.DEBUG)
    clock = SetClock()
    troubles = Troubles(SETTINGS, Pace(), clock)
    for _ in range(3):
        troubles.ended(UNREACHABLE)
    assert ["WARNING", "DEBUG", "DEBUG"] == records(caplog)
    assert "is it running?" in (troubles.fault or "")
    troubles.began("5")
    assert ["INFO"] == records(caplog)
    assert troubles.fault is None
    clock.now_s += 60
    troubles.lasted()
    troubles.ended(UNREACHABLE)
    assert ["WARNING"] == records(caplog)


def test_the_delay_grows_to_a_cap_and_starts_anew_after_a_steady_session() -> None:
    """A broker that is back is found soon, one that is away is not hammered."""
    clock, pace = SetClock(), Pace(first_s=1.0, cap_s=5.0, steady_s=5.0)
    troubles = Troubles(SETTINGS, pace, clock)
    delays = [troubles.ended(UNREACHABLE) for _ in range(40)]
    assert 0.5 <= delays[0] <= 1.0
    assert all(2.5 <= delay <= 5.0 for delay in delays[3:])
    troubles.began("5")
    clock.now_s += 6
    assert 0.5 <= troubles.ended(LOST) <= 1.0


def test_a_takeover_is_answered_with_patience_and_told_for_long() -> None:
    """Two agents of one name must not throw each other out without end; both say so."""
    clock = SetClock()
    troubles = Troubles(SETTINGS, Pace(takeover_s=60.0), clock)
    troubles.began("5")
    assert 30.0 <= troubles.ended(endings.taken_over(SETTINGS)) <= 60.0
    troubles.began("5")
    clock.now_s += 100
    troubles.lasted()
    assert "own [agent] name" in (troubles.fault or "")
    clock.now_s += 21
    troubles.lasted()
    assert troubles.fault is None


def test_sessions_that_break_at_once_again_and_again_look_like_a_takeover() -> None:
    """MQTT 3.1.1 has no words for it: the connection just ends."""
    clock = SetClock()
    troubles = Troubles(SETTINGS, Pace(takeover_s=60.0), clock)
    delays = []
    for lasted_s in (1, 1, 1, 50):
        troubles.began("3.1.1")
        clock.now_s += lasted_s
        troubles.lasted()
        delays.append(troubles.ended(LOST))
    assert max(delays[:2]) <= 5.0
    assert min(delays[2:]) >= 30.0
    assert "another client may use our id" in (troubles.fault or "")
    troubles.began("3.1.1")
    clock.now_s += 121
    assert troubles.ended(LOST) <= 5.0


def test_a_message_that_the_broker_does_not_take_is_told_until_it_does() -> None:
    """A missing right to write is the operator's to fix, and inference goes on."""
    troubles = Troubles(SETTINGS, Pace(), SetClock())
    troubles.began("5")
    troubles.settled("a/label", "Not authorized")
    assert "does not take a/label: Not authorized" in (troubles.fault or "")
    troubles.settled("a/other", None)
    assert troubles.fault is not None
    troubles.settled("a/label", None)
    assert troubles.fault is None


def test_another_version_is_tried_at_once_and_the_one_that_worked_is_kept() -> None:
    """5 refused -> 3.1.1; then that one, also after losses."""
    choice = VersionChoice("auto")
    assert "5" == choice.current
    assert choice.ended(Cause.NOT_SPOKEN)
    choice.accepted()
    for cause in (Cause.LOST, Cause.UNREACHABLE, Cause.NOT_SPOKEN, Cause.SILENT):
        assert not choice.ended(cause)
    assert ("3.1.1", "3.1.1") == (choice.current, choice.worked)


def test_a_broker_that_was_replaced_is_asked_anew() -> None:
    """Five refusals in a row of what worked before: begin with 5 again."""
    choice = VersionChoice("auto")
    choice.accepted()
    for cause in [*[Cause.NOT_SPOKEN] * 4, Cause.LOST, *[Cause.NOT_SPOKEN] * 5]:
        assert "5" == choice.worked
        assert not choice.ended(cause)
    assert ("5", None) == (choice.current, choice.worked)
    assert choice.ended(Cause.NOT_SPOKEN)
    assert not choice.ended(Cause.NOT_SPOKEN)
    assert "5" == choice.current


@pytest.mark.parametrize("wanted", ["5", "3.1.1"])
def test_a_version_that_was_asked_for_is_never_left(wanted: str) -> None:
    """Only "auto" falls back."""
    choice = VersionChoice("5" if wanted == "5" else "3.1.1")
    for cause in Cause:
        assert not choice.ended(cause)
        assert wanted == choice.current


@pytest.mark.parametrize(
    ("ending", "cause", "words"),
    [
        (UNREACHABLE, Cause.UNREACHABLE, "cannot reach the MQTT broker at broker.local:1883: Connection"),
        (endings.unreachable(SETTINGS, TimeoutError()), Cause.UNREACHABLE, "does not answer"),
        (endings.unreachable(SETTINGS, UnicodeError("label too long")), Cause.UNREACHABLE, "DNS"),
        (endings.unreachable(SETTINGS, ValueError("Invalid host.")), Cause.UNREACHABLE, "Invalid host"),
        (
            endings.refused(SETTINGS, ReasonCode(PacketTypes.CONNACK, "Not authorized")),
            Cause.REFUSED,
            "without a username",
        ),
        (
            endings.refused(SETTINGS, ReasonCode(PacketTypes.CONNACK, "Unsupported protocol version")),
            Cause.NOT_SPOKEN,
            '"auto"',
        ),
        (
            endings.refused(SETTINGS, ReasonCode(PacketTypes.CONNACK, "Client identifier not valid")),
            Cause.REFUSED,
            "Client identifier not valid",
        ),
        (
            endings.ended(
                SETTINGS,
                ReasonCode(PacketTypes.DISCONNECT, "Server shutting down"),
                accepted=True,
                from_broker=True,
            ),
            Cause.LOST,
            "Server shutting down",
        ),
        (
            endings.ended(
                SETTINGS,
                ReasonCode(PacketTypes.DISCONNECT, "Keep alive timeout"),
                accepted=True,
                from_broker=False,
            ),
            Cause.LOST,
            "fell silent",
        ),
    ],
)
def test_every_ending_has_words(ending: Ending, cause: Cause, words: str) -> None:
    """What happened, in one line, with what to do about it."""
    assert cause is ending.cause
    assert words in str(ending.error)
    assert ending.error.remedy is not None
