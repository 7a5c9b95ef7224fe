"""Which packages a Python has, as JSON on stdout. Runs in that Python, 3.9 or newer, from its stdin.

Only metadata is read: nothing that is found is imported.
"""

from __future__ import annotations

import json
import platform
from importlib import metadata

NAMES = ("numpy", "ai-edge-litert", "tflite-runtime", "pycoral")


def versions() -> dict[str, str]:
    """Version by distribution, of those that are installed."""
    found = {}
    for name in NAMES:
        try:
            found[name] = metadata.version(name) or "of unknown version"
        except metadata.PackageNotFoundError:
            continue
    return found


def is_google(name: str = "pycoral") -> bool:
    """Whether the distribution of this name is Google's: it has ``pycoral.utils.edgetpu``."""
    distribution = metadata.distribution(name)
    summary = distribution.metadata["Summary"] or ""
    module = distribution.locate_file("pycoral/utils/edgetpu.py")
    return "Allen Coral Atlas" not in summary and module.exists()  # type: ignore[attr-defined]


if __name__ == "__main__":
    installed = versions()
    google = "pycoral" in installed and is_google()
    print(json.dumps({"python": platform.python_version(), "versions": installed, "google": google}))
