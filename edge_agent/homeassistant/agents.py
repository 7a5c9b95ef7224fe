"""The entities of the agent and of its slots."""

from __future__ import annotations

from edge_agent.homeassistant.entities import HAS_PREVIOUS, Entity, available, request
from edge_agent.homeassistant.profile import AgentProfile

FAULTS = "{{ {'faults': value_json.faults} | tojson }}"

ALL_PAUSED = "{{ 'OFF' if value_json.cameras.values() | rejectattr('paused') | list else 'ON' }}"
"""Of a ``health`` message: nobody looks through any camera."""

MODEL = """\
{% set serving = value_json.serving -%}
{% set newest = value_json.candidate or value_json.available or serving -%}
{% set refused = value_json.rejected[0] if value_json.rejected else none -%}
{% set news = refused and (not serving or refused.at > serving.since) -%}
{{ {
  'installed_version': serving.name ~ ' ' ~ serving.digest if serving else 'none',
  'latest_version': newest.name ~ ' ' ~ newest.digest if newest else 'none',
  'in_progress': value_json.state in ['vetting', 'swapping'],
  'release_summary': ('Refused: ' ~ refused.reason)[:255] if news else ''
} | tojson }}"""
"""Of a ``model`` message, what an update entity reads: versions are name and digest, for exports of one
project share their name. A refusal is told until another model serves.
"""


def agent_entities(agent: AgentProfile) -> dict[str, Entity]:
    """By the last part of their keys."""
    return {**_standing(agent), **_figures(agent), **(_agent_control(agent) if agent.control else {})}


def _standing(agent: AgentProfile) -> dict[str, Entity]:
    health = _health(agent)
    return {
        "device": {
            **health,
            "platform": "sensor",
            "name": "Device in use",
            "icon": "mdi:chip",
            "device_class": "enum",
            "options": ["edgetpu", "cpu"],
            "value_template": "{{ value_json.device }}",
        },
        "problem": {
            **health,
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.faults else 'OFF' }}",
            "json_attributes_topic": agent.topics.health,
            "json_attributes_template": FAULTS,
        },
    }


def _figures(agent: AgentProfile) -> dict[str, Entity]:
    figure = {**_health(agent), "platform": "sensor", "state_class": "measurement"}
    figures: dict[str, Entity] = {
        "queue": {
            **figure,
            "name": "Queue",
            "icon": "mdi:tray-full",
            "unit_of_measurement": "messages",
            "value_template": "{{ value_json.outbox.rows }}",
        },
        "fps": {
            **figure,
            "name": "Frame rate",
            "icon": "mdi:speedometer",
            "unit_of_measurement": "fps",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.fps }}",
        },
        "inference": {
            **figure,
            "name": "Inference time",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.inference_ms }}",
        },
    }
    if agent.has_soc:
        figures["soc"] = {
            **figure,
            "name": "SoC temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "suggested_display_precision": 0,
            "value_template": "{{ value_json.soc_c }}",
        }
    return figures


def _health(agent: AgentProfile) -> Entity:
    return {"state_topic": agent.topics.health, "entity_category": "diagnostic"}


def _agent_control(agent: AgentProfile) -> dict[str, Entity]:
    topics = agent.topics
    return {
        "pause": {
            "platform": "switch",
            "name": "Pause",
            "icon": "mdi:pause-circle",
            "entity_category": "config",
            "state_topic": topics.health,
            "value_template": ALL_PAUSED,
            "state_on": "ON",
            "state_off": "OFF",
            "command_topic": topics.request("pause"),
            "payload_on": request(paused=True),
            "payload_off": request(paused=False),
        },
        "restart": {
            "platform": "button",
            "name": "Restart",
            "device_class": "restart",
            "entity_category": "config",
            "command_topic": topics.request("restart"),
            "payload_press": request(),
        },
    }


def slot_entities(agent: AgentProfile, slot: str) -> dict[str, Entity]:
    """By the last part of their keys."""
    topics = agent.topics
    name = "Model" if len(agent.slots) == 1 else f"Model {slot}"
    model: dict[str, object] = {
        "platform": "update",
        "name": name,
        "entity_category": "config" if agent.control else "diagnostic",
        "state_topic": topics.model(slot),
        "value_template": MODEL,
        "json_attributes_topic": topics.model(slot),
    }
    if not agent.control:
        return {"update": model}
    model |= {"command_topic": topics.request("model/install"), "payload_install": request(slot=slot)}
    rollback = {
        "platform": "button",
        "name": f"{name} rollback",
        "icon": "mdi:undo-variant",
        "entity_category": "config",
        "command_topic": topics.request("model/rollback"),
        "payload_press": request(slot=slot),
        **available(topics.availability, templates={topics.model(slot): HAS_PREVIOUS}),
    }
    return {"update": model, "rollback": rollback}
