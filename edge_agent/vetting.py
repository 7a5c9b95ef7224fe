"""How a file becomes a model that may serve: read, opened by a throw-away worker, proven.

The runtime meets an unproven file in a child with a memory limit and a deadline; what it does there
(abort, segfault, hang, refuse) costs that child and nothing else. An Edge TPU has no part in it: what is
compiled for one is proven there before it serves (:func:`edge_agent.proof.prove`).
"""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edge_agent.bundle import BundleFiles, ModelBundle, complete_bundle, read_bundle, runtime_needed
from edge_agent.clock import Clock
from edge_agent.errors import (
    BundleError,
    InferenceError,
    ModelRefusedError,
    UnsupportedModelError,
    WorkerDiedError,
    WorkerStuckError,
)
from edge_agent.probes import Probe, check_answer, probes
from edge_agent.runner import Ready, Runner
from edge_agent.sealed import SealedFile
from edge_agent.tensors import Array
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
    """A bundle that the runtime has opened, and the sealed copies of its models.

    ``model`` runs on the CPU, ``compiled`` on an Edge TPU whose libedgetpu is of at least the RuntimeVersion
    ``needs_runtime`` (None: not known); one of the two may be None. ``runtime`` is the one that vetted it.
    ``inference_ms`` is the CPU's first inference, ``answers`` its raw outputs for the bundle's
    :func:`~edge_agent.probes.probes`; 0 and () without ``model``.
    """

    bundle: ModelBundle
    model: SealedFile | None
    compiled: SealedFile | None
    needs_runtime: int | None
    runtime: str
    inference_ms: float
    answers: tuple[Array, ...]

    @property
    def first_run(self) -> str:
        """How it was tried, in words."""
        if self.model is None:
            return f"not run: it needs an Edge TPU (described by {self.runtime})"
        return f"first inference {self.inference_ms:.1f} ms on {self.runtime}"

    def for_cpu(self) -> SealedFile:
        """The model that the CPU runs. Raises UnsupportedModelError where there is only a compiled one."""
        if self.model is None:
            raise UnsupportedModelError(
                f"{self.bundle.files.path}: only a model compiled for the Edge TPU, and nothing that the CPU "
                "could run",
                "put the model.tflite that it was compiled from beside it",
            )
        return self.model


def vet_bundle(path: Path, settings: WorkerSettings, clock: Clock) -> VettedBundle:
    """Read the bundle at ``path`` and prove it, on the CPU.

    One that is only compiled for the Edge TPU can but be described here. Raises BundleError or one of its
    kind where the bundle is at fault, WorkerStartError where no runtime can be had.
    """
    files = read_bundle(path)
    with ExitStack() as unproven:
        model = _sealed(files.model, f"{files.name}.tflite", unproven)
        compiled = _sealed(files.model_edgetpu, f"{files.name}_edgetpu.tflite", unproven)
        try:
            vetted = _vet(files, model, compiled, settings, clock)
        except BundleError as error:
            error.digest = files.short
            raise
        unproven.pop_all()
    return vetted


def _sealed(content: bytes | None, name: str, unproven: ExitStack) -> SealedFile | None:
    if content is None:
        return None
    sealed = SealedFile(content, name)
    unproven.callback(sealed.close)
    return sealed


def _vet(
    files: BundleFiles,
    model: SealedFile | None,
    compiled: SealedFile | None,
    settings: WorkerSettings,
    clock: Clock,
) -> VettedBundle:
    opened = model or compiled
    assert opened is not None, "a bundle has a model"
    limited = dataclasses.replace(
        settings, describe=True, memory_limit=MEMORY_BASE + MEMORY_PER_MODEL_BYTE * opened.size
    )
    runner = Runner({NETWORK: opened}, limited, clock)
    try:
        ready = _open(runner, files.path)
        bundle = _complete(files, ready)
        answers = () if model is None else tuple(_answer(runner, bundle, probe) for probe in probes(bundle))
    finally:
        runner.retire()
    return VettedBundle(
        bundle=bundle,
        model=model,
        compiled=compiled,
        needs_runtime=runtime_needed(files.model_edgetpu or b""),
        runtime=ready.runtime,
        inference_ms=ready.networks[NETWORK].warm_ms,
        answers=answers,
    )


def _open(runner: Runner, path: Path) -> Ready:
    try:
        return runner.wait_ready()
    except ModelRefusedError as error:
        raise BundleError(f"{path}: the runtime refuses the model: {error.what}", _COPY_AGAIN) from error
    except (WorkerDiedError, WorkerStuckError) as error:
        raise BundleError(f"{path}: opening the model failed: {error.what}", _COPY_AGAIN) from error


_COPY_AGAIN = "copy the file again, or export it again as TensorFlow Lite"


def _complete(files: BundleFiles, ready: Ready) -> ModelBundle:
    """The bundle, no longer holding the models' bytes: the sealed copies have them."""
    graph = ready.networks[NETWORK].graph
    assert graph is not None
    bundle = complete_bundle(files, graph)
    light = dataclasses.replace(files, model=None, model_edgetpu=None, parts=())
    return dataclasses.replace(bundle, files=light)


def _answer(runner: Runner, bundle: ModelBundle, probe: Probe) -> Array:
    """The CPU's answer, once it is right. Raises BundleError."""
    try:
        output = runner.run(NETWORK, probe.tensor, PROOF_TIMEOUT_S).output
        check_answer(bundle, probe, output)
    except (InferenceError, WorkerDiedError, WorkerStuckError) as error:
        raise BundleError(
            f"{bundle.files.path}: {probe.name}: {error.what}", "the model must not serve"
        ) from error
    return output
