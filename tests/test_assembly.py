"""edge_agent.assembly: the configuration's values as the rooms take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.assembly import camera_rules, edgetpu_settings
from edge_agent.camera_facts import CameraRules
from edge_agent.config import Config
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.facts import FactRules, LabelRule
from edge_agent.publish_pace import PublishRule
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


def told(threshold: float = 0.5, **keys: Any) -> CameraRules:
    """How a camera with these keys is told, at that threshold of its slot."""
    tables = {
        "models": {"m": {"path": "/m", "threshold": threshold}},
        "cameras": {"door": {"source": "0", **keys}},
    }
    return camera_rules(Config.model_validate(tables))["door"]


def test_without_keys_the_label_is_the_ranking_s() -> None:
    """Both thresholds are the slot's, nothing is delayed and each prediction is published."""
    assert CameraRules(FactRules(LabelRule(0.5, 0.5))) == told()


@pytest.mark.parametrize(
    ("facts", "label", "pair", "own"),
    [
        ({}, {"enter": 0.9}, (0.5, 0.5), (0.9, 0.5)),
        ({"enter": 0.8}, {}, (0.8, 0.5), (0.8, 0.5)),
        ({"enter": 0.3}, {"leave": 0.1}, (0.3, 0.3), (0.3, 0.1)),
        ({"leave": 0.6}, {"enter": 0.2}, (0.6, 0.6), (0.2, 0.2)),
        ({"leave": 0.2}, {"leave": 0.7}, (0.5, 0.2), (0.7, 0.7)),
        ({"enter": 0.8, "leave": 0.6}, {"enter": 0.7, "leave": 0.1}, (0.8, 0.6), (0.7, 0.1)),
    ],
)
def test_what_is_left_out_never_crosses_what_was_set(
    facts: dict[str, Any], label: dict[str, Any], pair: tuple[float, float], own: tuple[float, float]
) -> None:
    """From the slot to the camera to the label; enter is never below leave."""
    rules = told(facts={**facts, "labels": {"cat": label}}).facts
    assert (pair, own) == (
        (rules.rule.enter, rules.rule.leave),
        (rules.labels["cat"].enter, rules.labels["cat"].leave),
    )


def test_every_key_of_the_facts_arrives() -> None:
    """Each as the room takes it; a label has what it leaves out from its camera."""
    facts = {
        "enter": 0.8,
        "leave": 0.4,
        "min_duration_s": 1.5,
        "at_least": [2, 3],
        "cool_down_s": 30.0,
        "smoothing_s": 0.7,
        "per_label": True,
        "labels": {"cat": {"at_least": [3, 4], "cool_down_s": 0.0}},
    }
    expected = CameraRules(
        FactRules(
            LabelRule(0.8, 0.4, 1.5, (2, 3), 30.0),
            {"cat": LabelRule(0.8, 0.4, 1.5, (3, 4), 0.0)},
            0.7,
        ),
        PublishRule(on_change=True, every_s=2.0),
        keep=True,
        per_label=True,
    )
    assert expected == told(facts=facts, publish="change", publish_every_s=2.0, keep_predictions=True)
