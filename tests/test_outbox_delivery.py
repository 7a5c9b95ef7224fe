"""Events on their way to a real broker: through a network that fails, past brokers and agents killed."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.outbox import Outbox, OutboxSettings
from edge_agent.reporter import Reporter
from tests.brokers import PATIENCE_S, Broker, Heard, need_mosquitto
from tests.delivery import EVENT, TOPICS, Account, Load, Persistent, account, persistent, resent_in_order
from tests.places import ROOT
from tests.proxies import Proxy
from tests.test_reporter import report

pytestmark = need_mosquitto

NEVER = threading.Event()


def harass(proxy: Proxy, chance: random.Random) -> None:
    """One thing that networks do; in the end they carry again."""
    match chance.choice(["cut", "tear", "swallow", "slow", "close"]):
        case "cut":
            proxy.cut()
        case "tear":
            proxy.tear()
        case "swallow":
            proxy.swallows = True
            NEVER.wait(chance.uniform(0.05, 0.3))
            proxy.cut()
            proxy.swallows = False
        case "slow":
            proxy.delay_s = 0.05
            NEVER.wait(chance.uniform(0.05, 0.3))
            proxy.delay_s = 0.0
        case "close":
            proxy.closed = True
            proxy.cut()
            NEVER.wait(chance.uniform(0.05, 0.3))
            proxy.closed = False


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_every_event_arrives_through_a_network_that_fails(tmp_path: Path, protocol: str) -> None:
    """Cut, torn, swallowed, slowed, closed: each event arrives in order, once."""
    chance = random.Random(5)
    with (
        Broker(options=persistent(tmp_path)) as broker,
        Proxy(broker.port) as proxy,
        Persistent(broker.port, EVENT) as subscriber,
        Load(proxy.port, tmp_path, per_s=200, protocol=protocol) as load,
    ):
        for _ in range(20):
            NEVER.wait(chance.uniform(0.02, 0.2))
            harass(proxy, chance)
        assert 0 == load.settled().rows
        assert subscriber.hears(EVENT, load.made)
        found = account(load.made, subscriber.payloads(EVENT))
        assert Account(arrived=len(load.made)) == found
        assert [] == resent_in_order(proxy.seen)


def test_what_a_killed_broker_did_not_acknowledge_is_sent_again(tmp_path: Path) -> None:
    """Killed and started again under load: every event gets its receipt, resent in order under its id."""
    chance = random.Random(6)
    with (
        Broker(options=persistent(tmp_path)) as broker,
        Proxy(broker.port) as proxy,
        Load(proxy.port, tmp_path, per_s=200) as load,
    ):
        for _ in range(3):
            NEVER.wait(chance.uniform(0.2, 0.6))
            broker.kill()
            proxy.cut()
            NEVER.wait(chance.uniform(0.0, 0.3))
            broker.start()
        assert 0 == load.settled().rows
        receipts = [each.payload for each in proxy.seen if each.kind == "receipt" and b'"id"' in each.payload]
        assert [] == account(load.made, receipts).missing
        assert [] == resent_in_order(proxy.seen)


def test_health_that_changed_while_the_broker_was_away_is_told_in_order(tmp_path: Path) -> None:
    """Each change as an event; the retained topic says the newest, and never an older one after it."""
    with Broker() as broker, Load(broker.port, tmp_path, per_s=1e-3) as load:
        assert load.publisher.wait_connected(PATIENCE_S)
        broker.stop()
        reporter = Reporter(load.publisher, TOPICS, "8d1c7f20", SystemClock())
        for faults in ((), ("camera door: gone",), ("camera door: dark",), ("camera door: late",)):
            reporter.tell(report(faults=faults))
        while load.outbox.status().on_disk < 4:
            NEVER.wait(0.05)
        broker.start()
        with Heard(broker.port, f"{TOPICS.root}/#") as heard:
            assert heard.waits_for(lambda _: len(heard.payloads(TOPICS.health_event)) == 4)
            told = [json.loads(each)["health"]["faults"] for each in heard.payloads(TOPICS.health_event)]
            assert [[], ["camera door: gone"], ["camera door: dark"], ["camera door: late"]] == told
            states = {tuple(json.loads(each)["faults"]) for each in heard.payloads(TOPICS.health)}
            assert {("camera door: late",)} == states


OFFLINE = """
import json, sys, threading, uuid
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.outbox import Outbox, OutboxSettings
outbox = Outbox(OutboxSettings(folder=Path(sys.argv[1]), boot="boot"), SystemClock())
outbox.start(lambda: None)
while not threading.Event().wait(0.01):
    identity = str(uuid.uuid4())
    print(identity, flush=True)
    outbox.put("event", json.dumps({"id": identity}).encode())
"""
"""An agent without a broker: an event each 10 ms, its id told before it is handed over."""


def offline(folder: Path) -> subprocess.Popen[str]:
    """Start it."""
    return subprocess.Popen(
        [sys.executable, "-c", OFFLINE, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def killed_after(child: subprocess.Popen[str], events: int) -> list[str]:
    """Kill it when it has told of so many; the ids of all that it told of."""
    assert child.stdout is not None
    with child.stdout:
        made = [child.stdout.readline().strip() for _ in range(events)]
        child.send_signal(signal.SIGKILL)
        made += [line.strip() for line in child.stdout]
    child.wait(PATIENCE_S)
    return made


def stored(folder: Path) -> int:
    """How many messages are committed."""
    with sqlite3.connect(f"file:{folder / 'outbox.db'}?mode=ro", uri=True) as database:
        count = database.execute("SELECT coalesce(sum(count), 0) FROM batches").fetchone()[0]
    database.close()
    return int(count)


def test_an_agent_killed_while_offline_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """Each start finds what the one before had stored, in order, under the ids of old, and adds to it."""
    made: list[str] = []
    committed = 0
    for events in (250, 420, 330):
        made += killed_after(offline(tmp_path), events)
        after = stored(tmp_path)
        assert after > committed
        committed = after
    outbox = Outbox(OutboxSettings(folder=tmp_path, boot="boot", replay_per_s=1e6), SystemClock())
    outbox.hurry(on=True)
    sent: list[bytes] = []
    while len(sent) < committed:
        outbox.turn()
        while (message := outbox.take()) is not None:
            sent.append(message.payload)
            outbox.settle(message)
    outbox.close()
    identities = [json.loads(payload)["id"] for payload in sent]
    assert committed == len(set(identities))
    places = [made.index(identity) for identity in identities]
    assert sorted(places) == places


def test_predictions_are_live_again_soon_after_the_broker_is_back(tmp_path: Path) -> None:
    """A thousand stored events do not stand before them."""
    with (
        Broker(options=persistent(tmp_path)) as broker,
        Proxy(broker.port) as proxy,
        Persistent(broker.port, "#") as subscriber,
    ):
        proxy.closed = True
        with Load(proxy.port, tmp_path, per_s=500, replay_per_s=20.0) as load:
            while load.outbox.status().on_disk < 1000:
                NEVER.wait(0.05)
            proxy.closed = False
            assert load.publisher.wait_connected(PATIENCE_S)
            while not any("prediction" in topic for topic, _, _ in subscriber.heard):
                NEVER.wait(0.01)
            assert load.outbox.status().rows > 500
            load.stop()
