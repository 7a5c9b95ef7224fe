"""What can be configured: frozen models, every field described, unknown keys refused.

The descriptions are the one source of the commented file (``config init``) and of the JSON schema. Reading a
file and the environment is `edge_agent.config.file`'s; the models take plain values, as TOML gives them.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic.fields import FieldInfo

from edge_agent.config.inference import InferenceConfig
from edge_agent.config.outbox import OutboxConfig
from edge_agent.config.section import Section
from edge_agent.config.values import FilePath, Host, Name, Region, Source, Topic, host_name


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
        description="Certificates to trust (PEM). Left out: those of the system.",
        examples=["/etc/edge-agent/ca.pem"],
    )
    cert_file: FilePath | None = Field(
        default=None,
        description="This agent's own certificate (PEM), where the broker asks for one.",
        examples=["/etc/edge-agent/agent.pem"],
    )
    key_file: FilePath | None = Field(
        default=None,
        description="The key of cert_file. Left out: it is in cert_file itself.",
        examples=["/etc/edge-agent/agent.key"],
    )

    @model_validator(mode="after")
    def _key_has_its_certificate(self) -> TlsConfig:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        return self


class HomeAssistantConfig(Section):
    """``[mqtt.home_assistant]``."""

    enabled: bool = Field(default=False, description="Announce the agent to Home Assistant.")
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
        description="A file that holds the password and nothing else. "
        'Left out: the systemd credential "mqtt-password" where there is one.',
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
    tls: TlsConfig | None = Field(default=None, description="TLS. The header alone turns it on.")
    home_assistant: HomeAssistantConfig = Field(
        default_factory=HomeAssistantConfig, description="Home Assistant's MQTT discovery."
    )
    _password: SecretStr | None = PrivateAttr(default=None)

    @property
    def password(self) -> SecretStr | None:
        """What ``password_file`` or the systemd credential held; no key of its own."""
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


class UpdatesConfig(Section):
    """``[updates]``: how one model follows another."""

    settle_s: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="Seconds that a new bundle must stand still before it is read: longer than any pause of "
        "whatever copies it.",
    )
    keep: int = Field(
        default=3,
        ge=2,
        le=100,
        description="Installed versions kept per slot, with those that serve and served.",
    )
    public_key: FilePath | None = Field(
        default=None,
        description="An Ed25519 public key (PEM). With it only bundles that are signed by it may serve.",
        examples=["/etc/edge-agent/models.pub"],
    )
    drives: FilePath | None = Field(
        default=None,
        description="A folder below which drives are mounted, each on a folder of its own: what lies on one "
        "in edge-agent-models/<slot>/ is taken in. Only with public_key, for anybody can plug in a drive. "
        "Left out: no drive is looked at.",
        examples=["/run/edge-agent-drives"],
    )
    probation_frames: int = Field(
        default=100, ge=0, description="Frames that a new model must answer before it is trusted."
    )
    probation_s: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="Seconds that it must serve before it is trusted; a crash, a missed deadline or a model "
        "far slower than vetted brings the previous one back.",
    )

    @model_validator(mode="after")
    def _drives_need_a_key(self) -> UpdatesConfig:
        if self.drives is not None and self.public_key is None:
            raise ValueError(
                "drives needs public_key, for anybody can plug in a drive; set it to the key that signs the "
                "models, or remove drives"
            )
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


NAMED_SECTIONS = ("models", "cameras")
"""Tables whose keys are names of the user's choice, each with a table of its own."""


def fields_of_table(keys: Sequence[str]) -> Mapping[str, FieldInfo]:
    """The fields that the table at this path may hold; {} where it is unknown, or any name will do."""
    if keys and keys[0] in NAMED_SECTIONS:
        if len(keys) == 1:
            return {}
        keys = (keys[0], *keys[2:])
    fields: Mapping[str, FieldInfo] = Config.model_fields
    for key in keys:
        table = table_of(fields[key]) if key in fields else None
        fields = table.model_fields if table else {}
    return fields


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a field that holds a table or tables by name; None for a plain value."""
    for part in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None
