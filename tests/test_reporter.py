"""reporter.py: what is told, and when."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.camera_facts import CameraRules
from edge_agent.cameras import CameraStatus
from edge_agent.chronicle import Refusal
from edge_agent.cross_check import CrossCheckStatus
from edge_agent.errors import BundleError, InferenceError
from edge_agent.facts import FactRules, LabelRule
from edge_agent.frames import Frame
from edge_agent.messages import Topics
from edge_agent.power import Power
from edge_agent.predictions import ModelIdentity, Prediction, Score
from edge_agent.recovery import Rung
from edge_agent.reporter import EVERY_S, Reporter
from edge_agent.reports import CameraReport, Report, SlotReport
from edge_agent.standing import DeviceStatus
from edge_agent.states import EdgeTpuState
from edge_agent.stick_status import StickStatus
from edge_agent.succession import SuccessionReport
from edge_agent.told import told_file
from tests.fakes.clock import FakeClock
from tests.fakes.publisher import RecordingPublisher

TOPICS = Topics("edge-agent", "dock")
IDENTITY = ModelIdentity("default", "finish", "3f9c0a1b2c3d", "7")

ON_CPU = DeviceStatus(
    device="cpu", aspired="cpu", degraded=False, degraded_s=0.0, reason=None, trouble=None, stick=None
)
LOST = DeviceStatus(
    device="cpu",
    aspired="edgetpu",
    degraded=True,
    degraded_s=12.3,
    reason="Edge TPU usb:0 lost 12 s ago: worker 7 ended by SIGABRT",
    trouble="worker 7 ended by SIGABRT",
    stick=StickStatus(
        state=EdgeTpuState.BACKOFF,
        device="usb:0",
        library="RuntimeVersion(14)",
        runtime=None,
        losses=3,
        recoveries=2,
        rungs={Rung.RESPAWN: 4, Rung.USB_RESET: 1},
        trouble="worker 7 ended by SIGABRT",
        lost_ns=0,
    ),
)


LABELS = ("a", "b", "c")
THRESHOLD = CameraRules(facts=FactRules(LabelRule(enter=0.5, leave=0.5)))


def prediction(*labels: str) -> Prediction:
    """A prediction with these labels above the threshold, best first."""
    ranking = tuple(Score(label, LABELS.index(label), 0.9 - place / 10) for place, label in enumerate(labels))
    scores = np.zeros(len(LABELS), np.float32)
    for each in ranking:
        scores[each.index] = each.score
    return Prediction(
        frame=Frame(np.zeros((2, 2, 3), np.uint8), 7, 0, 1_700_000_000_000_000_000),
        model=IDENTITY,
        device="cpu",
        degraded=False,
        ranking=ranking,
        preprocess_ms=0.1,
        inference_ms=2.0,
        total_ms=2.5,
        scores=scores,
        labels=LABELS,
    )


def report(state: str = "online", fps: float = 5.0, faults: tuple[str, ...] = ()) -> Report:
    """An agent with one camera and one slot that serves nothing yet."""
    status = CameraStatus(state, fps=fps)  # type: ignore[arg-type]
    slots = [SlotReport("default", None, SuccessionReport("vetting", None, None, ()))]
    return Report(ON_CPU, slots, [CameraReport("door", 0.5, status)], {}, faults, 0, connected=True)


class Desk:
    """A reporter, its clock and what it published."""

    def __init__(self, state_dir: Path | None = None) -> None:
        self.clock = FakeClock()
        self.publisher = RecordingPublisher()
        told = told_file(state_dir, lambda work: work(), self.clock) if state_dir else None
        self.reporter = Reporter(self.publisher, TOPICS, "8d1c7f20", self.clock, told)
        self.reporter.expect({"door": THRESHOLD, "gate": THRESHOLD})

    def told(self, topic: str) -> list[bytes]:
        """The payloads of one topic, in order."""
        return [each.payload for each in self.publisher.published if each.topic == topic]

    def last(self, topic: str) -> Any:
        """The newest payload of a topic, parsed."""
        return json.loads(self.told(topic)[-1])


@pytest.fixture
def desk() -> Desk:
    """A new one."""
    return Desk()


def test_sequence_counts_per_camera_from_1(desk: Desk) -> None:
    """Each camera has its own count, given when the prediction is told."""
    for camera in ("door", "gate", "door"):
        desk.reporter.prediction(camera, prediction("a"), live=True)
    sequences = [json.loads(payload)["sequence"] for payload in desk.told(TOPICS.prediction("door"))]
    assert [1, 2] == sequences
    assert 1 == desk.last(TOPICS.prediction("gate"))["sequence"]


def test_the_label_is_told_on_change_only(desk: Desk) -> None:
    """Retained plain text; nothing above the threshold is `unknown`."""
    for labels in (("a", "b"), ("a",), ("b",), (), ("b",)):
        desk.reporter.prediction("door", prediction(*labels), live=True)
    assert [b"a", b"b", b"unknown", b"b"] == desk.told(TOPICS.label("door"))
    assert {True} == {each.retain for each in desk.publisher.published if each.topic == TOPICS.label("door")}


def test_predictions_of_files_are_not_live(desk: Desk) -> None:
    """What a lossless source gives waits for the broker; a live one's is worth nothing later."""
    desk.reporter.prediction("door", prediction("a"), live=False)
    desk.reporter.prediction("door", prediction("a"), live=True)
    topic = TOPICS.prediction("door")
    assert [False, True] == [each.live for each in desk.publisher.published if each.topic == topic]


def test_the_first_failure_warns_and_repeats_are_quiet(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """An error that repeats with every frame must not fill the journal; it is counted."""
    caplog.set_level("DEBUG")
    for frame in (1, 2, 3):
        desk.reporter.failed("door", frame, InferenceError("out of luck"))
    assert ["WARNING", "DEBUG", "DEBUG"] == [record.levelname for record in caplog.records]
    desk.reporter.tell(report())
    assert 3 == desk.last(TOPICS.status("door"))["failed"]


def test_what_did_not_change_is_not_told_again(desk: Desk) -> None:
    """Retained topics are published on change; moving figures every ten seconds."""
    desk.reporter.tell(report())
    count = len(desk.publisher.published)
    desk.reporter.tell(report(fps=6.0))
    assert count == len(desk.publisher.published)
    desk.clock.advance(EVERY_S)
    desk.reporter.tell(report(fps=6.0))
    assert 6.0 == desk.last(TOPICS.status("door"))["fps"]
    assert 6.0 == desk.last(TOPICS.health)["cameras"]["door"]["fps"]
    assert [b"online"] == desk.told(TOPICS.camera_availability("door"))


def test_a_camera_that_goes_away_is_told_at_once(desk: Desk) -> None:
    """Availability, status and health, without waiting for the ten seconds."""
    desk.reporter.tell(report())
    desk.reporter.tell(report("offline", faults=("camera door: gone",)))
    assert [b"online", b"offline"] == desk.told(TOPICS.camera_availability("door"))
    assert "offline" == desk.last(TOPICS.status("door"))["state"]
    assert ["camera door: gone"] == desk.last(TOPICS.health)["faults"]


def test_a_refused_bundle_is_told_on_its_slot(desk: Desk) -> None:
    """`model/<slot>` says why nothing serves."""
    refusal = Refusal("3f9c0a1b2c3d", 1_700_000_000_000_000_000, "wrong label count")
    slot = SlotReport("default", None, SuccessionReport("serving", None, None, (refusal,)))
    desk.reporter.tell(Report(ON_CPU, [slot], [], {}, ["x"], 0))
    told = desk.last(TOPICS.model("default"))
    rejected = {"digest": "3f9c0a1b2c3d", "at": "2023-11-14T22:13:20.000000Z", "reason": "wrong label count"}
    assert [rejected] == told["rejected"]
    assert "slot default: wrong label count" == slot.fault


def test_a_file_name_that_is_no_utf8_can_be_told(desk: Desk) -> None:
    """A refusal names a file; its odd bytes must not end the agent."""
    error = BundleError("several models: a.tflite, \udcff.tflite")
    refusals = (Refusal(None, 0, str(error)),)
    slot = SlotReport("default", None, SuccessionReport("serving", None, None, refusals))
    desk.reporter.tell(Report(ON_CPU, [slot], [], {}, [slot.fault or ""], 0))
    (rejected,) = desk.last(TOPICS.model("default"))["rejected"]
    assert "several models: a.tflite, \\udcff.tflite" == rejected["reason"]


def test_withdrawing_says_offline_for_each_camera(desk: Desk) -> None:
    """Before the agent goes, no camera of it is online."""
    desk.reporter.tell(report())
    desk.reporter.withdraw()
    assert b"offline" == desk.told(TOPICS.camera_availability("door"))[-1]


def test_forgetting_a_camera_clears_what_is_retained(desk: Desk) -> None:
    """A camera that was removed leaves nothing on the broker."""
    desk.reporter.tell(report())
    desk.reporter.prediction("door", prediction("a"), live=True)
    desk.reporter.forget("door")
    for topic in (TOPICS.camera_availability("door"), TOPICS.status("door"), TOPICS.label("door")):
        assert b"" == desk.told(topic)[-1]


def test_a_lost_edge_tpu_is_told_with_its_age_but_not_each_second(desk: Desk) -> None:
    """`health` says what was lost and how long ago; only news and the ten seconds' turn publish it again."""
    desk.reporter.tell(Report(LOST, [], [], {"default": CrossCheckStatus(4, 1, 0.5, 0.5)}, [], 0))
    told = desk.last(TOPICS.health)
    assert ("cpu", "edgetpu", True, 12) == tuple(
        told[key] for key in ("device", "aspired", "degraded", "degraded_s")
    )
    assert "Edge TPU usb:0 lost 12 s ago: worker 7 ended by SIGABRT" == told["reason"]
    assert (3, 2) == (told["losses"], told["recoveries"])
    assert {"respawns": 4, "usb_resets": 1, "power_cycles": 0} == {
        key: told["edgetpu"][key] for key in ("respawns", "usb_resets", "power_cycles")
    }
    assert ("backoff", "usb:0") == (told["edgetpu"]["state"], told["edgetpu"]["device"])
    assert 1 == told["edgetpu"]["cross_check"]["default"]["disagreements"]
    older = dataclasses.replace(LOST, reason="Edge TPU usb:0 lost 13 s ago: worker 7 ended by SIGABRT")
    desk.reporter.tell(Report(older, [], [], {}, [], 0))
    assert 1 == len(desk.told(TOPICS.health))
    desk.clock.advance(EVERY_S)
    desk.reporter.tell(Report(older, [], [], {}, [], 0))
    assert 2 == len(desk.told(TOPICS.health))


def test_the_inference_time_is_that_of_the_latest_prediction(desk: Desk) -> None:
    """Null before the first one."""
    desk.reporter.tell(report())
    assert desk.last(TOPICS.status("door"))["inference_ms"] is None
    desk.reporter.prediction("door", prediction("a"), live=True)
    desk.clock.advance(EVERY_S)
    desk.reporter.tell(report())
    assert 2.0 == desk.last(TOPICS.status("door"))["inference_ms"]


def test_a_multilabel_model_has_no_settled_label(desk: Desk) -> None:
    """Several labels may be true at once; `label` speaks for models of which one wins."""
    several = dataclasses.replace(prediction("a", "b"), model=dataclasses.replace(IDENTITY, multilabel=True))
    desk.reporter.prediction("door", several, live=True)
    assert [] == desk.told(TOPICS.label("door"))
    assert 1 == len(desk.told(TOPICS.prediction("door")))


def test_what_a_killed_run_left_is_taken_back_at_the_start(tmp_path: Path) -> None:
    """States that stood ON are OFF before the first prediction."""
    before = Desk(tmp_path)
    before.reporter.expect({"door": dataclasses.replace(THRESHOLD, per_label=True)})
    before.reporter.prediction("door", prediction("a"), live=True)
    before.reporter.tell(report())
    desk = Desk(tmp_path)
    desk.reporter.tell(report())
    assert [b"OFF"] == desk.told(TOPICS.label_state("door", "a"))
    assert [b"unknown"] == desk.told(TOPICS.label("door"))


def test_a_camera_that_went_while_the_agent_was_stopped_leaves_nothing(tmp_path: Path) -> None:
    """Its topics are cleared at the start; not forgotten before there was a broker to tell it to."""
    before = Desk(tmp_path)
    before.reporter.expect({"yard": dataclasses.replace(THRESHOLD, per_label=True)})
    before.reporter.prediction("yard", prediction("a"), live=True)
    yard = dataclasses.replace(report().cameras[0], name="yard")
    before.reporter.tell(dataclasses.replace(report(), cameras=[yard]))
    topics = [TOPICS.label_state("yard", "a"), TOPICS.label("yard"), TOPICS.status("yard")]
    topics.append(TOPICS.camera_availability("yard"))
    for connected, told in ((False, [b""]), (True, [b""]), (True, [])):
        desk = Desk(tmp_path)
        desk.reporter.tell(dataclasses.replace(report(), connected=connected))
        assert [told] * 4 == [desk.told(topic) for topic in topics]


def test_the_power_of_the_board_is_told_in_its_words(desk: Desk) -> None:
    """And null where the board does not tell."""
    desk.reporter.tell(dataclasses.replace(report(), power=Power(0x10004)))
    told = desk.last(TOPICS.health)
    assert (True, {"now": ["throttled"], "since_boot": ["under-voltage", "throttled"]}) == (
        told["throttled"],
        told["power"],
    )
    desk.clock.advance(EVERY_S)
    desk.reporter.tell(report())
    assert (None, None) == (desk.last(TOPICS.health)["throttled"], desk.last(TOPICS.health)["power"])


def test_each_change_of_health_is_an_event_too(desk: Desk) -> None:
    """The retained topic tells the newest only; these tell all that was, and figures are no change."""
    desk.reporter.tell(report())
    desk.clock.advance(EVERY_S + 1)
    desk.reporter.tell(report(fps=4.0))
    desk.clock.synced = False
    desk.reporter.tell(report(faults=("camera door: gone",)))
    desk.reporter.tell(report())
    events = [json.loads(payload) for payload in desk.told(TOPICS.health_event)]
    assert [[], ["camera door: gone"], []] == [each["health"]["faults"] for each in events]
    assert 3 == len({each["id"] for each in events})
    assert ["synced", "unsynced", "unsynced"] == [each["clock"] for each in events]
    assert events[0]["at"] < events[1]["at"]
    last = [each for each in desk.publisher.published if each.topic == TOPICS.health_event][-1]
    assert (False, False) == (last.retain, last.live)
    assert desk.last(TOPICS.health) == events[-1]["health"]
