"""A frame in, a prediction out: bundle, preprocessor and runner as one immutable trio."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError
from edge_agent.frames import Frame
from edge_agent.predictions import ModelIdentity, Prediction, rank, scores_of
from edge_agent.preprocess import Preprocessor
from edge_agent.runner import Answer, Place, Runner
from edge_agent.vetting import VettedBundle

IN_FLIGHT = 2
"""Frames that may be with a worker: one in invoke(), and one prepared meanwhile."""


@dataclass(frozen=True)
class RankingRule:
    """How scores become a ranking: at most ``top_k`` labels of at least ``threshold``; ``cameras`` have
    thresholds of their own.
    """

    top_k: int = 3
    threshold: float = 0.0
    cameras: Mapping[str, float] = field(default_factory=dict)

    def threshold_of(self, camera: str) -> float:
        """What a label must score on that camera."""
        return self.cameras.get(camera, self.threshold)


@dataclass(frozen=True)
class Ticket:
    """A frame whose tensor is with the worker, in ``place``."""

    classifier: Classifier
    frame: Frame
    place: Place
    request: int
    preprocess_ms: float


@dataclass(frozen=True)
class Classifier:
    """What serves a slot. Read once per frame, so that a tensor never meets the wrong model.

    ``timeout_s`` bounds each wait for the worker; ``places`` are those that no frame is in, shared by all
    that were made of one another. One thread uses them.
    """

    identity: ModelIdentity
    vetted: VettedBundle
    preprocessor: Preprocessor
    runner: Runner
    rule: RankingRule
    timeout_s: float
    clock: Clock
    places: collections.deque[Place]
    device: str = "cpu"
    degraded: bool = False

    @property
    def network(self) -> str:
        """What the worker calls the network: its bundle's digest, for slots may serve the same one."""
        return self.vetted.bundle.digest

    @classmethod
    def build(
        cls,
        slot: str,
        vetted: VettedBundle,
        runner: Runner,
        rule: RankingRule,
        timeout_s: float,
        clock: Clock,
        *,
        device: str = "cpu",
        degraded: bool = False,
    ) -> Classifier:
        """The trio for a READY runner on that device; its deadline is at least 10 x an inference: the one
        that vetting saw on the CPU, on an Edge TPU the runner's first of each network, for a frame waits
        there behind those of other slots.

        Raises as :meth:`edge_agent.runner.Runner.place`.
        """
        bundle = vetted.bundle
        on_cpu = device == "cpu"
        first_ms = sum(network.warm_ms for network in runner.ready.networks.values())
        seen_ms = vetted.inference_ms if on_cpu else first_ms
        return cls(
            identity=ModelIdentity(
                slot, bundle.name, bundle.short, bundle.iteration, bundle.method == "multilabel"
            ),
            vetted=vetted,
            preprocessor=Preprocessor(bundle.convention, bundle.input),
            runner=runner,
            rule=rule,
            timeout_s=max(timeout_s, 10 * seen_ms / 1e3),
            clock=clock,
            places=collections.deque(runner.place(bundle.digest) for _ in range(IN_FLIGHT)),
            device=device,
            degraded=degraded,
        )

    def with_rule(self, rule: RankingRule) -> Classifier:
        """The same trio under another rule."""
        return dataclasses.replace(self, rule=rule)

    def with_degraded(self, degraded: bool) -> Classifier:
        """The same trio, and whether it is less than what was asked for."""
        return dataclasses.replace(self, degraded=degraded)

    def classify(self, frame: Frame) -> Prediction:
        """Prepare, run and rank. Raises ImageError, InferenceError, WorkerDiedError, WorkerStuckError."""
        return self.finish(self.begin(frame))

    def begin(self, frame: Frame) -> Ticket:
        """Prepare the frame and hand it to the worker; at most IN_FLIGHT tickets may be open."""
        place = self.places.popleft()
        try:
            begun_ns = self.clock.monotonic_ns()
            self.preprocessor.prepare(frame.pixels, place.tensor)
            preprocess_ms = (self.clock.monotonic_ns() - begun_ns) / 1e6
            request = self.runner.submit(place, self.timeout_s)
        except EdgeAgentError:
            self.places.append(place)
            raise
        return Ticket(self, frame, place, request, preprocess_ms)

    def begin_again(self, ticket: Ticket) -> Ticket:
        """Hand the tensor of another classifier's open ticket, of the same bundle, to this worker too."""
        place = self.places.popleft()
        try:
            np.copyto(place.tensor, ticket.place.tensor)
            request = self.runner.submit(place, self.timeout_s)
        except EdgeAgentError:
            self.places.append(place)
            raise
        return dataclasses.replace(ticket, classifier=self, place=place, request=request)

    def abandon(self, ticket: Ticket) -> None:
        """Nobody will finish this ticket: its answer is thrown away when it comes."""
        self.runner.abandon(ticket.request)
        self.places.append(ticket.place)

    def finish(self, ticket: Ticket) -> Prediction:
        """The prediction of an open ticket."""
        return self.prediction(ticket, self.answer(ticket))

    def answer(self, ticket: Ticket) -> Answer:
        """The worker's raw answer to an open ticket, which is closed with it."""
        try:
            return self.runner.receive(ticket.request, self.timeout_s)
        finally:
            self.places.append(ticket.place)

    def prediction(self, ticket: Ticket, answer: Answer, camera: str = "") -> Prediction:
        """The ranked labels, as that camera wants them. Raises InferenceError for scores that are no
        numbers.
        """
        bundle = self.vetted.bundle
        scores = scores_of(answer.output, bundle.output)
        threshold = self.rule.threshold_of(camera)
        ranking = rank(scores, bundle.labels, top_k=self.rule.top_k, threshold=threshold)
        return Prediction(
            frame=ticket.frame,
            model=self.identity,
            device=self.device,
            degraded=self.degraded,
            ranking=ranking,
            preprocess_ms=ticket.preprocess_ms,
            inference_ms=answer.inference_ms,
            total_ms=(self.clock.monotonic_ns() - ticket.frame.captured_ns) / 1e6,
            scores=scores,
            labels=bundle.labels,
        )
