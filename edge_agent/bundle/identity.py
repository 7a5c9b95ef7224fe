"""What a bundle is called, and what it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

ROLES = ("model", "model_edgetpu", "labels", "manifest", "metadata", "settings", "golden")
"""The order in which :func:`bundle_digest` takes them."""


def bundle_digest(used: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 (64 hex digits) over the files that a bundle uses, as (role, content).

    For each file, in the order of :data:`ROLES` and golden images in the order of bundle.toml: the role in
    ASCII, one zero byte, the length of the content as 8 bytes (big-endian), the content as it was read.
    File names, folders and unused files do not count, so folder, zip and ``app/`` agree.
    """
    digest = hashlib.sha256()
    for role, content in sorted(used, key=lambda part: ROLES.index(part[0])):
        digest.update(role.encode("ascii") + b"\0" + len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()


_EXPORT_NAME = re.compile(r"([0-9a-f]{8})[0-9a-f]{24}(\..*)?", re.IGNORECASE)
_ENDINGS = re.compile(r"(_edgetpu)?\.tflite$|\.lite$|\.zip$", re.IGNORECASE)


def readable_name(path: Path) -> str:
    """What to call a bundle that does not name itself: its folder or file, without the ending; the parent
    for ``app``; ``customvision-<8 digits>`` for an export's ``<iteration>.TensorFlow.TensorFlowLite.zip``.
    """
    if path.name in ("", "..", "app"):
        path = path.absolute().parent if path.name == "app" else path.resolve()
    stem = _ENDINGS.sub("", path.name)
    match = _EXPORT_NAME.fullmatch(stem)
    if match is not None:
        return f"customvision-{match[1].lower()}"
    printable = "".join(character if character.isprintable() else "_" for character in stem)
    return printable[:64].strip() or "model"
