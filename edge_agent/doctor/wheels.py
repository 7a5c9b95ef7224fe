"""The packages that the agent needs, in its own Python: there, new enough, and each in one edition only."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from edge_agent.doctor.findings import Finding

DISTRIBUTION = "edge-agent"
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""Four distributions of one package, cv2: each writes over the files of the others."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)")


def look(paths: Sequence[str] | None = None) -> Iterator[Finding]:
    """``wheels`` and ``opencv``; ``paths`` are where packages lie, None: where this Python looks."""
    versions = installed(sys.path if paths is None else paths)
    wanted = required(sys.path if paths is None else paths)
    lacking = [name for name, least in wanted.items() if not _reaches(versions.get(name), least)]
    if lacking:
        told = ", ".join(f"{name} {versions.get(name, 'missing')}" for name in lacking)
        lines = [f"{name}>={wanted[name]}" for name in lacking]
        yield Finding(
            "wheels",
            "problem",
            f"{told} ({len(wanted)} packages are needed)",
            "the agent, or part of it, does not start without them",
            None,
            _pip("install", "--upgrade", *lines),
        )
    else:
        yield Finding("wheels", "ok", f"{len(wanted)} packages are there, and new enough")
    twins = [name for name in OPENCV if name in versions]
    if len(twins) > 1:
        others = [name for name in twins if name != "opencv-python-headless"]
        again = _pip("install", "--force-reinstall", "--no-deps", "opencv-python-headless")
        yield Finding(
            "opencv",
            "problem",
            f"{' and '.join(twins)} are installed together",
            "they write over each other's files: which one is imported, and whether it starts, is chance",
            None,
            f"{_pip('uninstall', '-y', *others)} && {again}",
        )


def installed(paths: Sequence[str]) -> Mapping[str, str]:
    """Version by the lower-case name; of two, the one that is imported."""
    versions: dict[str, str] = {}
    for each in metadata.distributions(path=list(paths)):
        name = (each.metadata["Name"] or "").lower().replace("_", "-")
        versions.setdefault(name, each.version or "0")
    return versions


def required(paths: Sequence[str]) -> Mapping[str, str]:
    """The least version by name, of what is needed without any extra."""
    own = next(iter(metadata.distributions(name=DISTRIBUTION, path=list(paths))), None)
    lines = (own.requires or []) if own is not None else []
    found = [_REQUIREMENT.match(line) for line in lines if "extra ==" not in line]
    return {match[1].lower(): match[2] for match in found if match}


def _reaches(version: str | None, least: str) -> bool:
    return version is not None and _numbers(version) >= _numbers(least)


def _numbers(version: str) -> list[int]:
    """Of "2.4.0rc1": 2, 4, 0."""
    return [int(match[0]) for part in version.split(".") if (match := re.match(r"\d+", part))]


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", *arguments])
