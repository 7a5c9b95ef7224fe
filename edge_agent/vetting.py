"""How a file becomes a model that may serve: read, opened by a throw-away worker, proven.

The runtime meets an unproven file in a child with a memory limit and a deadline; what it does there
(abort, segfault, hang, refuse) costs that child and nothing else. An Edge TPU has no part in it: what is
compiled for one is proven there before it serves (:func:`edge_agent.proof.prove`).
"""

from __future__ import annotations

import dataclasses
import platform
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_agent.bundle import BundleFiles, ModelBundle, complete_bundle, read_bundle, runtime_needed
from edge_agent.clock import Clock
from edge_agent.errors import (
    BundleError,
    InferenceError,
    ModelRefusedError,
    UnprovenError,
    UnsuitableError,
    WorkerDiedError,
    WorkerStuckError,
)
from edge_agent.probes import Probe, check_answer, probes
from edge_agent.runner import Answer, Ready, Runner
from edge_agent.sealed import SealedFile
from edge_agent.soc import board
from edge_agent.tensors import Array
from edge_agent.verdict import Verdict
from edge_agent.worker_process import WorkerSettings

MEMORY_BASE = 1 << 30
"""Bytes of address space for Python, numpy and the runtime; they were seen to take 180 MB."""

MEMORY_PER_MODEL_BYTE = 8
"""A float model is unpacked and its activations allocated: 3 x was the most seen."""

NETWORK = "candidate"
"""What the throw-away worker calls its only network."""

TIMED_RUNS = 5
"""Inferences whose median is what one usually takes; the first one is often twice as long."""

PROOF_TIMEOUT_S = 30.0
"""For one golden image on the slowest board: a Pi 3 takes 0.3 s for a MobileNet."""


@dataclass(frozen=True)
class VettedBundle:
    """A bundle that the runtime has opened, and the sealed copies of its models.

    ``model`` runs on the CPU, ``compiled`` on an Edge TPU whose libedgetpu is of at least the RuntimeVersion
    ``needs_runtime`` (None: not known); one of the two may be None. ``runtime`` is the one that vetted it.
    ``inference_ms`` is the CPU's first inference, ``typical_ms`` what one usually takes, ``answers`` its raw
    outputs for the bundle's :func:`~edge_agent.probes.probes`; 0, 0 and () without ``model``. ``verdict`` is
    what the runtime said, for :func:`vet` of the same bundle another time.
    """

    bundle: ModelBundle
    model: SealedFile | None
    compiled: SealedFile | None
    needs_runtime: int | None
    runtime: str
    inference_ms: float
    typical_ms: float
    answers: tuple[Array, ...]
    verdict: Verdict

    @property
    def first_run(self) -> str:
        """How it was tried, in words."""
        if self.model is None:
            return f"not run: it needs an Edge TPU (described by {self.runtime})"
        return f"first inference {self.inference_ms:.1f} ms on {self.runtime}"

    def for_cpu(self) -> SealedFile:
        """The model that the CPU runs. Raises UnsuitableError where there is only a compiled one."""
        if self.model is None:
            raise UnsuitableError(
                f"{self.bundle.files.path}: only a model compiled for the Edge TPU, and nothing that the CPU "
                "could run",
                "put the model.tflite that it was compiled from beside it",
            )
        return self.model


def vet_bundle(path: Path, settings: WorkerSettings, clock: Clock) -> VettedBundle:
    """Read the bundle at ``path`` and :func:`vet` it. Raises as that, and BundleError for what is none."""
    return vet(read_bundle(path), settings, clock)


def vet(
    files: BundleFiles, settings: WorkerSettings, clock: Clock, known: Verdict | None = None
) -> VettedBundle:
    """Prove a bundle, on the CPU; one that is only compiled for the Edge TPU can but be described here.

    What is ``known`` of the same bundle by the runtime that ``settings`` name is taken for proven, and no
    worker is started. Raises BundleError or one of its kind where the bundle is at fault, UnprovenError where
    its worker died or gave no answer, WorkerStartError where no runtime can be had.
    """
    with ExitStack() as unproven:
        model = _sealed(files.model, f"{files.name}.tflite", unproven)
        compiled = _sealed(files.model_edgetpu, f"{files.name}_edgetpu.tflite", unproven)
        try:
            if known is not None and _holds(known, files, settings):
                bundle, verdict = complete_bundle(files, known.graph), known
            else:
                bundle, verdict = _try(files, model, compiled, settings, clock)
        except BundleError as error:
            error.digest = files.short
            raise
        unproven.pop_all()
    # No longer with the bytes: the sealed copies have them.
    light = dataclasses.replace(files, model=None, model_edgetpu=None, parts=())
    return VettedBundle(
        bundle=dataclasses.replace(bundle, files=light),
        model=model,
        compiled=compiled,
        needs_runtime=runtime_needed(files.model_edgetpu or b""),
        runtime=verdict.runtime,
        inference_ms=verdict.inference_ms,
        typical_ms=verdict.typical_ms,
        answers=verdict.answers,
        verdict=verdict,
    )


def _holds(known: Verdict, files: BundleFiles, settings: WorkerSettings) -> bool:
    """Whether it is of this bundle, this runtime, and an answer to each probe."""
    asked = 0 if files.model is None else max(len(files.golden), 1)
    form = [(spec.shape, spec.dtype) for spec in known.graph.outputs]
    formed = all([(answer.shape, answer.dtype.name)] == form for answer in known.answers)
    found = (known.digest, known.runtime, len(known.answers))
    return formed and found == (files.digest, runtime_of(settings), asked)


def runtime_of(settings: WorkerSettings) -> str | None:
    """Name and version of the runtime that a worker will have; None where only the worker can tell."""
    if settings.python is not None:
        return None
    for name, package in _PACKAGES.items():
        if settings.runtime in ("auto", name):
            try:
                return f"{name} {version(package)}"
            except PackageNotFoundError:
                continue
    return None


_PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
"""In the order in which a worker tries them."""


def verdict_key(settings: WorkerSettings) -> str | None:
    """Names the conditions that a verdict holds under: runtime, machine and threads, for a card may be moved
    to another board. None where they are not known.
    """
    runtime = runtime_of(settings)
    return runtime and f"{runtime}, {platform.machine()} {board()}, {settings.threads} threads"


def _sealed(content: bytes | None, name: str, unproven: ExitStack) -> SealedFile | None:
    if content is None:
        return None
    sealed = SealedFile(content, name)
    unproven.callback(sealed.close)
    return sealed


def _try(
    files: BundleFiles,
    model: SealedFile | None,
    compiled: SealedFile | None,
    settings: WorkerSettings,
    clock: Clock,
) -> tuple[ModelBundle, Verdict]:
    """Have a throw-away worker open it and answer its probes. Raises as :func:`vet`."""
    opened = model or compiled
    assert opened is not None, "a bundle has a model"
    limited = dataclasses.replace(
        settings, describe=True, memory_limit=MEMORY_BASE + MEMORY_PER_MODEL_BYTE * opened.size
    )
    runner = Runner({NETWORK: opened}, limited, clock)
    try:
        ready = _open(runner, files.path)
        network = ready.networks[NETWORK]
        assert network.graph is not None, "it was told to describe"
        bundle = complete_bundle(files, network.graph)
        answers: tuple[Array, ...] = ()
        typical_ms = 0.0
        if model is not None:
            asked = list(probes(bundle))
            answers = tuple(_answer(runner, bundle, probe) for probe in asked)
            typical_ms = statistics.median(_timed(runner, bundle, asked[0]) for _ in range(TIMED_RUNS))
    finally:
        runner.retire()
    return bundle, Verdict(files.digest, ready.runtime, network.graph, network.warm_ms, typical_ms, answers)


def _open(runner: Runner, path: Path) -> Ready:
    try:
        return runner.wait_ready()
    except ModelRefusedError as error:
        raise BundleError(f"{path}: the runtime refuses the model: {error.what}", _COPY_AGAIN) from error
    except (WorkerDiedError, WorkerStuckError) as error:
        raise UnprovenError(f"{path}: opening the model failed: {error.what}", _COPY_AGAIN) from error


_COPY_AGAIN = "copy the file again, or export it again as TensorFlow Lite"


def _answer(runner: Runner, bundle: ModelBundle, probe: Probe) -> Array:
    """The CPU's answer, once it is right. Raises BundleError."""
    try:
        output = _asked(runner, bundle, probe).output
        check_answer(bundle, probe, output)
    except InferenceError as error:
        raise BundleError(f"{bundle.files.path}: {probe.name}: {error.what}", _MUST_NOT) from error
    return output


def _timed(runner: Runner, bundle: ModelBundle, probe: Probe) -> float:
    return _asked(runner, bundle, probe).inference_ms


def _asked(runner: Runner, bundle: ModelBundle, probe: Probe) -> Answer:
    """Raises UnprovenError where the worker does not survive it, InferenceError."""
    try:
        return runner.run(NETWORK, probe.tensor, PROOF_TIMEOUT_S)
    except (WorkerDiedError, WorkerStuckError) as error:
        raise UnprovenError(f"{bundle.files.path}: {probe.name}: {error.what}", _MUST_NOT) from error


_MUST_NOT = "the model must not serve"
