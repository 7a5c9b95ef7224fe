"""How a file becomes a model that may serve: read, opened by a throw-away worker, proven.

The runtime meets an unproven file in a child with a memory limit and a deadline; what it does there
(abort, segfault, hang, refuse) costs that child and nothing else.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.bundle import BundleFiles, ModelBundle, complete_bundle, read_bundle
from edge_agent.clock import Clock
from edge_agent.errors import (
    BundleError,
    EdgeAgentError,
    InferenceError,
    ModelRefusedError,
    UnsupportedModelError,
    WorkerDiedError,
    WorkerStuckError,
)
from edge_agent.images import decode_image
from edge_agent.predictions import rank, scores_of
from edge_agent.preprocess import Preprocessor
from edge_agent.runner import Ready, Runner
from edge_agent.sealed import SealedFile
from edge_agent.worker_process import WorkerSettings

MEMORY_BASE = 1 << 30
"""Bytes of address space for Python, numpy and the runtime; they were seen to take 180 MB."""

MEMORY_PER_MODEL_BYTE = 8
"""A float model is unpacked and its activations allocated: 3 x was the most seen."""

NETWORK = "candidate"
"""What the throw-away worker calls its only network."""

PROOF_TIMEOUT_S = 30.0
"""For one golden image on the slowest board: a Pi 3 takes 0.3 s for a MobileNet."""


@dataclass(frozen=True)
class VettedBundle:
    """A bundle that the runtime has opened and run, and the sealed copy of its model.

    ``inference_ms`` is the time of its first inference in the throw-away worker.
    """

    bundle: ModelBundle
    model: SealedFile
    runtime: str
    inference_ms: float


def vet_bundle(path: Path, settings: WorkerSettings, clock: Clock) -> VettedBundle:
    """Read the bundle at ``path`` and prove it.

    Raises BundleError or one of its kind where the bundle is at fault, WorkerStartError where no runtime
    can be had.
    """
    files = read_bundle(path)
    if files.model is None:
        raise UnsupportedModelError(
            f"{path}: only a model compiled for the Edge TPU, and nothing that the CPU could run",
            "put the model.tflite that it was compiled from beside it",
        )
    model = SealedFile(files.model, f"{files.name}.tflite")
    try:
        return _vet(files, model, settings, clock)
    except EdgeAgentError as error:
        model.close()
        if isinstance(error, BundleError):
            error.digest = files.short
        raise


def _vet(files: BundleFiles, model: SealedFile, settings: WorkerSettings, clock: Clock) -> VettedBundle:
    limited = dataclasses.replace(
        settings, describe=True, memory_limit=MEMORY_BASE + MEMORY_PER_MODEL_BYTE * model.size
    )
    runner = Runner({NETWORK: model}, limited, clock)
    try:
        ready = _open(runner, files.path)
        bundle = _complete(files, ready)
        _prove_finite(runner, bundle)
        _prove_golden(runner, bundle)
    finally:
        runner.retire()
    return VettedBundle(bundle, model, ready.runtime, ready.networks[NETWORK].warm_ms)


def _open(runner: Runner, path: Path) -> Ready:
    try:
        return runner.wait_ready()
    except ModelRefusedError as error:
        raise BundleError(f"{path}: the runtime refuses the model: {error.what}", _COPY_AGAIN) from error
    except (WorkerDiedError, WorkerStuckError) as error:
        raise BundleError(f"{path}: opening the model failed: {error.what}", _COPY_AGAIN) from error


_COPY_AGAIN = "copy the file again, or export it again as TensorFlow Lite"


def _complete(files: BundleFiles, ready: Ready) -> ModelBundle:
    """The bundle, no longer holding the models' bytes: the sealed copy has them."""
    graph = ready.networks[NETWORK].graph
    assert graph is not None
    bundle = complete_bundle(files, graph)
    return dataclasses.replace(bundle, files=dataclasses.replace(files, model=None, model_edgetpu=None))


def _prove_finite(runner: Runner, bundle: ModelBundle) -> None:
    """A plain grey picture must give numbers for scores. Raises BundleError."""
    tensor = Preprocessor(bundle.convention, bundle.input).prepare(np.full((224, 224, 3), 128, np.uint8))
    try:
        scores = scores_of(runner.run(NETWORK, tensor, PROOF_TIMEOUT_S).output, bundle.output)
        rank(scores, bundle.labels, top_k=1, threshold=0.0)
    except (InferenceError, WorkerDiedError, WorkerStuckError) as error:
        raise BundleError(f"{bundle.files.path}: a grey picture: {error.what}", _COPY_AGAIN) from error


def _prove_golden(runner: Runner, bundle: ModelBundle) -> None:
    """Each golden image must get its label with its least score. Raises BundleError."""
    preprocessor = Preprocessor(bundle.convention, bundle.input)
    for golden in bundle.files.golden:
        where = f"{bundle.files.path}: golden image {golden.name}"
        try:
            tensor = preprocessor.prepare(decode_image(golden.encoded, golden.name))
            answer = runner.run(NETWORK, tensor, PROOF_TIMEOUT_S)
        except (InferenceError, WorkerDiedError, WorkerStuckError) as error:
            raise BundleError(f"{where}: {error.what}", "the model must not serve") from error
        except EdgeAgentError as error:
            raise BundleError(f"{where}: {error.what}", error.remedy) from error
        best = rank(scores_of(answer.output, bundle.output), bundle.labels, top_k=1, threshold=0.0)[0]
        if best.label != golden.label or best.score < golden.min_score:
            raise BundleError(
                f"{where} should be {golden.label} >= {golden.min_score:g}, is {best.label} {best.score:.3f}",
                "check the labels' order and [input] in bundle.toml",
            )
