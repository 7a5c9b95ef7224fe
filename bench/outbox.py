"""What the outbox holds to: killed brokers and agents, a network that fails, a day away, and what it costs.

    python bench/outbox.py brokers     50 times SIGKILL to mosquitto under load
    python bench/outbox.py network     a proxy that cuts, tears, swallows, slows and closes; the broker lives:
                                       each event once, also with --protocol 3.1.1
    python bench/outbox.py agents      100 times SIGKILL to an agent whose broker is away
    python bench/outbox.py day         a day away at 10 events a second, by a clock that is turned
    python bench/outbox.py written     bytes that the kernel counts for a real agent: idle, and away
    python bench/outbox.py cost        what a hand-over takes from the frame loop
    python bench/outbox.py drain       how fast what waits is sent, with MQTT 5 and 3.1.1

``--count`` is how often, ``--seconds`` how long. All need mosquitto but ``day``; ``agents`` and ``written``
need the tests' data.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.clock import SystemClock
from edge_agent.messages import EventMessage, timestamp, to_json
from edge_agent.outbox import Outbox, OutboxSettings
from edge_agent.outbox.store import Store
from edge_agent.reporter import Reporter
from tests.agents import TOPICS, Agent, Listener, configuration, sturdy_broker
from tests.brokers import Broker, free_port
from tests.delivery import EVENT, Account, Load, Persistent, account, persistent, resent_in_order
from tests.fakes.clock import FakeClock
from tests.places import CORAL
from tests.proxies import Proxy, Sight
from tests.test_outbox_delivery import harass
from tests.test_reporter import prediction

NEVER = threading.Event()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["brokers", "network", "agents", "day", "written", "cost", "drain"])
    parser.add_argument("--count", type=int, help="brokers: 50; agents: 100; cost: 3000; drain: 5000")
    parser.add_argument("--seconds", type=float, default=120.0, help="network, written")
    parser.add_argument("--per-s", type=float, default=200.0, help="brokers, network: events per second")
    parser.add_argument("--daily-mb", type=int, default=500, help="day: the budget")
    parser.add_argument("--max-mb", type=int, default=64, help="day: the bound of what is on the disk")
    parser.add_argument("--protocol", choices=["5", "3.1.1"], default="5", help="brokers, network")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        globals()[f"run_{options.what}"](options, Path(folder))


# Brokers and networks


def run_brokers(options: argparse.Namespace, folder: Path) -> None:
    """Killed at random, away for up to a second and a half, and back."""
    chance, count = random.Random(options.seed), options.count or 50
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(options=persistent(folder)))
        proxy = stack.enter_context(Proxy(broker.port))
        subscriber = stack.enter_context(Persistent(broker.port, EVENT))
        load = stack.enter_context(Load(proxy.port, folder, options.per_s, protocol=options.protocol))
        for _ in range(count):
            NEVER.wait(chance.uniform(0.2, 2.0))
            broker.kill()
            proxy.cut()
            NEVER.wait(chance.uniform(0.0, 1.5))
            broker.start()
        print(f"{count} kills; at the end {load.settled(120.0)}")
        receipts = [each.payload for each in proxy.seen if each.kind == "receipt" and b'"id"' in each.payload]
        tell("acknowledged", len(load.made), account(load.made, receipts))
        tell_order(proxy.seen)
        NEVER.wait(5)
        heard = account(load.made, subscriber.payloads(EVENT))
        tell("with a subscriber, whose session a killed mosquitto forgets", len(load.made), heard)


def run_network(options: argparse.Namespace, folder: Path) -> None:
    """One thing after another, the broker untouched."""
    chance, faults = random.Random(options.seed), 0
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(options=persistent(folder)))
        proxy = stack.enter_context(Proxy(broker.port))
        subscriber = stack.enter_context(Persistent(broker.port, EVENT))
        load = stack.enter_context(Load(proxy.port, folder, options.per_s, protocol=options.protocol))
        until_s = time.monotonic() + options.seconds
        while time.monotonic() < until_s:
            NEVER.wait(chance.uniform(0.02, 1.0))
            harass(proxy, chance)
            faults += 1
            if faults % 20 == 0:
                proxy.closed = True
                proxy.cut()
                NEVER.wait(4)  # long enough for the disk
                proxy.closed = False
        print(f"{faults} faults; at the end {load.settled(120.0)}")
        subscriber.hears(EVENT, load.made, 30.0)
        tell("with the subscriber", len(load.made), account(load.made, subscriber.payloads(EVENT)))
        tell_order(proxy.seen)


def tell(what: str, made: int, found: Account) -> None:
    """One line."""
    print(
        f"{what}: {found.arrived} of {made} events, {len(found.missing)} missing, "
        f"{len(found.strange)} strange, {found.again} came again under their id, "
        f"first arrivals in order: {found.in_order}"
    )


def tell_order(seen: Sequence[Sight]) -> None:
    """Faults of order, and how soon predictions were live again."""
    print(f"faults in the order of sending: {resent_in_order(seen)}")
    begun: dict[int, int] = {}
    waits: dict[int, float] = {}
    for sight in list(seen):
        if sight.kind == "connect":
            begun[sight.connection] = sight.at_ns
        elif b"made_ns" in sight.payload and sight.connection in begun and sight.connection not in waits:
            waits[sight.connection] = (sight.at_ns - begun[sight.connection]) / 1e6
    times = sorted(waits.values())
    print(
        f"live again after CONNECT, {len(times)} connections: median {statistics.median(times):.0f} ms, "
        f"longest {times[-1]:.0f} of 2000 ms"
    )


# Agents


def run_agents(options: argparse.Namespace, folder: Path) -> None:
    """Killed at random instants while its broker is away; then there is one."""
    chance, count, port = random.Random(options.seed), options.count or 100, free_port()
    photos = folder / "photos"
    photos.mkdir()
    shutil.copy(CORAL / "cat.bmp", photos)
    camera = {"source": photos, "loop": True, "fps": 3}
    text = configuration(port, {"photos": camera}, agent={"state_dir": folder / "state"})
    committed: dict[tuple[str, str], bytes] = {}
    lost = 0
    for number in range(count):
        own = folder / f"run-{number}"
        own.mkdir()
        with Agent(own, text) as agent:
            assert agent.logged("camera photos is online"), agent.log()
            NEVER.wait(chance.uniform(0.0, 8.0))
            agent.process.send_signal(signal.SIGKILL)
            agent.ends()
        now = stored(folder / "state" / "outbox.db")
        lost += len(committed.keys() - now.keys())
        committed |= now
    print(f"{count} kills; {len(committed)} messages committed in all, {lost} of them gone at a later start")
    with ExitStack() as stack:
        broker = stack.enter_context(sturdy_broker())
        listener = stack.enter_context(Listener(broker.port))
        ending = {"photos": {**camera, "loop": False}}
        text = configuration(broker.port, ending, agent={"state_dir": folder / "state"})
        stack.enter_context(Agent(folder, text)).ends()
        assert listener.until(lambda: b"offline" in listener.payloads(TOPICS.availability))
        heard = listener.payloads(TOPICS.prediction("photos"))
        heard += listener.payloads(TOPICS.health_event) + listener.payloads(TOPICS.event("photos"))
    arrived = [key(payload) for payload in heard]
    changed = sum(
        committed.get(each, payload) != payload for each, payload in zip(arrived, heard, strict=True)
    )
    contents = {content(payload) for payload in heard}
    print(
        f"arrived: {len(heard)}, {len(set(arrived))} different; committed but missing: "
        f"{len(committed.keys() - set(arrived))}; another payload under an id: {changed}; "
        f"the same under another id: {len(set(arrived)) - len(contents)}"
    )


def key(payload: bytes) -> tuple[str, str]:
    """What is one message's alone: a prediction's, or an event's, whose end has the id of its beginning."""
    told = json.loads(payload)
    return told["session"], str(told.get("sequence") or [told["id"], told.get("event_type")])


def content(payload: bytes) -> str:
    """All that it says but for what it is called."""
    told = json.loads(payload)
    return json.dumps({name: value for name, value in told.items() if name not in ("id", "sequence")})


def stored(path: Path) -> dict[tuple[str, str], bytes]:
    """What a killed agent left on the disk, read from a copy."""
    if not path.exists():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for each in path.parent.glob("outbox.db*"):
            shutil.copy(each, folder)
        store = Store(Path(folder) / path.name)
        found = [message for batch in store.batches() for message in store.read(batch)]
        store.close()
    return {key(message.payload): message.payload for message in found}


# Bytes


def event(number: int, clock: FakeClock) -> bytes:
    """An event as an agent tells it."""
    chance = random.Random(number)
    now = timestamp(clock.wall_ns())
    return to_json(
        EventMessage(
            id=f"{chance.getrandbits(128):032x}",
            event_type="began" if number % 2 else "ended",
            label=chance.choice(["fiesta red", "sunburst", "black", "natural"]),
            score=round(chance.random(), 6),
            peak=round(chance.random(), 6),
            began_at=now,
            ended_at=None if number % 2 else now,
            duration_s=None if number % 2 else round(chance.random() * 10, 3),
            agent="dock",
            camera=chance.choice(["door", "belt"]),
            session="8d1c7f20",
            clock="synced",
        )
    )


def run_day(options: argparse.Namespace, folder: Path) -> None:
    """The thread's work each second, a commit where one is due."""
    clock = FakeClock()
    settings = OutboxSettings(
        folder=folder,
        boot="boot",
        daily_write_bytes=options.daily_mb * 1_000_000,
        max_bytes=options.max_mb * 1_000_000,
    )
    outbox = Outbox(settings, clock)
    before, begun_s, nbytes = written(), time.monotonic(), 0
    for second in range(86_400):
        for part in range(10):
            payload = event(second * 10 + part, clock)
            nbytes += len(payload)
            outbox.put(EVENT, payload)
        clock.advance(1)
        outbox.turn()
        if second % 3600 == 3599:
            now = written()
            print(
                f"{(second + 1) // 3600:2} h: {(now[0] - before[0]) / 1e6:.1f} MB written, {outbox.status()}"
            )
    after, status = written(), outbox.status()
    given, dirtied = ((now - then) / 1e6 for now, then in zip(after, before, strict=True))
    print(
        f"864000 events, {nbytes / 1e6:.0f} MB of payload, in {time.monotonic() - begun_s:.0f} s; "
        f"given to the file system: {given:.1f} MB of a budget of {options.daily_mb}; "
        f"counted by the kernel as written: {dirtied:.1f} MB; "
        f"on the disk {status.disk_bytes / 1e6:.1f} of {options.max_mb} MB; "
        f"waiting {status.rows}, dropped {status.dropped}; {status.gap}; {status.fault}"
    )
    files = sum(path.stat().st_size for path in folder.iterdir())
    print(f"the files have {files / 1e6:.1f} MB")
    outbox.close()


def written(pid: str = "thread-self") -> tuple[int, int]:
    """Bytes given to the file system, and bytes that the kernel sent towards the disk."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["wchar"]), int(lines["write_bytes"])


def run_written(options: argparse.Namespace, folder: Path) -> None:
    """A real agent with ten pictures a second whose broker is there, and ten events a second without one."""
    photos = folder / "photos"
    photos.mkdir()
    shutil.copy(CORAL / "cat.bmp", photos)
    with ExitStack() as stack:
        broker = stack.enter_context(sturdy_broker())
        camera = {"source": photos, "loop": True, "fps": 10}
        text = configuration(broker.port, {"photos": camera}, agent={"state_dir": folder / "state"})
        agent = stack.enter_context(Agent(folder, text))
        listener = stack.enter_context(Listener(broker.port))
        assert listener.predicted("photos", 20)
        tell_written("an agent, its broker there", str(agent.process.pid), options.seconds)
    with Load(free_port(), folder / "away", per_s=10.0):
        tell_written("ten events a second, no broker", "self", options.seconds)


def tell_written(what: str, pid: str, seconds: float) -> None:
    """What the kernel counts for a process in that time."""
    before, begun_s = written(pid)[1], time.monotonic()
    NEVER.wait(seconds)
    spent, hours = written(pid)[1] - before, (time.monotonic() - begun_s) / 3600
    print(f"{what}: {spent / 1e6 / hours:.1f} MB in an hour ({spent} bytes in {hours * 3600:.0f} s)")


# The frame loop


def run_cost(options: argparse.Namespace, folder: Path) -> None:
    """What the lane waits for one prediction to be told, JSON included."""
    count = options.count or 3000
    with sturdy_broker() as broker:
        for what, port, live in (
            ("broker there, live", broker.port, True),
            ("broker there, kept", broker.port, False),
            ("broker away, kept", free_port(), False),
        ):
            with Load(port, folder / what.replace(" ", "-"), per_s=1e-3) as load:
                reporter = Reporter(load.publisher, TOPICS, "bench", SystemClock())
                told = prediction("a", "b", "c")
                spent = []
                for number in range(count):
                    begun_s = time.perf_counter()
                    reporter.prediction("door", told, live=live)
                    spent.append(time.perf_counter() - begun_s)
                    NEVER.wait(0.01 if number < count - 1 else 0)
                spent.sort()
                median, most = statistics.median(spent) * 1e6, spent[count * 99 // 100] * 1e6
                print(
                    f"{what}: median {median:.0f} of 200 us, 99 % {most:.0f} us, "
                    f"longest {spent[-1] * 1e3:.2f} ms; {load.outbox.status()}"
                )


def run_drain(options: argparse.Namespace, _folder: Path) -> None:
    """Everything at once, as at the end of a folder of photos."""
    count = options.count or 5000
    for protocol in ("5", "3.1.1"):
        with sturdy_broker() as broker, Load(broker.port, None, 1e-3, protocol=protocol) as load:
            assert load.publisher.wait_connected(10)
            begun_s, cpu_s = time.monotonic(), time.process_time()
            for number in range(count):
                while not load.publisher.wait_for_room(1):
                    pass
                load.publisher.publish(EVENT, event(number, FakeClock()))
            load.publisher.drain(60)
            spent_s, cpu_s = time.monotonic() - begun_s, time.process_time() - cpu_s
            print(
                f"MQTT {protocol}: {count / spent_s:.0f} a second, {cpu_s / count * 1e6:.0f} us of CPU each"
            )


if __name__ == "__main__":
    main()
