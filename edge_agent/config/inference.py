"""``[inference]``: where the models run, and what is done about an Edge TPU that fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_agent.config.section import Section
from edge_agent.config.values import Device, FilePath, Library, Performance


class RecoveryConfig(Section):
    """``[inference.recovery]``."""

    respawns: int = Field(
        default=2, ge=0, le=100, description="So many failures in a row are answered by a new worker only."
    )
    usb_resets: int = Field(
        default=2, ge=0, le=100, description="So many further ones by a USB reset of the stick as well."
    )
    power_cycles: int = Field(
        default=0,
        ge=0,
        le=100,
        description="So many further ones by switching the stick's port off and on (uhubctl, where it is "
        "installed and the hub can); then it begins again. Many hubs have one switch for all ports: on a "
        "Raspberry Pi 4 a camera or the boot drive on USB would lose power too.",
    )
    backoff_s: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="Seconds before the next try after the second failure in a row; doubled with each one.",
    )
    backoff_max_s: float = Field(
        default=300.0, ge=0, le=86400, description="Seconds that are never exceeded between two tries."
    )
    stable_s: float = Field(
        default=60.0,
        ge=0,
        le=86400,
        description="Seconds of service after which the failures of a stick are forgotten.",
    )


class InferenceConfig(Section):
    """``[inference]``."""

    device: Device = Field(
        default="auto",
        description='"auto" or "edgetpu": the Edge TPU while there is one, else the CPU; "edgetpu:usb:0", '
        '"edgetpu:pci:0": that one only; "cpu".',
    )
    runtime: Literal["auto", "litert", "tflite-runtime"] = Field(
        default="auto", description='"litert", "tflite-runtime", or "auto": the first that is installed.'
    )
    threads: int = Field(default=0, ge=0, le=256, description="CPU threads per model. 0: all cores.")
    standby: bool = Field(
        default=True, description="Keep the CPU twin of an Edge TPU model warm, to take over at once."
    )
    timeout_s: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="Seconds after which an inference counts as stuck, at least; more for a slow model.",
    )
    python: FilePath | None = Field(
        default=None,
        description="The Python interpreter of the Edge TPU worker. Left out: the agent's own.",
        examples=["/opt/coral/bin/python"],
    )
    library: Library = Field(
        default="libedgetpu.so.1", description="libedgetpu, which drives the Edge TPU: its name or path."
    )
    performance: Performance = Field(
        default="max",
        description='The Edge TPU\'s clock: "low", "medium", "high" or "max". Less is slower and cooler.',
    )
    look_every_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds between two looks for a missing Edge TPU; one plugged in is seen at once.",
    )
    cross_check_every: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Every so many frames one runs on the CPU as well, to notice an Edge TPU that answers "
        "wrongly: 500 costs little. 0: none.",
    )
    cross_check_agreement: float = Field(
        default=0.875,
        ge=0,
        le=1,
        description="An Edge TPU whose scores agree less with the CPU's is taken for lost: 0 to 1.",
    )
    recovery: RecoveryConfig = Field(
        default_factory=RecoveryConfig, description="What is done about an Edge TPU that fails."
    )
