"""The order in which messages wait, whatever happens to them. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.outbox.kept import Batch, Kept, batches, pack, unpack
from edge_agent.outbox.line import Line


def message(payload: bytes = b"x", boot: str = "boot") -> Kept:
    """One to be added."""
    return Kept("topic", payload, 0, 0, boot)


def batch_of(messages: list[Kept]) -> Batch:
    """Their row."""
    first, last = messages[0].number, messages[-1].number
    return Batch(first, last, len(messages), len(pack(messages)), 0, 0, 0, "boot")


class Disk:
    """Takes what a line saves, in rows of three."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Batch, bytes]] = {}

    def save(self, line: Line, *, works: bool) -> None:
        """All of it, or nothing; another message comes in meanwhile."""
        parts = line.save()
        line.add(message())
        if not works:
            line.not_saved()
            return
        written = []
        for part in parts:
            for start in range(0, len(part), 3):
                messages = part[start : start + 3]
                batch = batch_of(messages)
                self.rows[batch.first] = batch, pack(messages)
                written.append((batch, messages))
        line.saved(written)

    def read(self, line: Line) -> None:
        """What the line wants."""
        while (batch := line.wanted) is not None:
            line.read(batch, unpack(self.rows[batch.first][1], batch))


OPERATIONS = st.lists(
    st.sampled_from(
        ["add", "add", "add", "take", "take", "settle", "refuse", "lose", "save", "fail", "read", "drop"]
    ),
    max_size=120,
)


@given(OPERATIONS, st.randoms())
def test_each_message_is_sent_in_its_turn_or_counted_as_dropped(
    operations: list[str], chance: random.Random
) -> None:
    """Stored, read, given back or dropped: what is taken ascends, and nothing older is left behind."""
    line, disk = Line(), Disk()
    waiting: set[int] = set()
    added = settled = dropped = last = 0
    for operation in operations:
        match operation:
            case "add":
                line.add(message())
                added += 1
                waiting.add(added)
            case "take" if line.head is not None:
                taken = line.take()
                assert min(waiting) == taken.number > last
                waiting.remove(taken.number)
                last = taken.number
            case "settle" if line.taken:
                line.settle(chance.choice(list(line.taken)))
                settled += 1
            case "refuse" if line.taken:
                refused = chance.choice(list(line.taken))
                line.give_back([refused])
                waiting.add(refused.number)
                last = 0
            case "lose":
                waiting |= {each.number for each in line.taken}
                line.give_back(list(line.taken))
                last = 0
            case "save" | "fail":
                disk.save(line, works=operation == "save")
                added += 1
                waiting.add(added)
            case "read":
                disk.read(line)
            case "drop" if line.on_disk:
                batch = line.on_disk[min(line.on_disk)]
                gone = {each for each in waiting if batch.first <= each <= batch.last}
                count = line.drop(batch)
                assert len(gone) == count
                dropped += count
                waiting -= gone
        assert added == len(line) + settled + dropped
        assert line.disk_rows == sum(batch.pending for batch in line.on_disk.values())
        assert line.disk_bytes == sum(batch.nbytes for batch in line.on_disk.values())
    line.give_back(list(line.taken))
    disk.read(line)
    rest = list(_rest(line, disk))
    assert sorted(rest) == rest
    assert added == len(rest) + settled + dropped


def _rest(line: Line, disk: Disk) -> Iterator[int]:
    while line.head is not None:
        taken = line.take()
        line.settle(taken)
        disk.read(line)
        yield taken.number


@given(st.lists(st.tuples(st.binary(max_size=50), st.sampled_from(["a", "b"])), min_size=1))
def test_any_bytes_survive_a_row(contents: list[tuple[bytes, str]]) -> None:
    """What is no UTF-8 too; a row holds messages of one boot."""
    messages = [message(payload, boot) for payload, boot in contents]
    back = []
    for part in batches(messages):
        row = Batch(0, 0, len(part), 0, 0, 0, 0, part[0].boot)
        assert {part[0].boot} == {each.boot for each in part}
        back += unpack(pack(part), row)
    assert contents == [(each.payload, each.boot) for each in back]
    assert [each.topic for each in messages] == [each.topic for each in back]
