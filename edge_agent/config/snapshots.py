"""``[cameras.<camera>.snapshots]``: when pictures are published, and how they look."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_agent.config.section import Section


class SnapshotsConfig(Section):
    """Beside these, request/snapshot gets one at any time."""

    on_event: bool = Field(default=False, description="Publish a picture whenever a label begins.")
    every_s: float = Field(
        default=0.0, ge=0, le=86_400, description="Publish one every so many seconds. 0: never by itself."
    )
    kind: Literal["frame", "crop"] = Field(
        default="frame",
        description='"frame": all that the camera shows (its region); "crop": the part that the model sees.',
    )
    caption: bool = Field(default=False, description="Write the best label and its score below the picture.")
    max_size: int = Field(
        default=1280,
        ge=64,
        le=8192,
        description="Pixels of the longer side at most; a larger picture is made smaller.",
    )
    quality: int = Field(default=80, ge=1, le=100, description="Of the JPEG: 1 to 100.")
