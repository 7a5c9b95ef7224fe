"""The configuration: what can be set, where it is read from, what a new one changes.

Only the top floor (the daemon's assembly and the command line) knows it; every other room takes plain
values.
"""

from edge_agent.config.facts import FactsConfig
from edge_agent.config.inference import InferenceConfig
from edge_agent.config.models import AgentConfig, CameraConfig, Config, ModelConfig, MqttConfig
from edge_agent.config.outbox import OutboxConfig
from edge_agent.config.updates import UpdatesConfig

__all__ = [
    "AgentConfig",
    "CameraConfig",
    "Config",
    "FactsConfig",
    "InferenceConfig",
    "ModelConfig",
    "MqttConfig",
    "OutboxConfig",
    "UpdatesConfig",
]
