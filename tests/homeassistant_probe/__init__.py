"""A custom component of Home Assistant: tells its states over MQTT, and calls services when asked.

Not imported by any test: it is copied into the configuration of a Home Assistant of its own.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from homeassistant.components import mqtt
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation
from homeassistant.helpers.event import async_track_time_interval

CONFIG_SCHEMA = config_validation.empty_config_schema("probe")


async def async_setup(hass: HomeAssistant, _config: Any) -> bool:
    """Begin when MQTT is there."""

    async def tell(_now: datetime) -> None:
        states = {each.entity_id: [each.state, dict(each.attributes)] for each in hass.states.async_all()}
        await mqtt.async_publish(hass, "probe/states", json.dumps(states, default=str))

    async def obey(message: Any) -> None:
        asked = json.loads(message.payload)
        await hass.services.async_call(*asked["service"].split("."), {"entity_id": asked["entity"]})

    async def begin() -> None:
        await mqtt.async_wait_for_mqtt_client(hass)
        await mqtt.async_subscribe(hass, "probe/command", obey)
        async_track_time_interval(hass, tell, timedelta(seconds=0.5))

    hass.async_create_background_task(begin(), "probe")
    return True
