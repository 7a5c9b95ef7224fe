"""What Home Assistant is told of the agent: one payload of its MQTT device discovery. Nothing here acts."""

from edge_agent.homeassistant.discovery import birth_topic, components, discovery_topic, payload, undecided
from edge_agent.homeassistant.profile import AgentProfile, CameraProfile

__all__ = [
    "AgentProfile",
    "CameraProfile",
    "birth_topic",
    "components",
    "discovery_topic",
    "payload",
    "undecided",
]
