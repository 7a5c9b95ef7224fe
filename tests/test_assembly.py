"""edge_agent.assembly: the configuration's values as the rooms take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_agent.assembly import edgetpu_settings
from edge_agent.config import Config
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.recovery import Ladder


def inference(**keys: Any) -> EdgeTpuSettings | None:
    """What ``[inference]`` with these keys comes to."""
    config = Config.model_validate({"inference": keys}, context={"base": Path("/conf")})
    return edgetpu_settings(config.inference)


def test_only_the_cpu_needs_no_edge_tpu() -> None:
    """Nothing of it is looked for then."""
    assert inference(device="cpu") is None


def test_the_defaults_are_the_same_in_both_places() -> None:
    """Whoever leaves the settings out gets what a configuration without keys gets."""
    assert EdgeTpuSettings() == inference()


def test_every_key_arrives() -> None:
    """Each as the room takes it."""
    ladder: dict[str, Any] = {
        "respawns": 1,
        "usb_resets": 0,
        "power_cycles": 3,
        "backoff_s": 0.5,
        "backoff_max_s": 9.0,
    }
    expected = EdgeTpuSettings(
        wanted="edgetpu:pci:0",
        library="/conf/lib/libedgetpu.so",
        performance="low",
        look_every_s=5.0,
        recovery=Ladder(**ladder, stable_s=7.0),
        cross_check_every=500,
        cross_check_agreement=0.9,
        runtime="tflite-runtime",
        python="/opt/coral/bin/python",
        threads=2,
    )
    actual = inference(
        device="edgetpu:pci:0",
        library="lib/libedgetpu.so",
        performance="LOW",
        look_every_s=5.0,
        recovery={**ladder, "stable_s": 7.0},
        cross_check_every=500,
        cross_check_agreement=0.9,
        runtime="tflite-runtime",
        python="/opt/coral/bin/python",
        threads=2,
    )
    assert expected == actual
