"""The payload of the device discovery, from the entities that the other modules of this package name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from edge_agent.homeassistant.agents import agent_entities, slot_entities
from edge_agent.homeassistant.cameras import camera_entities
from edge_agent.homeassistant.entities import Entities, available
from edge_agent.homeassistant.profile import AgentProfile


def discovery_topic(prefix: str, agent_id: str) -> str:
    """Where the payload is published, retained."""
    return f"{prefix}/device/edge_agent_{agent_id}/config"


def birth_topic(prefix: str) -> str:
    """Where Home Assistant says "online" when it has started."""
    return f"{prefix}/status"


def components(agent: AgentProfile) -> Entities:
    """Every entity by its key: fields as Home Assistant documents them for its platform.

    A key has parts between dots, which no name and no slug contains: camera.door.label.
    """
    entities = {f"agent.{key}": entity for key, entity in agent_entities(agent).items()}
    for slot in agent.slots:
        entities |= {f"model.{slot}.{key}": entity for key, entity in slot_entities(agent, slot).items()}
    for camera in agent.cameras:
        own = camera_entities(agent, camera)
        entities |= {f"camera.{camera.name}.{key}": entity for key, entity in own.items()}
    # Home Assistant passes no qos of the device on to its entities.
    common = {"qos": agent.qos}
    return {
        key: {**entity, "unique_id": f"edge_agent_{agent.id}_{key}", **common}
        for key, entity in entities.items()
    }


def payload(agent: AgentProfile, entities: Entities, gone: Mapping[str, str]) -> bytes:
    """The JSON; of the entities that are ``gone`` it holds nothing but the platform, which removes them."""
    device = {
        "identifiers": [f"edge_agent_{agent.id}"],
        "name": agent.topics.agent,
        "manufacturer": "edge-agent",
        "model": agent.board or "edge-agent",
        "sw_version": agent.version,
    }
    content = {
        "device": device,
        "origin": {"name": "edge-agent", "sw_version": agent.version},
        **available(agent.topics.availability),
        "components": {**entities, **{key: {"platform": platform} for key, platform in gone.items()}},
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def undecided(agent: AgentProfile, key: str) -> bool:
    """Whether an entity that was there before may come back: the labels of its camera are not known yet."""
    return any(key.startswith(f"camera.{each.name}.") for each in agent.cameras if each.labels is None)
