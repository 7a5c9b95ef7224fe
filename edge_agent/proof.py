"""Whether an Edge TPU may serve a bundle: its answers are held against the CPU's."""

from __future__ import annotations

import re

import numpy as np

from edge_agent.errors import BundleError, DisagreementError, InferenceError
from edge_agent.probes import Probe, check_answer, probes
from edge_agent.runner import Runner
from edge_agent.tensors import Array, TensorSpec
from edge_agent.vetting import VettedBundle

AGREEMENT = 1 - 32 / 256
"""How near the answers must be, see :func:`agreement`. The Edge TPU rounds otherwise than the CPU's kernels,
layer by layer, and moves a softmax by some codes of 256; a corrupt answer has a score in another class, or a
bit of it turned, and is off by what the sure score was.
"""

TIMEOUT_S = 10.0
"""For one answer: libedgetpu itself waits 6 s for a wedged transfer, then ends the process."""


HINT_NO_TWIN = (
    "no model_edgetpu.tflite: it runs on the CPU; `edge-agent convert` makes an int8 model of a float one, "
    "and edgetpu_compiler compiles that for the Edge TPU"
)
"""For a bundle without ``compiled`` where an Edge TPU is wanted."""


def agreement(a: Array, b: Array, spec: TensorSpec) -> float:
    """How alike two raw outputs of ``spec`` are: 1 less the largest difference of any score, 0 at the least.

    Codes of 8 bits count by 255, reals as they are; one that is no finite number agrees with nothing.
    """
    scale = 1.0 if np.dtype(spec.dtype).kind == "f" else 255.0
    difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max() / scale
    return max(0.0, 1.0 - float(difference)) if np.isfinite(difference) else 0.0


def prove(
    runner: Runner,
    network: str,
    vetted: VettedBundle,
    least: float = AGREEMENT,
    *,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Run every probe of the bundle as ``network`` of a READY runner on an Edge TPU.

    Each answer must agree with the CPU's by ``least``, be of finite scores, and name what a golden image
    shows. Raises BundleError: the compiled model is not the CPU's twin, or holds less than bundle.toml asks.
    DisagreementError: the answers are not the CPU's (without a CPU twin: are wrong). Also as Runner.run.
    """
    _check_specs(runner, network, vetted)
    spec = vetted.bundle.output
    for number, probe in enumerate(probes(vetted.bundle)):
        output = runner.run(network, probe.tensor, timeout_s).output
        if vetted.answers:
            _check_agreement(probe, agreement(output, vetted.answers[number], spec), least)
        try:
            check_answer(vetted.bundle, probe, output)
        except InferenceError as error:
            raise DisagreementError(f"Edge TPU: {probe.name}: {error.what}", _STICK) from error
        except BundleError as error:
            if vetted.answers:
                raise
            # Nothing else has ever answered it: the stick may be at fault as well as the bundle.
            raise DisagreementError(f"Edge TPU: {error.what}", error.remedy) from error


_STICK = "plug the stick in again; if that does not help, compile the model again with edgetpu_compiler"


def _check_agreement(probe: Probe, found: float, least: float) -> None:
    if found < least:
        raise DisagreementError(
            f"the Edge TPU's answer to {probe.name} agrees with the CPU's by {found:.3f}, not {least:.3f}",
            _STICK,
        )


def _check_specs(runner: Runner, network: str, vetted: VettedBundle) -> None:
    """Input and output must be what frames are prepared for and scores are read by."""
    loaded, bundle = runner.ready.networks[network], vetted.bundle
    for what, found, expected in (
        ("input", loaded.input, bundle.input),
        ("output", loaded.output, bundle.output),
    ):
        if _form(found) != _form(expected):
            raise BundleError(
                f"{bundle.files.path}: the compiled model's {what} is {_shown(found)}, "
                f"its CPU twin's {_shown(expected)}",
                "compile the model.tflite beside it again with edgetpu_compiler",
            )


def _form(spec: TensorSpec) -> tuple[object, ...]:
    """All of a spec but the name."""
    return spec.shape, spec.dtype, spec.quantization


def _shown(spec: TensorSpec) -> str:
    codes = spec.quantization
    scaled = f", scale {codes.scale:g}, zero point {codes.zero_point}" if codes else ""
    return f"{list(spec.shape)} {spec.dtype}{scaled}"


def compiled_refusal(vetted: VettedBundle, library_version: str) -> str | None:
    """Why libedgetpu would refuse the compiled model, None where nothing speaks against it.

    ``library_version`` is the text of ``edgetpu_version()``, which ends in ``RuntimeVersion(14)``.
    """
    offered = re.search(r"RuntimeVersion\((\d+)\)", library_version)
    if offered is None or vetted.needs_runtime is None or vetted.needs_runtime <= int(offered[1]):
        return None
    return (
        f"its compiled model asks for runtime version {vetted.needs_runtime}, libedgetpu has {offered[1]}; "
        f"compile it again with edgetpu_compiler --min_runtime_version {offered[1]}, or install a newer "
        "libedgetpu"
    )
