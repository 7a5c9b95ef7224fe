"""`models inspect`: what a network is made of, beside how pictures are prepared for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from edge_agent.workbench.graph import read_graph
from tests.places import CORAL, CUSTOM_VISION, FINISHES, need_data

pytestmark = need_data

MOBILENET = CORAL / "mobilenet_v2_1.0_224_quant.tflite"


def network(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """That part of the JSON."""
    assert 0 == main(["models", "inspect", str(path), "--json"])
    part: dict[str, Any] = json.loads(capsys.readouterr().out)["network"]
    return part


def test_a_network_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """MobileNet v2 has 300 million multiply-adds, as its authors say, and 3.5 million parameters."""
    told = network(MOBILENET, capsys)
    assert 300 == pytest.approx(told["macs"] / 1e6, rel=0.01)
    assert 3.5 == pytest.approx(told["parameter_bytes"] / 1e6, rel=0.02)
    assert (MOBILENET.stat().st_size, "int8", False) == (told["bytes"], told["scheme"], told["per_channel"])
    assert told["macs"] == sum(each["macs"] for each in told["operators"])
    assert len(told["operators"]) == sum(row["count"] for row in told["edgetpu"]["operators"])


@pytest.mark.parametrize(
    ("path", "scheme", "per_channel"),
    [
        (CORAL / "tf2_mobilenet_v2_1.0_224_ptq.tflite", "int8", True),
        (CUSTOM_VISION / "apple_orange", "float16", False),
        (FINISHES, "int8", True),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_how_numbers_are_kept(
    path: Path, scheme: str, per_channel: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what moves through the network, and by its constants."""
    told = network(path, capsys)
    assert (scheme, per_channel) == (told["scheme"], told["per_channel"])


def test_layers_are_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each operator: output, type, scale, zero point, parameters, multiply-adds, name."""
    assert 0 == main(["models", "inspect", str(FINISHES)])
    short = capsys.readouterr().out
    assert 0 == main(["models", "inspect", str(FINISHES), "--layers"])
    long = capsys.readouterr().out
    operators = read_graph((FINISHES / "model.tflite").read_bytes()).operators
    assert len(long.splitlines()) - len(short.splitlines()) == len(operators) + 2
    assert "CONV_2D+RELU" in long


def test_of_a_compiled_model_nothing_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    """It is one operator, which says nothing of what is inside."""
    assert network(CORAL / "mobilenet_v1_0.25_128_quant_edgetpu.tflite", capsys)["edgetpu"] is None
