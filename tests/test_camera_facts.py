"""camera_facts.py: what one camera sees, as it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edge_agent.camera_facts import CameraFacts, CameraRules
from edge_agent.facts import FactRules, LabelRule
from edge_agent.frames import Frame
from edge_agent.messages import EventMessage, Topics
from edge_agent.predictions import ModelIdentity, Prediction
from edge_agent.publish_pace import PublishRule
from edge_agent.told import Told
from tests.fakes.clock import FakeClock
from tests.fakes.publisher import RecordingPublisher

TOPICS = Topics("edge-agent", "dock")
LABELS = ("red ant", "bee", "cat")
FACTS = FactRules(LabelRule(0.5, 0.5))
RULES = CameraRules(FACTS)
LABEL, EVENT, PREDICTION = TOPICS.label("door"), TOPICS.event("door"), TOPICS.prediction("door")
STATES = [TOPICS.label_state("door", slug) for slug in ("red_ant", "bee", "cat")]


class Camera:
    """The facts of the camera "door", its clock and what it published."""

    def __init__(self, rules: CameraRules = RULES, told: Told | None = None) -> None:
        self.clock = FakeClock()
        self.publisher = RecordingPublisher()
        self.facts = CameraFacts("door", self.publisher, TOPICS, "8d1c7f20", self.clock, told)
        self.facts.obey(rules)

    def sees(
        self,
        *scores: float,
        labels: Sequence[str] = LABELS,
        multilabel: bool = False,
        live: bool = True,
        digest: str = "3f9c0a1b2c3d",
        set_to_ns: int | None = None,
    ) -> bool:
        """One prediction, a second after the one before; whether a label began. The wall clock is set to
        ``set_to_ns`` while the frame is with the model.
        """
        self.clock.advance(1.0)
        frame = Frame(np.zeros((2, 2, 3), np.uint8), 1, self.clock.monotonic_ns(), self.clock.wall_ns())
        if set_to_ns is not None:
            self.clock.set_wall(set_to_ns)
        return self.facts.prediction(
            Prediction(
                frame=frame,
                model=ModelIdentity("default", "finish", digest, "7", multilabel),
                device="cpu",
                degraded=False,
                ranking=(),
                preprocess_ms=0.1,
                inference_ms=2.0,
                total_ms=2.5,
                scores=np.array(scores, np.float32),
                labels=tuple(labels),
            ),
            "synced",
            live=live,
        )

    def told(self, topic: str) -> list[bytes]:
        """The payloads of one topic, in order."""
        return self.publisher.on(topic)

    def events(self) -> list[Any]:
        """The events, in order."""
        return [json.loads(payload) for payload in self.told(EVENT)]

    def states(self) -> list[bytes]:
        """What is retained of each of LABELS; empty for nothing."""
        retained = self.publisher.retained()
        return [retained.get(topic, b"") for topic in STATES]


def test_a_beginning_and_an_end_are_told_as_the_contract_says() -> None:
    """Both under one id, with the moments of their frames."""
    camera = Camera()
    assert [True, False] == [camera.sees(0.9, 0.1, 0), camera.sees(0.2, 0.1, 0)]
    began, ended = camera.events()
    for event in (began, ended):
        EventMessage.model_validate(event)
    moments: dict[str, object] = {
        "began_at": "2023-11-14T22:13:22.000000Z",
        "ended_at": None,
        "duration_s": None,
    }
    common = {"schema": "edge-agent/event/1", "id": began["id"], "label": "red ant", "agent": "dock"}
    common |= {"camera": "door", "session": "8d1c7f20", "clock": "synced", "peak": 0.9}
    assert {**common, **moments, "event_type": "began", "score": 0.9, "reason": None} == began
    moments |= {"ended_at": "2023-11-14T22:13:23.000000Z", "duration_s": 1.0}
    assert {**common, **moments, "event_type": "ended", "score": 0.2, "reason": "left"} == ended
    assert 36 == len(began["id"])


def test_events_are_neither_retained_nor_live() -> None:
    """Retained it would happen again to each who subscribes; live it would be lost with the broker."""
    camera = Camera()
    camera.sees(0.9, 0.1, 0)
    (event,) = [each for each in camera.publisher.published if each.topic == EVENT]
    assert (False, False) == (event.retain, event.live)


def test_a_prediction_comes_first_then_the_states_then_the_event() -> None:
    """Who hears of an event finds the label retained."""
    camera = Camera(CameraRules(FACTS, per_label=True))
    camera.sees(0.9, 0.1, 0)
    assert [PREDICTION, LABEL, *STATES, EVENT] == [each.topic for each in camera.publisher.published]


def test_a_multiclass_model_has_a_label_and_states_where_asked() -> None:
    """The label on change; per_label adds each label's ON or OFF, and takes it back."""
    camera = Camera()
    camera.sees(0.9, 0.1, 0)
    camera.sees(0.8, 0.1, 0)
    camera.sees(0.1, 0.8, 0)
    camera.sees(0.1, 0.1, 0)
    assert [b"red ant", b"bee", b"unknown"] == camera.told(LABEL)
    assert [b"", b"", b""] == camera.states()
    camera.facts.obey(CameraRules(FACTS, per_label=True))
    camera.sees(0.1, 0.8, 0)
    assert [b"OFF", b"ON", b"OFF"] == camera.states()
    camera.facts.obey(RULES)
    camera.facts.stand(None, "synced")
    assert [b"", b"", b""] == camera.states()


def test_a_multilabel_model_has_states_and_no_label() -> None:
    """Several may be ON; a label of the model before, or of the start, is taken back."""
    camera = Camera()
    camera.facts.stand("camera", "synced")
    assert [b"unknown"] == camera.told(LABEL)
    camera.sees(0.9, 0.1, 0.7, multilabel=True)
    camera.sees(0.1, 0.1, 0.7, multilabel=True)
    assert [b"unknown", b""] == camera.told(LABEL)
    assert [[b"ON", b"OFF"], [b"OFF"], [b"ON"]] == [camera.told(topic) for topic in STATES]
    assert [("began", "red ant"), ("began", "cat"), ("ended", "red ant")] == [
        (each["event_type"], each["label"]) for each in camera.events()
    ]


def test_what_a_start_finds_retained_is_taken_back() -> None:
    """Before the first prediction nothing is known, whatever was said before; then changes are told."""
    camera = Camera()
    camera.facts.stand(None, "synced")
    camera.facts.stand(None, "synced")
    assert [b"unknown"] == camera.told(LABEL)
    camera.sees(0.9, 0.1, 0)
    camera.facts.stand(None, "synced")
    assert [b"unknown", b"red ant"] == camera.told(LABEL)


@pytest.mark.parametrize("reason", ["camera", "model", "paused"])
def test_a_camera_that_nobody_looks_through_settles_nothing(reason: Any) -> None:
    """What was open ends with that reason, once; the label is unknown until the next prediction."""
    camera = Camera(CameraRules(FACTS, per_label=True))
    camera.sees(0.9, 0.1, 0)
    camera.clock.advance(4.0)
    for _ in range(3):
        camera.facts.stand(reason, "synced")
    ended = camera.events()[-1]
    assert (2, "ended", reason, 4.0) == (
        len(camera.events()),
        ended["event_type"],
        ended["reason"],
        ended["duration_s"],
    )
    assert [b"red ant", b"unknown"] == camera.told(LABEL)
    assert [b"OFF"] * 3 == camera.states()
    camera.facts.stand(None, "synced")
    camera.sees(0.9, 0.1, 0)
    assert b"red ant" == camera.told(LABEL)[-1]


def test_a_frame_that_was_on_its_way_at_a_pause_settles_nothing() -> None:
    """Of a folder it is published, of a live camera not; resumed, the very next frame counts."""
    camera = Camera()
    camera.sees(0.9, 0.1, 0, live=False)
    camera.facts.stand("paused", "synced")
    camera.sees(0.9, 0.1, 0, live=False)
    camera.sees(0.9, 0.1, 0, live=True)
    camera.facts.stand("paused", "synced")
    assert ["began", "ended"] == [each["event_type"] for each in camera.events()]
    assert 2 == len(camera.told(PREDICTION))
    camera.facts.obey(RULES)
    camera.sees(0.9, 0.1, 0, live=False)
    assert ["began", "ended", "began"] == [each["event_type"] for each in camera.events()]


def test_a_clock_that_is_set_while_a_frame_is_with_the_model() -> None:
    """All times of a message are those of the clock that it speaks of: never 1970 and "synced"."""
    camera = Camera()
    camera.clock.set_wall(5_000_000_000)
    camera.sees(0.9, 0.1, 0, set_to_ns=1_700_000_000_000_000_000)
    camera.sees(0.1, 0.1, 0)
    moments = ["2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:21.000000Z"]
    assert moments == [json.loads(each)["captured_at"] for each in camera.told(PREDICTION)]
    began, ended = camera.events()
    assert [moments[0], moments[0], moments[1]] == [began["began_at"], ended["began_at"], ended["ended_at"]]


def test_a_start_takes_back_the_states_of_the_run_before() -> None:
    """OFF before the first prediction; a label that is gone is cleared once the labels are known."""
    before = Camera(CameraRules(FACTS, per_label=True))
    before.sees(0.9, 0.1, 0)
    assert Told(("red_ant", "bee", "cat")) == before.facts.told
    camera = Camera(CameraRules(FACTS, per_label=True), before.facts.told)
    for _ in range(2):
        camera.facts.stand("camera", "synced")
        assert [[b"OFF"]] * 3 == [camera.told(topic) for topic in STATES]
    assert [b"unknown"] == camera.told(LABEL)
    camera.sees(0.1, 0.9, labels=("red ant", "bee"))
    assert [b"OFF", b"ON", b""] == camera.states()
    assert Told(("red_ant", "bee")) == camera.facts.told


def test_states_that_are_wanted_no_more_do_not_outlive_a_start() -> None:
    """per_label was taken out while the agent was stopped: OFF at once, nothing with the first prediction."""
    camera = Camera(told=Told(("red_ant", "bee", "cat")))
    camera.facts.stand(None, "synced")
    assert [b"OFF"] * 3 == camera.states()
    camera.sees(0.9, 0.1, 0)
    assert [b""] * 3 == camera.states()
    assert Told() == camera.facts.told


def test_a_multilabel_camera_has_no_label_at_a_start() -> None:
    """It had none before: nobody is told of one that is unknown."""
    before = Camera()
    before.sees(0.9, 0.1, 0.7, multilabel=True)
    camera = Camera(told=before.facts.told)
    camera.facts.stand("model", "synced")
    camera.sees(0.9, 0.1, 0.7, multilabel=True)
    assert [] == camera.told(LABEL)
    assert [[b"OFF", b"ON"], [b"OFF"], [b"OFF", b"ON"]] == [camera.told(topic) for topic in STATES]


def test_the_end_of_the_agent_ends_what_is_open() -> None:
    """A last frame that is answered after it settles nothing again."""
    camera = Camera(CameraRules(FACTS, per_label=True))
    camera.sees(0.9, 0.1, 0)
    camera.facts.withdraw("synced")
    camera.sees(0.9, 0.1, 0)
    assert ["began", "ended"] == [each["event_type"] for each in camera.events()]
    assert "stopped" == camera.events()[-1]["reason"]
    assert b"unknown" == camera.told(LABEL)[-1]
    assert [b"OFF"] * 3 == camera.states()


def test_a_camera_of_which_nothing_was_told_takes_nothing_back() -> None:
    """One that the configuration names and nobody has seen yet."""
    camera = Camera()
    camera.facts.withdraw("synced")
    assert [] == camera.publisher.published


def test_a_camera_that_was_removed_leaves_nothing() -> None:
    """Its topics are cleared, late frames settle nothing, and when it comes back its sequence goes on."""
    camera = Camera(CameraRules(FACTS, per_label=True))
    camera.sees(0.9, 0.1, 0)
    camera.facts.forget("synced")
    camera.sees(0.9, 0.1, 0)
    assert {} == camera.publisher.retained()
    assert ["began", "ended"] == [each["event_type"] for each in camera.events()]
    assert "removed" == camera.events()[-1]["reason"]
    camera.facts.obey(CameraRules(FACTS, per_label=True))
    camera.facts.stand(None, "synced")
    assert b"unknown" == camera.publisher.retained()[LABEL]
    assert [b"OFF"] * 3 == camera.states()
    camera.sees(0.9, 0.1, 0)
    assert [1, 2, 3] == [json.loads(each)["sequence"] for each in camera.told(PREDICTION)]


def test_another_model_clears_the_labels_that_are_gone() -> None:
    """A label that both know stays as it is; one that is gone ends, and its topic is cleared."""
    camera = Camera(CameraRules(FACTS, per_label=True))
    camera.sees(0.1, 0.9, 0)
    camera.sees(0.9, 0.1, labels=("bee", "dog"))
    assert [b"bee"] == camera.told(LABEL)
    assert [b"", b"ON", b""] == camera.states()
    camera.sees(0.9, 0.1, labels=("emu", "dog"))
    assert [("began", "bee", None), ("ended", "bee", "model"), ("began", "emu", None)] == [
        (each["event_type"], each["label"], each["reason"]) for each in camera.events()
    ]
    assert [b"bee", b"unknown", b"emu"] == camera.told(LABEL)
    retained = camera.publisher.retained()
    assert {
        LABEL: b"emu",
        TOPICS.label_state("door", "emu"): b"ON",
        TOPICS.label_state("door", "dog"): b"OFF",
    } == retained


def test_a_model_of_another_kind_with_the_same_labels() -> None:
    """What was one of many is now one for itself: the label goes, the states come."""
    camera = Camera()
    camera.sees(0.9, 0.8, 0)
    camera.sees(0.9, 0.8, 0, multilabel=True)
    assert [b"red ant", b""] == camera.told(LABEL)
    assert [b"ON", b"ON", b"OFF"] == camera.states()


def test_another_model_is_a_change_to_the_publish_rule() -> None:
    """Though it says the same, who reads predictions only sees which model serves."""
    camera = Camera(CameraRules(FACTS, PublishRule(on_change=True)))
    for digest in ("a", "a", "b", "b"):
        camera.sees(0.9, 0, 0, digest=digest)
    assert ["a", "b"] == [json.loads(each)["model"]["digest"] for each in camera.told(PREDICTION)]


def test_the_publish_rule_leaves_no_gap_in_the_sequence() -> None:
    """What the rule holds back takes no number: a gap is a loss. The facts see each prediction."""
    camera = Camera(CameraRules(FACTS, PublishRule(on_change=True)))
    for scores in ((0.9, 0, 0), (0.8, 0, 0), (0, 0.9, 0), (0, 0.8, 0), (0, 0, 0)):
        camera.sees(*scores)
    published = [json.loads(each) for each in camera.told(PREDICTION)]
    assert [1, 2, 3] == [each["sequence"] for each in published]
    assert [b"red ant", b"bee", b"unknown"] == camera.told(LABEL)
    assert ["began", "ended", "began", "ended"] == [each["event_type"] for each in camera.events()]


def test_predictions_that_are_kept_wait_for_the_broker() -> None:
    """A live camera's are worth nothing later, unless they are to be kept; a folder's always wait."""
    for keep, live in ((False, True), (True, True), (False, False)):
        camera = Camera(CameraRules(FACTS, keep=keep))
        camera.sees(0.9, 0.1, 0, live=live)
        assert [live and not keep] == [
            each.live for each in camera.publisher.published if each.topic == PREDICTION
        ]


def test_a_label_that_the_model_does_not_have_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A typing error is a warning for each model and each configuration, and no silence."""
    misspelt = CameraRules(FactRules(LabelRule(), {"be": LabelRule()}))
    camera = Camera(misspelt)
    camera.sees(0.9, 0.1, 0)
    camera.sees(0.9, 0.1, 0)
    camera.facts.obey(RULES)
    camera.facts.obey(misspelt)
    assert (
        2
        * [
            "camera door: its facts speak of labels that the model does not have: be; "
            "correct cameras.door.facts.labels (the model has: red ant, bee, cat)"
        ]
        == caplog.messages
    )
