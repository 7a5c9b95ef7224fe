"""Runs in a Python with Home Assistant: holds a discovery payload on stdin against its own schemas.

Prints a line for each thing that they do not take, or that they take and pass over. Not imported by any test.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tempfile
from typing import Any

import voluptuous
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA, SHARED_OPTIONS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import frame


def faults(payload: dict[str, Any]) -> list[str]:
    """What is wrong with it, entity by entity, as Home Assistant's discovery would go about it."""
    try:
        DEVICE_DISCOVERY_SCHEMA(payload)
    except voluptuous.Invalid as error:
        return [f"device: {error}"]
    shared = {key: payload[key] for key in SHARED_OPTIONS if key in payload}
    about = {"device": payload["device"], "origin": payload["origin"]}
    found: list[str] = []
    for key, component in payload["components"].items():
        entity = {**about, **shared, **component}
        platform = entity.pop("platform")
        module = importlib.import_module(f"homeassistant.components.mqtt.{platform}")
        try:
            taken = module.DISCOVERY_SCHEMA(json.loads(json.dumps(entity)))
        except voluptuous.Invalid as error:
            found.append(f"{key}: {error}")
            continue
        found += [f"{key}: {field} is passed over" for field in entity if field not in taken]
    return found


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Templates are compiled by the running Home Assistant.
        frame.async_setup(HomeAssistant(folder))
        print("\n".join(faults(json.load(sys.stdin))))


if __name__ == "__main__":
    asyncio.run(_main())
