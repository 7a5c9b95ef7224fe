"""Everything that reaches the broker, from two places: the network before it, and a subscriber behind it."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

import paho.mqtt.client as paho

from tests.agents import Listener
from tests.soaking.sequences import Arrivals
from tests.soaking.stage import CAMERAS, Stage

PERIOD_S = 0.5


class Hearing:
    """A prediction has arrived once the broker gave a receipt or a subscriber heard it: a broker that is
    killed forgets what it gave a receipt for, a network that is cut swallows receipts. Used in ``with``.
    """

    def __init__(self, stage: Stage) -> None:
        self.arrivals = Arrivals()
        self._proxy = stage.proxy
        self._subscriber = _Subscriber(stage.broker.port, self.arrivals)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._subscriber.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()
        self._subscriber.__exit__()

    def settle(self) -> None:
        """Nothing more comes; what has is looked at."""
        self._ending.set()
        self._thread.join()

    def every_camera_predicts(self, timeout_s: float) -> bool:
        """Wait until each has done so anew."""
        before = self._last()
        until_s = time.monotonic() + timeout_s
        while not all(self._last().get(camera, 0) > before.get(camera, 0) for camera in CAMERAS):
            if time.monotonic() > until_s:
                return False
            time.sleep(PERIOD_S)
        return True

    def _last(self) -> dict[str, int]:
        return {run[1]: self.arrivals.last(run) for run in self.arrivals.runs()}

    def _run(self) -> None:
        while not self._ending.wait(PERIOD_S):
            self._take()
        self._take()

    def _take(self) -> None:
        seen = self._proxy.seen[:]
        del self._proxy.seen[: len(seen)]
        for each in seen:
            if each.kind == "receipt":
                self.arrivals.add(each.payload)


class _Subscriber(Listener):
    """Keeps nothing itself."""

    def __init__(self, port: int, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        super().__init__(port)

    def _on_message(self, _client: object, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._arrivals.add(bytes(message.payload))
