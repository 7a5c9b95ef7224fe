"""What single values of the configuration may be: names, paths, topics, sources, regions.

Relative paths get the folder of the configuration file, handed in as ``base`` of the validation's context.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo, WithJsonSchema

from edge_agent.errors import ConfigError
from edge_agent.topics import check_topic

NAME_PATTERN = "^[A-Za-z0-9_-]{1,64}$"
DEVICE_PATTERN = "^(auto|cpu|edgetpu(:(usb|pci):[0-9]{1,3})?)$"
PATTERN_WORDS = {
    NAME_PATTERN: "must be 1 to 64 letters, digits, _ and -",
    DEVICE_PATTERN: 'must be "auto", "cpu", "edgetpu" or the like of "edgetpu:usb:0"',
}
"""What a pattern asks for, in words, for error texts."""

_LOCATOR = re.compile(r"[0-9]+$|scene:|picamera:|[A-Za-z][A-Za-z0-9+.-]*://")
MAX_TOPIC_BYTES = 1024
"""Of a configured one: what is published below it has some hundred bytes more."""

_REGION_SLACK = 1e-9  # 0.7 + 0.3 may come out above 1 by a rounding


def _beside_the_file(given: object, info: ValidationInfo) -> object:
    """A path as text, relative to the folder of the configuration file (the context's ``base``)."""
    if not isinstance(given, str):
        if isinstance(given, Path):
            return given
        raise ValueError("must be a path, as a string")
    if not given or "\0" in given:
        raise ValueError("must be a path: not empty, without a NUL")
    try:
        return Path((info.context or {}).get("base", "."), Path(given).expanduser())
    except RuntimeError:
        raise ValueError("must be a path: nobody has the home folder that ~ asks for") from None


def _library(given: object, info: ValidationInfo) -> object:
    """A shared library: a mere name is looked for by the loader, a path starts beside the file."""
    if not isinstance(given, str) or not given or not given.isprintable():
        raise ValueError("must be a library's name or path")
    return str(_beside_the_file(given, info)) if "/" in given else given


def _lower(given: object) -> object:
    return given.lower() if isinstance(given, str) else given


def _located(given: object, info: ValidationInfo) -> object:
    """A camera's source: numbers become text, paths get the configuration file's folder."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 1000:
        return str(given)
    if not isinstance(given, str) or not given or not given.isprintable():
        raise ValueError("must be a device, number, URL, file or folder")
    if _LOCATOR.match(given):
        return given
    folder_mark = "/" if given.endswith("/") else ""
    return f"{_beside_the_file(given, info)}".rstrip("/") + folder_mark


def _topic(text: str) -> str:
    """A topic that may be published to, with room for the levels below it."""
    if len(text.encode()) > MAX_TOPIC_BYTES:
        raise ValueError(f"must be a topic of at most {MAX_TOPIC_BYTES} bytes")
    try:
        return check_topic(text)
    except ConfigError as error:
        raise ValueError(f"must be a topic: {error.what}") from None


def _host(text: str) -> str:
    if not text or any(letter.isspace() or not letter.isprintable() or letter == "/" for letter in text):
        raise ValueError("must be a host name or an address, without scheme or port")
    return text


def _alpn(text: str) -> str:
    if not (text.isascii() and text.isprintable() and 0 < len(text) <= 255):
        raise ValueError("must be 1 to 255 printable ASCII characters")
    return text


def _four_numbers(given: object) -> object:
    return tuple(given) if isinstance(given, list | tuple) and len(given) == 4 else given


def _within_the_frame(region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x, y, width, height = region
    inside = x >= 0 and y >= 0 and x + width <= 1 + _REGION_SLACK and y + height <= 1 + _REGION_SLACK
    if not inside or width <= 0 or height <= 0:
        raise ValueError("must lie within the frame: x + width and y + height at most 1, sizes above 0")
    return region


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
FilePath = Annotated[Path, BeforeValidator(_beside_the_file)]
Source = Annotated[str, BeforeValidator(_located), WithJsonSchema({"type": ["string", "integer"]})]
Device = Annotated[str, StringConstraints(pattern=DEVICE_PATTERN)]
Library = Annotated[str, BeforeValidator(_library)]
Performance = Annotated[Literal["low", "medium", "high", "max"], BeforeValidator(_lower)]
Host = Annotated[str, AfterValidator(_host)]
Topic = Annotated[str, AfterValidator(_topic)]
Alpn = Annotated[str, AfterValidator(_alpn)]
Region = Annotated[
    tuple[float, float, float, float], BeforeValidator(_four_numbers), AfterValidator(_within_the_frame)
]


def _regions(given: object) -> object:
    return tuple(given) if isinstance(given, list) else given


Mask = Annotated[tuple[Region, ...], BeforeValidator(_regions)]
Threshold = Annotated[float, Field(ge=0, le=1)]


def host_name() -> str:
    """This machine's name as an agent may bear it: the first label, other signs than a name's as -."""
    first_label = socket.gethostname().partition(".")[0]
    return re.sub("[^A-Za-z0-9_-]", "-", first_label)[:64] or "edge-agent"
