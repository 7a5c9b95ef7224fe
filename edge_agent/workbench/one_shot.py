"""A bundle that answers pictures one by one, on the device that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from edge_agent import edgetpu
from edge_agent.classifier import Classifier, RankingRule
from edge_agent.clock import Clock
from edge_agent.edgetpu import EdgeTpuSettings, Taken
from edge_agent.errors import (
    BundleError,
    EdgeAgentError,
    UnsupportedModelError,
    WorkerError,
    WorkerStartError,
)
from edge_agent.frames import Frame
from edge_agent.predictions import Prediction
from edge_agent.proof import HINT_NO_TWIN, compiled_refusal, prove
from edge_agent.runner import Runner
from edge_agent.sealed import SealedFile
from edge_agent.vetting import VettedBundle
from edge_agent.worker_process import WorkerSettings

TIMEOUT_S = 10.0
"""For one picture; as generous as a one-shot command may be."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for; ``device`` is auto, edgetpu or cpu.

    ``threads`` are the CPU's; 0: all cores.
    """

    device: str
    library: str
    runtime: str
    rule: RankingRule = field(default_factory=RankingRule)
    threads: int = 0


class OneShot:
    """With ``auto`` the Edge TPU answers where there is one and the bundle is compiled for it, and the CPU as
    soon as it does not; ``warn`` is given one line that says why. One thread uses it.
    """

    def __init__(self, vetted: VettedBundle, asked: Asked, clock: Clock, warn: Callable[[str], None]) -> None:
        """Raises BundleError where the bundle cannot run on the device, WorkerError where there is none."""
        self._vetted = vetted
        self._asked = asked
        self._clock = clock
        self._warn = warn
        self._held = ExitStack()
        try:
            self._classifier = self._open()
        except EdgeAgentError:
            self._held.close()
            raise

    @property
    def device(self) -> str:
        """What answers now: "cpu" or "edgetpu"."""
        return self._classifier.device

    def classify(self, frame: Frame) -> Prediction:
        """Label one picture. Raises ImageError, and WorkerError where no device is left."""
        try:
            return self._classifier.classify(frame)
        except WorkerError as error:
            if self._classifier.device == "cpu" or not self._has_fallback():
                raise
            self._classifier = self._fall_back(error)
            return self._classifier.classify(frame)

    def close(self) -> None:
        """End the worker and give the device back."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Classifier:
        asked, compiled = self._asked.device, self._vetted.compiled
        if asked == "cpu" or (asked == "auto" and compiled is None):
            return self._on_cpu()
        if compiled is None:
            raise UnsupportedModelError(f"{self._vetted.bundle.files.path}: {HINT_NO_TWIN}")
        try:
            return self._on_edgetpu(compiled)
        except (BundleError, WorkerError) as error:
            if not self._has_fallback():
                raise
            return self._fall_back(error)

    def _has_fallback(self) -> bool:
        return self._asked.device == "auto" and self._vetted.model is not None

    def _fall_back(self, error: EdgeAgentError) -> Classifier:
        self._warn(f"the CPU answers: {error}")
        self._held.close()
        return self._on_cpu()

    def _on_cpu(self) -> Classifier:
        settings = WorkerSettings(runtime=self._asked.runtime, threads=self._asked.threads)
        return self._started(self._vetted.for_cpu(), settings, "cpu")

    def _on_edgetpu(self, compiled: SealedFile) -> Classifier:
        """Ready once it has been held against the CPU."""
        settings = EdgeTpuSettings(wanted="edgetpu", library=self._asked.library)
        taken = edgetpu.take(settings.wanted, settings.library)
        self._held.callback(taken.close)
        refusal = compiled_refusal(self._vetted, taken.version)
        if refusal is not None:
            raise BundleError(f"{self._vetted.bundle.files.path}: {refusal}")
        classifier = self._first_fitting(compiled, settings, taken)
        prove(classifier.runner, classifier.network, self._vetted)
        return classifier

    def _first_fitting(self, compiled: SealedFile, settings: EdgeTpuSettings, taken: Taken) -> Classifier:
        """With the first runtime that libedgetpu fits; each worker is gone before the next one starts."""
        misfits: dict[str, WorkerError] = {}
        for runtime in edgetpu.runtimes(self._asked.runtime):
            worker = edgetpu.worker_settings(settings, taken, runtime)
            try:
                return self._started(compiled, worker, "edgetpu")
            except WorkerError as error:
                if not edgetpu.is_misfit(error):
                    raise
                misfits[runtime] = error
        raise WorkerStartError(edgetpu.misfit(settings.library, misfits))

    def _started(self, model: SealedFile, worker: WorkerSettings, device: str) -> Classifier:
        runner = Runner({self._vetted.bundle.digest: model}, worker, self._clock)
        self._held.callback(runner.retire)
        runner.wait_ready()
        rule = self._asked.rule
        return Classifier.build("default", self._vetted, runner, rule, TIMEOUT_S, self._clock, device=device)
