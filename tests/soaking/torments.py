"""What befalls an agent in its years, at random: each torment is over when its function returns."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from edge_agent.workbench.measure import children_of
from tests.agents import SMALL_MODEL, TOPICS, Agent
from tests.brokers import publish
from tests.soaking.stage import CAMERAS, Stage
from tests.streams import StreamServer
from tests.swaps import put_fresh
from tests.test_outbox_delivery import harass

NEVER = threading.Event()

SPOILS = ("half", "truncate", "garbage", "status")


class Torments:
    """Used from one thread."""

    def __init__(self, stage: Stage, agent: Agent) -> None:
        self._stage = stage
        self._agent = agent
        self.done: Counter[str] = Counter()

    def one(self, chance: random.Random) -> None:
        """Any of them."""
        torment: Callable[[random.Random], None] = chance.choice(
            [
                self._kill_camera,
                self._freeze_camera,
                self._garble_camera,
                self._kill_broker,
                self._freeze_broker,
                self._trouble_network,
                self._close_network,
                self._swap_model,
                self._kill_worker,
                self._hang_worker,
                self._ask,
                self._pause,
                self._reload,
            ]
        )
        self.done[torment.__name__.strip("_").replace("_", " ")] += 1
        torment(chance)

    def _kill_camera(self, chance: random.Random) -> None:
        with self._camera(chance).away():
            NEVER.wait(chance.uniform(0.5, 8))

    def _freeze_camera(self, chance: random.Random) -> None:
        camera = self._camera(chance)
        camera.freeze()
        NEVER.wait(chance.uniform(0.5, 12))
        camera.thaw()

    def _garble_camera(self, chance: random.Random) -> None:
        if chance.random() < 0.5:
            self._stage.door.spoil = chance.choice(SPOILS)
        else:
            self._stage.yard.garbles = True
        NEVER.wait(chance.uniform(0.5, 8))
        self._stage.door.spoil, self._stage.yard.garbles = "nothing", False

    def _camera(self, chance: random.Random) -> StreamServer:
        return chance.choice([self._stage.door, self._stage.yard])

    def _kill_broker(self, chance: random.Random) -> None:
        (self._stage.broker.kill if chance.random() < 0.5 else self._stage.broker.stop)()
        NEVER.wait(chance.uniform(0, 8))
        self._stage.broker.start()

    def _freeze_broker(self, chance: random.Random) -> None:
        self._stage.broker.freeze()
        NEVER.wait(chance.uniform(0.5, 12))
        self._stage.broker.thaw()

    def _trouble_network(self, chance: random.Random) -> None:
        harass(self._stage.proxy, chance)

    def _close_network(self, chance: random.Random) -> None:
        self._stage.proxy.closed = True
        self._stage.proxy.cut()
        NEVER.wait(chance.uniform(3, 10))  # long enough for the outbox to write
        self._stage.proxy.closed = False

    def _swap_model(self, _chance: random.Random) -> None:
        turn = self.done["swap model"] % 2
        put_fresh(SMALL_MODEL, self._stage.model, f"turn-{turn}")

    def _kill_worker(self, chance: random.Random) -> None:
        self._signal_worker(chance, signal.SIGKILL)

    def _hang_worker(self, chance: random.Random) -> None:
        self._signal_worker(chance, signal.SIGSTOP)

    def _signal_worker(self, chance: random.Random, what: signal.Signals) -> None:
        workers = children_of(self._agent.process.pid)
        if workers:
            with contextlib.suppress(ProcessLookupError):  # it was retired meanwhile
                os.kill(chance.choice(workers), what)

    def _ask(self, chance: random.Random) -> None:
        questions: dict[str, Mapping[str, object]] = {
            "snapshot": {"camera": chance.choice(CAMERAS)},
            "threshold/set": {"camera": "scene", "threshold": round(chance.random() / 2, 2)},
            "model/list": {},
            "status": {},
            "nonsense": {},
        }
        for verb, arguments in questions.items():
            self._request(verb, arguments)

    def _pause(self, chance: random.Random) -> None:
        camera = chance.choice(CAMERAS)
        self._request("pause", {"camera": camera})
        NEVER.wait(chance.uniform(0.2, 3))
        self._request("resume", {"camera": camera})

    def _request(self, verb: str, arguments: Mapping[str, object]) -> None:
        publish(self._stage.broker.port, TOPICS.request(verb), json.dumps(arguments).encode())

    def _reload(self, chance: random.Random) -> None:
        fps = chance.choice([8, 10, 12])
        self._agent.reload(self._stage.text(scene_fps=fps))
