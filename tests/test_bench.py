"""`edge-agent bench`: the figures are there and fit together. How large they are is no test's business."""

from __future__ import annotations

import json

import pytest

from edge_agent.__main__ import main
from edge_agent.errors import EdgeAgentError
from edge_agent.workbench.measure import RoundsInChild, this_python
from tests.brokers import need_mosquitto
from tests.places import CORAL, ROOT, need_data

pytestmark = need_data


@need_mosquitto
def test_one_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Bare invoke, path and yardstick in the same rounds; memory; start; conditions."""
    model = CORAL / "mobilenet_v1_0.25_128_quant.tflite"
    quick = ["--rounds", "2", "--frames", "30", "--starts", "1"]
    assert 0 == main(
        ["bench", "-m", str(model), "--json", *quick, "--beside", str(ROOT / "bench" / "naive.py")]
    )
    said = json.loads(capsys.readouterr().out)
    assert said["bare_ms"]["low"] <= said["bare_ms"]["median"] <= said["bare_ms"]["high"]
    for part in ("bare_ms", "path_ms", "yardstick_ms", "path_ratio", "yardstick_ratio", "first_prediction_s"):
        assert said[part]["median"] > 0
    assert said["preprocess_ms"] / said["resize_ms"] == pytest.approx(said["preprocess_ratio"])
    assert {"daemon", "workers"} == set(said["memory_mb"])
    assert said["conditions"]["model"].startswith("mobilenet_v1_0.25_128_quant ")


def test_a_child_that_ends_is_an_error() -> None:
    """A yardstick that cannot run is told with its last line."""
    child = RoundsInChild("naive.py", [*this_python(), "-c", "import sys; sys.exit('no such thing')"])
    with pytest.raises(EdgeAgentError, match=r"naive\.py ended: no such thing"):
        child.round()
    child.close()
