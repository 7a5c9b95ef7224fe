"""What can be configured: frozen models, every field described, unknown keys refused.

The descriptions are the one source of the commented file (``config init``) and of the JSON schema. Reading a
file and the environment is `edge_agent.config.file`'s; the models take plain values, as TOML gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, StringConstraints, model_validator

from edge_agent.config.facts import FactsConfig
from edge_agent.config.inference import InferenceConfig
from edge_agent.config.metrics import MetricsConfig
from edge_agent.config.outbox import OutboxConfig
from edge_agent.config.section import Section
from edge_agent.config.snapshots import SnapshotsConfig
from edge_agent.config.updates import UpdatesConfig
from edge_agent.config.values import (
    Alpn,
    FilePath,
    Host,
    Mask,
    Name,
    Region,
    Source,
    Threshold,
    Topic,
    host_name,
)


class AgentConfig(Section):
    """``[agent]``."""

    name: Name = Field(
        default_factory=host_name,
        description="Names this agent in every topic and message: letters, digits, _ and -. "
        "Left out: the host name.",
        examples=["dock"],
    )
    state_dir: FilePath = Field(
        default=Path("/var/lib/edge-agent"),
        description="Where the agent keeps what must outlive it: models/<slot>, and inbox/<slot>, to which "
        "a new model may be copied.",
    )
    socket: FilePath = Field(
        default=Path("/run/edge-agent/control.sock"),
        description="Where `edge-agent status` and `edge-agent models` reach the running agent.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least important lines to log: debug, info, warning or error.",
    )


class TlsConfig(Section):
    """``[mqtt.tls]``; present at all, it turns TLS on."""

    ca_file: FilePath | None = Field(
        default=None,
        description="Certificates to trust (PEM). "
        'Left out: the systemd credential "mqtt-ca" where there is one, else those of the system.',
        examples=["/etc/edge-agent/ca.pem"],
    )
    cert_file: FilePath | None = Field(
        default=None,
        description="This agent's own certificate (PEM), where the broker asks for one. "
        'Left out: the systemd credential "mqtt-cert" where there is one.',
        examples=["/etc/edge-agent/agent.pem"],
    )
    key_file: FilePath | None = Field(
        default=None,
        description="The key of cert_file, without a passphrase. "
        'Left out: the systemd credential "mqtt-key" where there is one, else it is in cert_file itself.',
        examples=["/etc/edge-agent/agent.key"],
    )
    alpn: Alpn | None = Field(
        default=None,
        description="The protocol's name (ALPN) for a port that serves several, as 443 at AWS IoT does.",
        examples=["x-amzn-mqtt-ca"],
    )

    @model_validator(mode="after")
    def _key_has_its_certificate(self) -> TlsConfig:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        return self


class HomeAssistantConfig(Section):
    """``[mqtt.home_assistant]``."""

    enabled: bool = Field(
        default=False,
        description="Announce the agent to Home Assistant. Turned off again, it vanishes there.",
    )
    discovery_prefix: Topic = Field(
        default="homeassistant", description="The discovery prefix that Home Assistant listens to."
    )


class MqttConfig(Section):
    """``[mqtt]``."""

    host: Host = Field(default="127.0.0.1", description="The broker's name or address.")
    port: int = Field(
        default=1883, ge=1, le=65535, description="The broker's port. With TLS brokers mostly listen on 8883."
    )
    username: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None, description="The user name to log in with. Left out: anonymous.", examples=["dock"]
    )
    password_file: FilePath | None = Field(
        default=None,
        description="A file that holds the password and nothing else. Left out: the systemd credential "
        '"mqtt-password" where there is one. EDGE_AGENT_MQTT__PASSWORD in the environment wins over both.',
        examples=["/etc/edge-agent/mqtt-password"],
    )
    base_topic: Topic = Field(
        default="edge-agent", description="Every topic starts with this, then the agent's name."
    )
    qos: int = Field(default=1, ge=0, le=2, description="Quality of service of what is published: 0, 1 or 2.")
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        default="auto",
        description='"5", "3.1.1", or "auto": 5, falling back to 3.1.1 where the broker refuses it.',
    )
    requests: Literal["off", "read", "control"] = Field(
        default="control",
        description='What requests over MQTT may do: "off", "read" (ask only) or "control" (change things).',
    )
    will_delay_s: int = Field(
        default=0,
        ge=0,
        le=3600,
        description="MQTT 5: the broker tells others only after so many seconds that the agent vanished, and "
        "not at all if it is back by then. Not with qos = 2.",
    )
    prediction_expiry_s: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="MQTT 5: the broker forgets predictions, pictures and responses that it could not "
        "deliver for so many seconds. 0: never.",
    )
    tls: TlsConfig | None = Field(default=None, description="TLS. The header alone turns it on.")
    home_assistant: HomeAssistantConfig = Field(
        default_factory=HomeAssistantConfig, description="Home Assistant's MQTT discovery."
    )
    _password: SecretStr | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _no_session_holds_qos_2(self) -> MqttConfig:
        """A session that outlives its connection would take the next one's numbers for repeats."""
        if self.will_delay_s and self.qos == 2:
            raise ValueError("will_delay_s needs qos 0 or 1")
        return self

    @property
    def password(self) -> SecretStr | None:
        """What the environment, ``password_file`` or the systemd credential held; no key of the file."""
        return self._password

    def with_password(self, password: SecretStr) -> MqttConfig:
        """A copy that knows the password."""
        copy = self.model_copy()
        copy._password = password
        return copy


class ModelConfig(Section):
    """``[models.<slot>]``."""

    path: FilePath = Field(
        description="A bundle: a folder, a .zip or a .tflite file. A new one that is copied here takes over.",
        examples=["/srv/models/finish"],
    )
    threshold: float = Field(
        default=0.0, ge=0, le=1, description="Labels that score below this are not told: 0 to 1."
    )
    top_k: int = Field(
        default=3, ge=1, le=100_000, description="So many labels are told at most, best first."
    )
    budget_ms: float = Field(
        default=0.0,
        ge=0,
        le=600_000,
        description="Refuse a model whose inference takes longer on the CPU, in ms. 0: any.",
    )
    canary: FilePath | None = Field(
        default=None,
        description="A picture whose label is known: shown to the model now and then, between frames. Any "
        "other label is a fault. Left out: the bundle's golden images, in turn.",
        examples=["/srv/models/known.jpg"],
    )
    canary_label: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None, description="The label that the canary must get.", examples=["fiesta red"]
    )
    canary_every_s: float = Field(
        default=60.0, ge=0, le=86_400, description="So often the canary is shown, in seconds. 0: never."
    )

    @model_validator(mode="after")
    def _canary_has_its_label(self) -> ModelConfig:
        if (self.canary is None) != (self.canary_label is None):
            raise ValueError("canary and canary_label go together")
        return self


class CameraConfig(Section):
    """``[cameras.<camera>]``."""

    source: Source = Field(
        description="A device or its number, rtsp:// or http://, a video file, a folder of photos (photos/), "
        "picamera:0, or scene:finishes, which needs no camera.",
        examples=["scene:finishes"],
    )
    model: Name = Field(
        default="default",
        description="The slot, from [models.<slot>], that looks at the frames. Left out: the only one.",
    )
    fps: float = Field(
        default=5.0,
        ge=0,
        le=1000,
        description="Frames per second. 0: as fast as it goes. Files and folders lose no frame, "
        "fps only paces them.",
    )
    loop: bool = Field(
        default=False,
        description="Files and folders: start again at the end. When every source has ended, the agent ends.",
    )
    rotate: Literal[0, 90, 180, 270] = Field(
        default=0, description="Turn the frames clockwise by 0, 90, 180 or 270 degrees."
    )
    region: Region | None = Field(
        default=None,
        description="Look at this part only: [x, y, width, height], fractions of the rotated frame.",
        examples=[[0.1, 0.0, 0.8, 1.0]],
    )
    mask: Mask = Field(
        default=(),
        description="Parts that nobody is to see, blackened before anything else looks: "
        "[[x, y, width, height], ...], fractions of the rotated frame.",
        examples=[[[0.0, 0.0, 0.3, 0.5]]],
    )
    threshold: Threshold | None = Field(
        default=None,
        description="As the slot's, for this camera alone. Left out: the slot's.",
        examples=[0.5],
    )
    frozen_after_s: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="A camera that sends the very same picture for so many seconds is frozen: a fault. More "
        "than the key frames of a stream are apart. Files, folders and scenes may. 0: never.",
    )
    paused: bool = Field(
        default=False,
        description="Do not look: the camera is released, a file or folder waits. `edge-agent resume` and "
        "request/resume lift it.",
    )
    publish: Literal["every", "change"] = Field(
        default="every",
        description='Which predictions are published: "every", or those after a "change" of what is settled.',
    )
    publish_every_s: float = Field(
        default=0.0, ge=0, le=86_400, description="At most one prediction in so many seconds. 0: no limit."
    )
    keep_predictions: bool = Field(
        default=False,
        description="Predictions wait while the broker is away. Those of files and folders always do.",
    )
    facts: FactsConfig = Field(default_factory=FactsConfig, description="When a label begins and ends.")
    snapshots: SnapshotsConfig = Field(
        default_factory=SnapshotsConfig, description="Pictures of this camera, published as JPEG."
    )


class Config(Section):
    """The whole configuration."""

    agent: AgentConfig = Field(default_factory=AgentConfig, description="The agent itself.")
    mqtt: MqttConfig = Field(default_factory=MqttConfig, description="The broker and what is said to it.")
    outbox: OutboxConfig = Field(
        default_factory=OutboxConfig,
        description="What must not be lost, while the broker is away.",
    )
    inference: InferenceConfig = Field(default_factory=InferenceConfig, description="Where the models run.")
    updates: UpdatesConfig = Field(
        default_factory=UpdatesConfig, description="How one model follows another."
    )
    metrics: MetricsConfig = Field(
        default_factory=MetricsConfig, description="How the agent stands, for Prometheus to read."
    )
    models: Mapping[Name, ModelConfig] = Field(
        default_factory=dict, description="The models, a slot each: [models.<slot>]."
    )
    cameras: Mapping[Name, CameraConfig] = Field(
        default_factory=dict, description="The cameras: [cameras.<camera>], as many as there are."
    )

    @model_validator(mode="before")
    @classmethod
    def _only_slot_is_the_default(cls, given: Any) -> Any:
        """A camera that names no slot gets the only one there is."""
        if not isinstance(given, dict):
            return given
        slots, cameras = given.get("models"), given.get("cameras")
        if not isinstance(slots, dict) or len(slots) != 1 or not isinstance(cameras, dict):
            return given
        (slot,) = slots
        filled = {
            name: {"model": slot, **camera} if isinstance(camera, dict) else camera
            for name, camera in cameras.items()
        }
        return {**given, "cameras": filled}

    @model_validator(mode="after")
    def _slots_exist(self) -> Config:
        for name, camera in self.cameras.items():
            if camera.model not in self.models:
                there_are = ", ".join(self.models) or "none"
                raise ValueError(
                    f'cameras.{name}.model: there is no slot "{camera.model}" (there are: {there_are}); '
                    f"add a section [models.{camera.model}]"
                )
        return self
