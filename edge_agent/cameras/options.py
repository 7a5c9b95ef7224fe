"""Sources that are written as ``kind:name?key=value&key=value``."""

from __future__ import annotations

import urllib.parse

from edge_agent.errors import CameraSetupError


def split_options(source: str, defaults: dict[str, float]) -> tuple[str, dict[str, float]]:
    """The name after the colon, and the numbers after the question mark over their defaults.

    Raises CameraSetupError for an unknown key and for what is no number above 0 (a whole one where the
    default is whole).
    """
    _kind, _, rest = source.partition(":")
    name, _, query = rest.partition("?")
    options = dict(defaults)
    for key, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise CameraSetupError(f"{source} has an option {key}", f"the options are {', '.join(defaults)}")
        options[key] = _number(source, key, value, type(defaults[key]))
    return name, options


def _number(source: str, key: str, value: str, kind: type[float]) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not 0 <= number < 1e6 or (number == 0 and key != "seed"):
        raise CameraSetupError(f"{source}: {key} is {value!r}", "give a number above 0")
    return number
