"""``[updates]``: how one model follows another."""

from __future__ import annotations

from pydantic import Field, model_validator

from edge_agent.config.section import Section
from edge_agent.config.values import FilePath


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
