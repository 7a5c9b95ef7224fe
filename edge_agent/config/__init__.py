"""The configuration: what can be set, where it is read from, what a new one changes.

Only the top floor (the daemon's assembly and the command line) knows it; every other room takes plain
values.
"""

from edge_agent.config.inference import InferenceConfig
from edge_agent.config.models import AgentConfig, CameraConfig, Config, ModelConfig, MqttConfig, UpdatesConfig
from edge_agent.config.outbox import OutboxConfig

__all__ = [
    "AgentConfig",
    "CameraConfig",
    "Config",
    "InferenceConfig",
    "ModelConfig",
    "MqttConfig",
    "OutboxConfig",
    "UpdatesConfig",
]
