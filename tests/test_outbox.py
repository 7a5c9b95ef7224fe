"""What must not be lost: order, bounds, the disk and what is wrong with it. No broker, no waiting."""

from __future__ import annotations

import json
import logging
import random
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.outbox import Kept, Outbox, OutboxSettings
from tests.fakes.clock import FakeClock

TOPIC = "edge-agent/dock/camera/door/event"
BOOT = "this boot"


class Desk:
    """An outbox on a folder, whose thread's work is done by the test."""

    def __init__(self, folder: Path | None, *, synced: bool = True, boot: str = BOOT, **bounds: Any) -> None:
        self.clock = FakeClock()
        self.clock.synced = synced
        settings = OutboxSettings(folder=folder, boot=boot, **bounds)
        self.outbox = Outbox(settings, self.clock)

    def put(self, *payloads: bytes) -> None:
        """Hand these over."""
        for payload in payloads:
            self.outbox.put(TOPIC, payload)

    def store(self, *payloads: bytes) -> None:
        """Hand these over and let the broker be away until they are stored."""
        for start in range(0, len(payloads), 500):
            self.put(*payloads[start : start + 500])
            self.clock.advance(3)
            self.outbox.turn()

    def take(self, most: int = 1_000_000) -> list[Kept]:
        """Take what is given, without waiting."""
        taken: list[Kept] = []
        while len(taken) < most and (message := self.outbox.take()) is not None:
            taken.append(message)
        return taken

    def send(self) -> list[bytes]:
        """Send everything, at any speed; the payloads."""
        self.outbox.hurry(on=True)
        sent = []
        for _ in range(10_000):
            self.outbox.turn()
            taken = self.take()
            for message in taken:
                self.outbox.settle(message)
            sent += [message.payload for message in taken]
            if not self.outbox.status().rows:
                break
        return sent


@contextmanager
def desk(folder: Path | None, **how: Any) -> Iterator[Desk]:
    """It is closed at the end."""
    opened = Desk(folder, **how)
    try:
        yield opened
    finally:
        opened.outbox.close()


def numbers(count: int, start: int = 0) -> list[bytes]:
    """Payloads that show their order."""
    return [b"%06d" % number for number in range(start, start + count)]


def test_while_the_broker_answers_nothing_is_written(tmp_path: Path) -> None:
    """An idle agent, and one whose broker is there, spare the card."""
    with desk(tmp_path) as each:
        for number in range(100):
            each.put(b"%d" % number)
            each.clock.advance(0.5)
            (message,) = each.take()
            each.outbox.turn()
            each.outbox.settle(message)
            each.outbox.turn()
    assert [] == list(tmp_path.iterdir())


def test_what_is_not_acknowledged_is_stored_and_outlives_the_process(tmp_path: Path) -> None:
    """The broker is away: what was handed over comes from the disk after a kill, in its order."""
    killed = Desk(tmp_path)
    killed.store(*numbers(1200))
    killed.put(b"young")
    assert (1201, 1200) == (killed.outbox.status().rows, killed.outbox.status().on_disk)
    _kill(killed)
    with desk(tmp_path) as each:
        each.put(b"of this run")
        assert [*numbers(1200), b"of this run"] == each.send()
    with desk(tmp_path) as each:
        assert [] == each.send()


def _kill(killed: Desk) -> None:
    """End it as SIGKILL does for the file: nothing is written any more, the lock is gone."""
    store = killed.outbox._keeping._store  # type: ignore[union-attr]
    assert store is not None
    log = store.path.with_name("outbox.db-wal")
    saved = {path: path.read_bytes() for path in (store.path, log)}
    store.close()
    for path, content in saved.items():
        path.write_bytes(content)


def test_closing_stores_what_is_left_to_the_last_message(tmp_path: Path) -> None:
    """A restart while the broker is away loses nothing, and sends nothing again that was acknowledged."""
    with desk(tmp_path) as each:
        each.store(*numbers(10))
        for message in each.take(4):
            each.outbox.settle(message)
        each.put(b"young")
    with desk(tmp_path) as each:
        assert [*numbers(6, start=4), b"young"] == each.send()


def test_what_was_on_its_way_goes_back_to_its_place(tmp_path: Path) -> None:
    """A lost connection costs no message and no order, stored or not."""
    with desk(tmp_path) as each:
        each.put(*numbers(5))
        assert numbers(3) == [message.payload for message in each.take(3)]
        each.outbox.give_back()
        each.store(*numbers(5, start=5))
        each.take(2)
        each.outbox.give_back()
        assert numbers(10) == each.send()


def test_a_restart_keeps_the_order_of_what_was_taken_here_and_there(tmp_path: Path) -> None:
    """What is left of two rows, of which a part is acknowledged, stands on both sides of the row between."""
    with desk(tmp_path) as before:
        for start in (0, 3, 6):
            before.store(*numbers(3, start))
        taken = before.take()
        for message in (taken[0], taken[7]):
            before.outbox.settle(message)
    with desk(tmp_path) as after:
        assert [b"%06d" % number for number in (1, 2, 3, 4, 5, 6, 8)] == after.send()


def test_the_oldest_go_where_there_are_too_many_and_the_gap_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bound in rows: the newest survive; the hole has a size and two ends, and no restart hides it."""
    killed = Desk(tmp_path, max_rows=1000, replay_per_s=1e6)
    began_ns = killed.clock.wall_ns()
    for start in range(0, 3000, 100):
        killed.store(*numbers(100, start=start))
    status = killed.outbox.status()
    assert (1000, 2000, 2000) == (status.rows, status.dropped, status.gap and status.gap.count)
    assert status.gap is not None
    assert (began_ns, began_ns + 19 * 3_000_000_000) == (status.gap.first_ns, status.gap.last_ns)
    assert "the oldest messages that waited for the broker were dropped" in str(status.fault)
    assert ["WARNING"] == [record.levelname for record in caplog.records]
    _kill(killed)
    with desk(tmp_path) as each:
        each.outbox.turn()
        assert (status.gap, status.fault) == (each.outbox.status().gap, each.outbox.status().fault)
        assert numbers(1000, start=2000) == each.send()
        assert (status.gap, None) == (each.outbox.status().gap, each.outbox.status().fault)


def test_the_bytes_on_the_disk_are_bounded(tmp_path: Path) -> None:
    """Messages that cannot be packed fill the bound in bytes; the file grows little beyond it."""
    limit = 1_000_000
    with desk(tmp_path, max_bytes=limit, daily_write_bytes=10**12) as each:
        payloads = [random.Random(number).randbytes(20_000) for number in range(150)]
        for payload in payloads:
            each.store(payload)
        status = each.outbox.status()
        assert limit - 50_000 < status.disk_bytes <= limit
        assert 150 == status.rows + status.dropped
        assert (tmp_path / "outbox.db").stat().st_size < 2.5 * limit
        assert payloads[-status.rows :] == each.send()


def test_what_is_too_old_is_dropped(tmp_path: Path) -> None:
    """Age bounds what is stored and what is in memory alike."""
    for folder in (tmp_path, None):
        with desk(folder, max_age_s=3600) as each:
            each.store(b"old")
            each.clock.advance(3000)
            each.store(b"young")
            each.clock.set_wall(0)  # what is old is not a matter of the time of day
            each.clock.advance(1000)
            each.put(b"new")
            assert [b"young", b"new"] == each.send()
            assert 1 == each.outbox.status().dropped


def test_memory_is_bounded_where_nothing_can_be_stored() -> None:
    """Without a disk the newest survive, counted."""
    with desk(None, memory_rows=100) as each:
        each.put(*numbers(250))
        assert 150 == each.outbox.status().dropped
        assert numbers(100, start=150) == each.send()


def test_room_is_nine_tenths_of_what_memory_takes() -> None:
    """Who can wait does so before anything is dropped."""
    with desk(None, memory_rows=100) as each:
        each.put(*numbers(89))
        assert each.outbox.has_room()
        each.put(b"one more")
        assert not each.outbox.has_room()


def test_what_waited_is_sent_in_measure_and_what_comes_in_goes_beside_it(tmp_path: Path) -> None:
    """A replay leaves the link to others, yet it ends: whatever comes in is sent beyond it."""
    with desk(tmp_path, replay_per_s=10.0) as each:
        each.store(*numbers(300))
        assert 10 == len(each.take())
        assert 0 == len(each.take())
        each.clock.advance(1)
        each.put(*numbers(7, start=300))
        assert 10 == len(each.take())  # no more than a second's worth at once
        for _ in range(30):
            each.clock.advance(0.5)
            each.put(b"more")
            each.outbox.turn()
            assert 6 == len(each.take())


def event(number: int, clock: str) -> bytes:
    """An event as it is published."""
    return json.dumps(
        {
            "id": number,
            "label": "rot, gro\N{LATIN SMALL LETTER SHARP S}",
            "began_at": "2026-11-20T12:00:00.000001Z",
            "ended_at": None,
            "clock": clock,
        },
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()


def test_times_of_a_clock_that_was_not_set_are_corrected_in_the_same_boot(tmp_path: Path) -> None:
    """The clock was a day behind: once it is set, it is told right, and nothing else changed."""
    with desk(tmp_path, synced=False) as each:
        each.store(event(1, "unsynced"))
        each.clock.set_wall(each.clock.wall_ns() + 86_400_000_000_000)
        each.clock.synced = True
        each.put(event(2, "synced"))
        first, second = each.send()
        corrected = event(1, "synced").replace(b"2026-11-20T", b"2026-11-21T")
        assert [corrected, event(2, "synced")] == [first, second]


def test_times_of_an_earlier_boot_stay_as_they_were_told(tmp_path: Path) -> None:
    """Nobody knows how long the machine was off."""
    killed = Desk(tmp_path, synced=False, boot="the boot before")
    killed.store(event(1, "unsynced"))
    _kill(killed)
    with desk(tmp_path) as each:
        assert [event(1, "unsynced")] == each.send()


def test_what_waited_for_long_waits_a_moment_for_the_clock(tmp_path: Path) -> None:
    """The network brings the broker first and NTP after it; where none comes, they go as they are."""
    with desk(tmp_path, synced=False) as each:
        each.store(event(1, "unsynced"), event(2, "unsynced"))
        each.clock.advance(60)
        assert [] == each.take()
        each.clock.advance(2)
        each.clock.synced = True
        assert 1 == len(each.take(1))
        each.outbox.give_back()
        each.clock.synced = False
        assert [event(1, "synced")] == [message.payload for message in each.take()]
        each.clock.advance(6)
        assert [event(2, "unsynced")] == [message.payload for message in each.take()]


def test_a_file_that_is_none_of_ours_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage is kept for whoever wants to look; the agent goes on, and keeps at most three such files."""
    for _ in range(5):
        (tmp_path / "outbox.db").write_bytes(random.Random(1).randbytes(20_000))
        with desk(tmp_path) as each:
            each.outbox.turn()
            each.store(b"of this run")
            assert [b"of this run"] == each.send()
    assert 3 == len(list(tmp_path.glob("outbox.damaged-*")))
    assert "is damaged" in caplog.records[0].getMessage()


def test_a_damage_that_is_found_while_reading_costs_the_file_only(tmp_path: Path) -> None:
    """What is in memory goes on in a new file, what was lost is counted."""
    killed = Desk(tmp_path)
    killed.store(*numbers(1500))
    _kill(killed)
    with sqlite3.connect(tmp_path / "outbox.db") as database:
        database.execute("UPDATE batches SET messages = x'00' WHERE first > 1")
    database.close()
    with desk(tmp_path) as each:
        sent = each.send()
        each.store(b"after it")
        assert [b"after it"] == each.send()
        assert (sent, 1500) in [(numbers(500), 500 + each.outbox.status().dropped), ([], 1500)]


def test_a_log_cut_anywhere_leaves_every_commit_before_the_cut(tmp_path: Path) -> None:
    """A power cut tears the end off the log: no commit that was before it is lost, none comes half."""
    killed = Desk(tmp_path)
    ends = []
    log = tmp_path / "outbox.db-wal"
    for start in range(0, 500, 50):
        killed.store(*numbers(50, start=start))
        ends.append(log.stat().st_size)
    whole, file = log.read_bytes(), (tmp_path / "outbox.db").read_bytes()
    killed.outbox.close()
    for cut in [*range(0, len(whole), 1511), *ends]:
        (tmp_path / "outbox.db").write_bytes(file)
        log.write_bytes(whole[:cut])
        with desk(tmp_path) as each:
            committed = sum(end <= cut for end in ends)
            assert numbers(50 * committed) == each.send()
            assert [] == list(tmp_path.glob("outbox.damaged-*"))


def test_a_disk_that_refuses_leaves_memory_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Full, read-only or missing: one warning with the remedy; when it takes again, all is stored."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / "state").write_text("a file where the folder should be")
    with desk(tmp_path / "state") as each:
        for number in range(5):
            each.store(b"%d" % number)
            each.clock.advance(40)
        told = [record.levelname for record in caplog.records]
        assert 1 == told.count("WARNING")
        assert "cannot" in str(each.outbox.status().fault)
        assert (5, 0) == (each.outbox.status().rows, each.outbox.status().on_disk)
        (tmp_path / "state").unlink()
        each.clock.advance(40)
        each.outbox.turn()
        assert (5, 5, None) == (
            each.outbox.status().rows,
            each.outbox.status().on_disk,
            each.outbox.status().fault,
        )
        assert [b"%d" % number for number in range(5)] == each.send()


def test_a_full_disk_keeps_what_it_has_and_takes_more_when_there_is_room(tmp_path: Path) -> None:
    """SQLite's own word for a full disk: the commit is taken back whole, nothing is lost, nothing twice."""
    with desk(tmp_path) as each:
        each.store(*numbers(10))
        store = each.outbox._keeping._store  # type: ignore[union-attr]
        assert store is not None
        pages = store._open_database.execute("PRAGMA page_count").fetchone()[0]
        store._open_database.execute(f"PRAGMA max_page_count = {pages}")
        each.store(random.Random(1).randbytes(50_000))
        assert "make room" in str(each.outbox.status().fault)
        assert (11, 10) == (each.outbox.status().rows, each.outbox.status().on_disk)
        store._open_database.execute(f"PRAGMA max_page_count = {pages + 1000}")
        each.clock.advance(40)
        each.outbox.turn()
        assert (11, 11) == (each.outbox.status().rows, each.outbox.status().on_disk)
        assert None is each.outbox.status().fault


def fill(each: Desk, pages: int = 0) -> None:
    """Let the disk have room for so many pages more."""
    database = _database(each)
    count = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {count + pages}")


def _database(each: Desk) -> sqlite3.Connection:
    store = each.outbox._keeping._store  # type: ignore[union-attr]
    assert store is not None
    return store._open_database


def test_what_is_stored_is_sent_though_the_disk_takes_nothing_more(tmp_path: Path) -> None:
    """The broker is back and the disk is full: reading comes first, and nothing waits for room."""
    with desk(tmp_path) as each:
        each.store(*numbers(1500))
        fill(each)
        large = random.Random(1).randbytes(50_000)
        each.store(large)
        assert "make room" in str(each.outbox.status().fault)
        assert [*numbers(1500), large] == each.send()


def test_what_cannot_be_read_is_given_up_for_the_sake_of_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A dying disk: after some tries it is set aside, the gap is told, and what is in memory goes on."""
    with desk(tmp_path, replay_per_s=1e6) as each:
        began_ns = each.clock.wall_ns()
        each.store(*numbers(1500))
        each.put(b"young")
        _database(each).set_progress_handler(lambda: 1, 1)
        sent = []
        for _ in range(10):
            each.outbox.turn()
            for message in each.take():
                sent.append(message.payload)
                each.outbox.settle(message)
            each.clock.advance(3)
        assert sent[-1:] == [b"young"]
        status = each.outbox.status()
        lost = 1501 - len(sent)
        assert (0, lost, lost) == (status.rows, status.dropped, status.gap and status.gap.count)
        assert status.gap is not None
        assert began_ns <= status.gap.first_ns < status.gap.last_ns < began_ns + 9_000_000_000
        each.store(b"after it")
        assert None is each.outbox.status().fault
        assert [b"after it"] == each.send()
    assert 1 == len(list(tmp_path.glob("outbox.damaged-*")))
    assert 1 == sum("cannot be sent" in record.getMessage() for record in caplog.records)


def test_a_full_disk_gives_up_the_oldest_and_not_what_is_newer(tmp_path: Path) -> None:
    """What the disk holds has to do: the newest survive, without a hole between disk and memory."""
    payloads = [random.Random(number).randbytes(1000) for number in range(800)]
    with desk(tmp_path, memory_rows=200) as each:
        for start in range(0, 300, 10):
            each.store(*payloads[start : start + 10])
        fill(each, pages=8)
        for start in range(300, 800, 10):
            each.store(*payloads[start : start + 10])
        status = each.outbox.status()
        assert status.rows > 200
        assert 800 == status.rows + status.dropped
        assert "make room" in str(status.fault)  # rather than that something was dropped
        assert payloads[-status.rows :] == each.send()


def test_a_kill_has_no_more_than_500_sent_again(tmp_path: Path) -> None:
    """However fast they go and whatever was written today: what is acknowledged is removed in time."""
    for size in (20, 70, 500):
        folder = tmp_path / str(size)
        first = Desk(folder)
        for start in range(0, 3000, size):
            first.store(*numbers(min(size, 3000 - start), start=start))
        _kill(first)
        killed = Desk(folder, daily_write_bytes=1, replay_per_s=1e9)
        sent: list[bytes] = []
        while len(sent) < 2490:
            killed.clock.advance(0.001)
            killed.outbox.turn()
            for message in killed.take(20):
                sent.append(message.payload)
                killed.outbox.settle(message)
        _kill(killed)
        with desk(folder) as each:
            again = each.send()
            assert numbers(3000) == sorted({*sent, *again})
            assert 3000 - len(sent) <= len(again) <= 3000 - len(sent) + 500


def test_a_gap_that_was_told_to_the_end_is_not_told_at_the_next_start(tmp_path: Path) -> None:
    """All expired, or all was sent: the hole is over, and the disk forgets it."""
    with desk(tmp_path, max_age_s=3600) as each:
        each.store(*numbers(10))
        each.clock.advance(4000)
        each.outbox.turn()
        status = each.outbox.status()
        assert (0, 10, None) == (status.rows, status.gap and status.gap.count, status.fault)
        each.clock.advance(3)
        each.outbox.turn()
    with desk(tmp_path) as each:
        each.outbox.turn()
        assert (None, None) == (each.outbox.status().gap, each.outbox.status().fault)


def test_a_damage_that_is_found_at_the_end_does_not_cost_what_is_in_memory(tmp_path: Path) -> None:
    """It goes into a new file, for the next start."""
    with desk(tmp_path) as each:
        each.store(*numbers(3))
        assert 3 == len(each.take())
        each.put(b"young")
        _database(each).execute("PRAGMA writable_schema = ON")
        _database(each).execute("UPDATE sqlite_schema SET sql = 'garbage' WHERE name = 'batches'")
        _database(each).execute("PRAGMA writable_schema = RESET")
    with desk(tmp_path) as each:
        assert [*numbers(3), b"young"] == each.send()
    assert 1 == len(list(tmp_path.glob("outbox.damaged-*")))


def test_an_outbox_that_ended_by_a_fault_still_hands_out_what_is_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is on the disk waits for the next start; nothing else waits for that."""
    with desk(tmp_path) as each:
        each.store(*numbers(1500))
        each.put(b"young")
        store = each.outbox._keeping._store  # type: ignore[union-attr]
        each.outbox._keeping._store = object()  # type: ignore[union-attr]
        each.clock.advance(3)
        each.outbox.hurry(on=True)
        taken = [message.payload for message in each.take(250)]
        each.outbox.start(lambda: None)
        each.outbox._thread.join()
        assert "restart the agent" in str(each.outbox.status().fault)
        taken += [message.payload for message in each.take()]
        assert b"young" == taken[-1]
        assert store is not None
        store.close()
    assert "the outbox ended" in caplog.text
    with desk(tmp_path) as each:
        assert numbers(1500) == each.send()


def test_what_the_broker_refuses_for_now_keeps_its_place(tmp_path: Path) -> None:
    """A quota, a missing right: all waits a minute, and goes in its order then; what never passes goes."""
    for folder in (tmp_path, None):
        with desk(folder) as each:
            each.put(*numbers(5))
            first, second, third = each.take(3)
            each.outbox.settle(first)
            each.outbox.refuse(second, for_good=False)
            each.outbox.refuse(third, for_good=False)
            each.clock.advance(59)
            each.outbox.turn()
            assert [] == each.take()
            each.clock.advance(2)
            assert numbers(4, start=1) == each.send()
            each.put(b"too large")
            (never,) = each.take()
            each.outbox.refuse(never, for_good=True)
            assert (0, 1) == (each.outbox.status().rows, each.outbox.status().dropped)


def test_two_agents_do_not_share_an_outbox(tmp_path: Path) -> None:
    """The second one says so and keeps its own in memory."""
    with desk(tmp_path) as first, desk(tmp_path) as second:
        first.store(b"first")
        second.store(b"second")
        assert "is in use by another process" in str(second.outbox.status().fault)
        assert [b"second"] == second.send()
        assert [b"first"] == first.send()


def test_an_hour_away_writes_no_more_than_its_share_of_the_day(tmp_path: Path) -> None:
    """Ten events a second, and a budget that such commits as come first would spend in a quarter of an hour:
    they come less often then, nothing is dropped, and the file system was given no more than was counted.
    """
    daily = 40_000_000
    with desk(tmp_path, daily_write_bytes=daily, memory_rows=10_000) as each:
        before = written()
        for number in range(1800):
            each.put(*[event(number * 20 + part, "synced") for part in range(20)])
            each.clock.advance(2)
            each.outbox.turn()
        spent = written() - before
        status = each.outbox.status()
        assert (36_000, 0) == (status.rows, status.dropped)
        assert spent <= 2 * daily / 24


def written() -> int:
    """Bytes that this thread gave to the file system, or had written whole pages for."""
    counts = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines())
    return max(int(counts["wchar"]), int(counts["write_bytes"]))


def test_the_outbox_is_for_its_owner_only(tmp_path: Path) -> None:
    """Events say who was where: no other user reads them."""
    with desk(tmp_path) as each:
        each.store(b"private")
        assert all(0o600 == stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
