"""What serves each slot, and what stands by for it: read by lanes, changed by the supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_agent.classifier import Classifier, RankingRule
from edge_agent.runner import Runner


class Serving:
    """Used under ``changed``, which is told of each change.

    ``now`` has what serves by slot, ``standby`` the classifiers on the CPU, serving or not.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.now: dict[str, Classifier] = {}
        self.standby: dict[str, Classifier] = {}

    def wait(self, slot: str, is_down: Callable[[], bool], timeout_s: float) -> Classifier | None:
        """What serves the slot, waiting for it until it ``is_down``; None when nothing did in time."""
        self.changed.wait_for(lambda: slot in self.now or is_down(), timeout_s)
        return self.now.get(slot)

    def on_stick(self) -> dict[str, str]:
        """The slots that the Edge TPU serves, and with which digest."""
        return {name: each.network for name, each in self.now.items() if each.device == "edgetpu"}

    def serve(self, slot: str, classifier: Classifier) -> None:
        """Flip to it."""
        self.now[slot] = classifier
        self.changed.notify_all()

    def drop(self, runner: Runner) -> None:
        """Nothing is asked of this worker any more."""
        for classifiers in (self.standby, self.now):
            for name, classifier in list(classifiers.items()):
                if classifier.runner is runner:
                    del classifiers[name]
        self.changed.notify_all()

    def set_rule(self, slot: str, rule: RankingRule) -> None:
        """Rank by another rule from the next frame on."""
        for classifiers in (self.now, self.standby):
            if slot in classifiers:
                classifiers[slot] = classifiers[slot].with_rule(rule)

    def clear(self) -> None:
        """Nothing serves any more."""
        self.now.clear()
        self.standby.clear()
        self.changed.notify_all()
