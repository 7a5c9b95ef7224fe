"""The Python packages that the Edge TPU's worker will meet: runtime, numpy, and whose pycoral."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from edge_agent.doctor.findings import Finding
from edge_agent.errors import ending, one_line
from edge_agent.worker_process import WorkerSettings

MODULES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
"""Runtimes as the configuration calls them to modules, in the order that ``auto`` tries them."""

DISTRIBUTIONS = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}

ASK_TIMEOUT_S = 60.0
"""A Pi 3 takes some ten seconds to import a runtime from a cold SD card."""

# Neither the working directory nor a file in it may pass for a module; -P is not known to Python 3.9.
_SAFE = "import sys; sys.path[:] = [each for each in sys.path if each]; "


@dataclass(frozen=True)
class Packages:
    """What a Python has. ``faults`` says per installed runtime why it cannot be imported, or None."""

    python: str
    version: str
    versions: Mapping[str, str]
    google_pycoral: bool
    faults: Mapping[str, str | None]

    def pip(self, *arguments: str) -> str:
        """The command for this very Python."""
        return shlex.join([self.python, "-m", "pip", *arguments])


def look(settings: WorkerSettings) -> Iterator[Finding]:
    """``runtime``, ``numpy`` and ``pycoral``, of the Python that the worker will run in."""
    python = settings.python or sys.executable
    try:
        packages = ask(python)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        yield Finding(
            "runtime",
            "problem",
            f"{python} cannot be asked for its packages: {one_line(str(error))}",
            "the worker that owns the stick runs in it",
            "set inference.python to a Python 3.9 or newer, or leave it out",
        )
        return
    numpy = _numpy(packages, settings.runtime)
    if numpy is not None:
        yield numpy
    if numpy is None or numpy.level != "problem":
        yield _runtime(packages, settings.runtime)
    if "pycoral" in packages.versions and not packages.google_pycoral:
        yield _stranger(packages)


def ask(python: str) -> Packages:
    """What this Python has; every runtime is imported in a child, for it may end the process that does.

    Raises OSError, subprocess.SubprocessError, ValueError or KeyError: it is no Python that works.
    """
    source = resources.files("edge_agent.doctor").joinpath("inventory.py").read_bytes()
    command = [python, "-c", f"{_SAFE}exec(sys.stdin.read())"]
    child = subprocess.run(command, input=source, capture_output=True, check=True, timeout=ASK_TIMEOUT_S)
    told = json.loads(child.stdout)
    versions = {str(name): str(version) for name, version in dict(told["versions"]).items()}
    faults = {
        runtime: _import_fault(python, module)
        for runtime, module in MODULES.items()
        if DISTRIBUTIONS[runtime] in versions
    }
    return Packages(python, str(told["python"]), versions, bool(told["google"]), faults)


def _import_fault(python: str, module: str) -> str | None:
    command = [python, "-c", f"{_SAFE}import {module}.interpreter"]
    try:
        child = subprocess.run(
            command, capture_output=True, check=False, timeout=ASK_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"no end within {ASK_TIMEOUT_S:.0f} s"
    if child.returncode == 0:
        return None
    lines = child.stderr.decode(errors="replace").split("\n")
    last = next((one_line(line) for line in reversed(lines) if line.strip()), "")
    return last if child.returncode > 0 and last else ending(child.returncode)


def _numpy(packages: Packages, wanted: str) -> Finding | None:
    """Numpy 2 under a tflite-runtime that was built for numpy 1."""
    version = packages.versions.get("numpy", "1")
    if not packages.faults.get("tflite-runtime") or version.split(".")[0] == "1":
        return None
    other = wanted == "litert" or (wanted == "auto" and packages.faults.get("litert", "absent") is None)
    runtime = packages.versions["tflite-runtime"]
    return Finding(
        "numpy",
        "note" if other else "problem",
        f"tflite-runtime {runtime} cannot be imported beside numpy {version}",
        "it was built for numpy 1" + ("; LiteRT is used instead" if other else ": no model can be run"),
        "or install LiteRT (ai-edge-litert), which takes both",
        packages.pip("install", "numpy<2", "opencv-python-headless<4.12"),
    )


def _runtime(packages: Packages, wanted: str) -> Finding:
    names = [name for name in MODULES if wanted in ("auto", name)]
    for name in names:
        if packages.faults.get(name, "absent") is None:
            numpy = packages.versions.get("numpy", "unknown")
            version = packages.versions[DISTRIBUTIONS[name]]
            return Finding("runtime", "ok", f"{name} {version}, numpy {numpy}, Python {packages.version}")
    broken = [f"{name}: {packages.faults[name]}" for name in names if name in packages.faults]
    package = DISTRIBUTIONS[names[0]]
    return Finding(
        "runtime",
        "problem",
        f"{'; '.join(broken) or 'no TensorFlow Lite runtime'} in {packages.python}",
        "no model can be run without one",
        f"inference.runtime is {wanted}" if wanted != "auto" else None,
        packages.pip("install", "--force-reinstall", package) if broken else packages.pip("install", package),
    )


def _stranger(packages: Packages) -> Finding:
    return Finding(
        "pycoral",
        "problem",
        f"pycoral {packages.versions['pycoral']} is not Google's: PyPI has another program of that name "
        "(for the Allen Coral Atlas)",
        "it knows no Edge TPU, and stands where Google's pycoral would; edge-agent needs neither",
        None,
        packages.pip("uninstall", "-y", "pycoral"),
    )
