"""A frame in, a prediction out: bundle, preprocessor and runner as one immutable trio."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from edge_agent.clock import Clock
from edge_agent.frames import Frame
from edge_agent.predictions import ModelIdentity, Prediction, rank, scores_of
from edge_agent.preprocess import Preprocessor
from edge_agent.runner import Runner
from edge_agent.tensors import Array
from edge_agent.vetting import VettedBundle


@dataclass(frozen=True)
class RankingRule:
    """How scores become a ranking: at most ``top_k`` labels of at least ``threshold``."""

    top_k: int = 3
    threshold: float = 0.0


@dataclass(frozen=True)
class Ticket:
    """A frame whose tensor is with the worker."""

    classifier: Classifier
    frame: Frame
    request: int
    preprocess_ms: float


@dataclass(frozen=True)
class Classifier:
    """What serves a slot. Read once per frame, so that a tensor never meets the wrong model.

    ``timeout_s`` bounds each wait for the worker; ``buffer`` is the input tensor that every frame is
    prepared into (the worker has its own copy when ``begin`` returns). One thread uses it.
    """

    identity: ModelIdentity
    vetted: VettedBundle
    preprocessor: Preprocessor
    runner: Runner
    rule: RankingRule
    timeout_s: float
    clock: Clock
    buffer: Array
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
        degraded: bool = False,
    ) -> Classifier:
        """The trio for a READY runner; its deadline is at least 10 x the time that vetting saw."""
        bundle = vetted.bundle
        return cls(
            identity=ModelIdentity(
                slot, bundle.name, bundle.short, bundle.iteration, bundle.method == "multilabel"
            ),
            vetted=vetted,
            preprocessor=Preprocessor(bundle.convention, bundle.input),
            runner=runner,
            rule=rule,
            timeout_s=max(timeout_s, 10 * vetted.inference_ms / 1e3),
            clock=clock,
            buffer=np.empty(bundle.input.shape, bundle.input.dtype),
            degraded=degraded,
        )

    def with_rule(self, rule: RankingRule) -> Classifier:
        """The same trio under another rule."""
        return dataclasses.replace(self, rule=rule)

    def classify(self, frame: Frame) -> Prediction:
        """Prepare, run and rank. Raises ImageError, InferenceError, WorkerDiedError, WorkerStuckError."""
        return self.finish(self.begin(frame))

    def begin(self, frame: Frame) -> Ticket:
        """Prepare the frame and hand it to the worker; at most two tickets may be open."""
        begun_ns = self.clock.monotonic_ns()
        tensor = self.preprocessor.prepare(frame.pixels, self.buffer)
        preprocess_ms = (self.clock.monotonic_ns() - begun_ns) / 1e6
        request = self.runner.submit(self.network, tensor, self.timeout_s)
        return Ticket(self, frame, request, preprocess_ms)

    def finish(self, ticket: Ticket) -> Prediction:
        """The prediction of the oldest open ticket."""
        answer = self.runner.receive(ticket.request, self.timeout_s)
        bundle = self.vetted.bundle
        ranking = rank(
            scores_of(answer.output, bundle.output),
            bundle.labels,
            top_k=self.rule.top_k,
            threshold=self.rule.threshold,
        )
        return Prediction(
            frame=ticket.frame,
            model=self.identity,
            device=self.device,
            degraded=self.degraded,
            ranking=ranking,
            preprocess_ms=ticket.preprocess_ms,
            inference_ms=answer.inference_ms,
            total_ms=(self.clock.monotonic_ns() - ticket.frame.captured_ns) / 1e6,
        )
