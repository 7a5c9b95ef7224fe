"""A picture with a known label, given now and then to the model that serves: whether it still sees.

It goes the way of every frame, through preprocessing, worker and ranking, and is published nowhere.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edge_agent.bundle import GoldenImage, ModelBundle
from edge_agent.classifier import Classifier
from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError, ImageError, SlotDownError
from edge_agent.frames import Frame, Pixels
from edge_agent.images import decode_image, read_image
from edge_agent.predictions import Prediction

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CanaryRule:
    """Every so many seconds, the picture at ``image``, which is to get the ``label``; without one, the golden
    images of what serves, in turn.
    """

    every_s: float
    image: Path | None = None
    label: str = ""


@dataclass(frozen=True)
class CanaryStatus:
    """How often the model was asked, how often it was wrong or gave no answer, and the last time's fault."""

    checks: int = 0
    wrong: int = 0
    fault: str | None = None


@dataclass(frozen=True)
class _Known:
    """A picture for the network of that name, and what is to be seen on it."""

    network: str
    name: str
    label: str
    min_score: float
    pixels: Pixels


class Canary:
    """That of one slot. One thread, its lane's, uses it; ``status`` may be read by any.

    The picture is decoded in a thread of its own, for a photo may take as long as some frames.
    """

    name = ""
    lossless = False

    def __init__(self, slot: str, rule: CanaryRule, clock: Clock) -> None:
        self.status = CanaryStatus()
        self._slot = slot
        self._rule = rule
        self._clock = clock
        self._due_ns = clock.monotonic_ns() + int(rule.every_s * 1e9)
        self._decoding: threading.Thread | None = None
        self._known: _Known | None = None
        self._shown: _Known | None = None
        self._network = ""
        """The one that the fault is of."""
        self._turn = 0

    def take(self, classifier: Classifier) -> Frame | None:
        """The picture for what serves, when its turn has come and it is there; never blocking."""
        if classifier.network != self._network:
            self._network = classifier.network
            self._note(None)
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns or (self._decoding is not None and self._decoding.is_alive()):
            return None
        known, self._known = self._known, None
        if known is None or known.network != classifier.network:
            self._begin_decoding(classifier.vetted.bundle)
            return None
        self._wait_turn()
        self._shown = known
        return Frame(known.pixels, self._turn, now_ns, self._clock.wall_ns(), known.name)

    def hear(self, prediction: Prediction) -> None:
        """What came of it."""
        shown, self._shown = self._shown, None
        if shown is None or not shown.network.startswith(prediction.model.digest):
            return  # another model serves by now, of which it is not known what it should say
        said = judge(prediction, shown.label, shown.min_score)
        if said is not None:
            model = prediction.model
            where = f"{model.name} {model.digest} on {prediction.device}"
            said = f"canary {shown.name} {said} ({where}); {self._remedy(prediction)}"
        self._count(said)

    def failed(self, error: EdgeAgentError) -> None:
        """There was no answer. Of a slot that is down others tell, and here what was known stands."""
        shown, self._shown = self._shown, None
        if not isinstance(error, SlotDownError):
            self._count(f"canary {shown.name if shown else ''} got no answer: {error}")

    def _begin_decoding(self, bundle: ModelBundle) -> None:
        golden = bundle.files.golden
        decode: Callable[[], _Known]
        if self._rule.image is not None:
            decode = partial(_read, bundle.digest, self._rule.image, self._rule.label)
        elif golden:
            decode = partial(_decode, bundle.digest, golden[self._turn % len(golden)])
        else:
            self._wait_turn()
            return
        self._decoding = threading.Thread(
            target=self._decode, args=(decode,), name=f"canary-{self._slot}", daemon=True
        )
        self._decoding.start()

    def _decode(self, decode: Callable[[], _Known]) -> None:
        """In a thread of its own; the lane looks again when it has ended."""
        try:
            self._known = decode()
        except ImageError as error:
            self._count(f"canary: {error}")
            self._wait_turn()
        except Exception as error:  # the top of a thread
            logger.exception("canary of slot %s", self._slot)
            self._count(f"canary: internal fault: {error!r}")
            self._wait_turn()

    def _wait_turn(self) -> None:
        self._turn += 1
        self._due_ns = self._clock.monotonic_ns() + int(self._rule.every_s * 1e9)

    def _count(self, fault: str | None) -> None:
        before = self.status
        self.status = CanaryStatus(before.checks + 1, before.wrong + (fault is not None), before.fault)
        self._note(fault)

    def _note(self, fault: str | None) -> None:
        """Make it the fault, and say so where that is news."""
        before = self.status.fault
        self.status = replace(self.status, fault=fault)
        if fault is not None and before is None:
            logger.warning("slot %s: %s", self._slot, fault)
        elif fault is None and before is not None:
            logger.info("slot %s: the canary is well again", self._slot)

    def _remedy(self, prediction: Prediction) -> str:
        if self._rule.image is not None and self._rule.label not in prediction.labels:
            return f"set canary_label to one of the model's: {', '.join(prediction.labels[:5])}"
        first = "plug the stick in again" if prediction.device == "edgetpu" else "restart the agent"
        return f"{first}; if it stays so, go back to the model before: edge-agent models rollback"


def judge(prediction: Prediction, label: str, min_score: float) -> str | None:
    """What is wrong with the answer to a picture that is to get this label; None where nothing is."""
    best = int(np.argmax(prediction.scores))
    score = float(prediction.scores[best])
    if prediction.labels[best] == label and score >= min_score:
        return None
    least = f" >= {min_score:g}" if min_score else ""
    return f"should be {label}{least}, is {prediction.labels[best]} {score:.3f}"


def _read(network: str, path: Path, label: str) -> _Known:
    """Raises ImageError."""
    return _Known(network, path.name, label, 0.0, read_image(path))


def _decode(network: str, golden: GoldenImage) -> _Known:
    """Raises ImageError."""
    pixels = decode_image(golden.encoded, golden.name)
    return _Known(network, golden.name, golden.label, golden.min_score, pixels)
