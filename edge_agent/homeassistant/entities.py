"""What all entities have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping

Entity = Mapping[str, object]
"""The fields of one, JSON values throughout."""

Entities = Mapping[str, Entity]
"""Entities by key."""

SERVES = "{{ 'online' if value_json.serving else 'offline' }}"
"""Of a ``model`` message: a camera whose model does not serve says nothing of the world."""

HAS_PREVIOUS = "{{ 'online' if value_json.previous else 'offline' }}"
"""Of a ``model`` message: there is something to roll back to."""


def available(*topics: str, templates: Mapping[str, str] | None = None) -> dict[str, object]:
    """The fields that make an entity available while all these topics say "online", ``templates`` in words
    of what they hold.
    """
    plain = [{"topic": topic} for topic in topics]
    rendered = [{"topic": topic, "value_template": template} for topic, template in (templates or {}).items()]
    return {"availability": [*plain, *rendered], "availability_mode": "all"}


def request(**arguments: object) -> str:
    """What is published to a request topic."""
    return json.dumps(arguments)
