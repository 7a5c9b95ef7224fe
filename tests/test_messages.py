"""The published messages and their topics."""

from __future__ import annotations

import json

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.errors import ConfigError
from edge_agent.frames import Frame
from edge_agent.messages import (
    CameraHealth,
    CameraStatusMessage,
    EventMessage,
    HealthEventMessage,
    HealthMessage,
    KnownModel,
    Message,
    ModelMessage,
    OutboxHealth,
    PredictionMessage,
    RejectedModel,
    ServingModel,
    Topics,
    prediction_message,
    slug,
    slugs,
    timestamp,
    to_json,
)
from edge_agent.predictions import ModelIdentity, Prediction, Score
from edge_agent.topics import check_topic

NOON_NS = 1_795_176_000_123_456_789  # 2026-11-20T12:00:00.123456789Z
NOON = "2026-11-20T12:00:00.123456Z"
NO_SCORES = np.empty(0, np.float32)


def a_prediction(*ranking: Score) -> Prediction:
    """One frame's answer."""
    frame = Frame(np.zeros((2, 2, 3), np.uint8), number=1301, captured_ns=1, captured_at_ns=NOON_NS)
    model = ModelIdentity(slot="default", name="finish", digest="3f9c0a1b2c3d", iteration="7")
    return Prediction(frame, model, "edgetpu", False, ranking, 0.21, 2.61, 3.4, NO_SCORES, ())


def published(prediction: Prediction) -> bytes:
    """The message of a prediction from the camera "door"."""
    return prediction_message(
        prediction,
        agent="dock",
        camera="door",
        session="8d1c7f20",
        sequence=1234,
        clock="synced",
        captured_at_ns=prediction.frame.captured_at_ns,
    )


def test_a_prediction_is_published_as_the_contract_prints_it() -> None:
    """Keys, their order, numbers and compactness are those of the published contract."""
    expected = (
        '{"schema":"edge-agent/prediction/1","agent":"dock","camera":"door","session":"8d1c7f20",'
        '"sequence":1234,"frame":1301,"captured_at":"2026-11-20T12:00:00.123456Z","clock":"synced",'
        '"model":{"slot":"default","name":"finish","digest":"3f9c0a1b2c3d","iteration":"7"},'
        '"device":"edgetpu","degraded":false,'
        '"predictions":[{"label":"fiesta red","index":4,"score":0.91}],'
        '"timing_ms":{"preprocess":0.21,"inference":2.61,"total":3.4}}'
    )
    assert expected == published(a_prediction(Score("fiesta red", 4, float(np.float32(0.91))))).decode()


def test_nothing_above_the_threshold_is_an_empty_ranking() -> None:
    """A frame without a label is published all the same."""
    assert [] == json.loads(published(a_prediction()))["predictions"]


def test_labels_stay_readable() -> None:
    """Labels of every script are UTF-8, not escapes."""
    assert "zażółć 猫".encode() in published(a_prediction(Score("zażółć 猫", 0, 0.5)))


def test_a_score_that_is_no_number_is_never_published() -> None:
    """JSON has no NaN, and null would be mistaken for an answer."""
    with pytest.raises(ValidationError):
        published(a_prediction(Score("cat", 0, float("nan"))))


def test_a_reader_of_today_understands_the_messages_of_tomorrow() -> None:
    """The contract grows by adding keys, so unknown ones are left out, also in nested objects."""
    tomorrow = json.loads(published(a_prediction(Score("cat", 0, 0.5))))
    tomorrow["box"] = [0, 0, 1, 1]
    tomorrow["model"]["stage"] = "second"
    today = PredictionMessage.model_validate_json(json.dumps(tomorrow))
    assert published(a_prediction(Score("cat", 0, 0.5))) == to_json(today)


@given(
    st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda each: json.dumps(each).encode())
)
def test_any_payload_is_a_message_or_refused(payload: bytes) -> None:
    """No bytes do anything to a reader but raise ValidationError."""
    with pytest.raises(ValidationError):
        PredictionMessage.model_validate_json(payload)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(0, 10_000),
    st.floats(0, 1, width=32),
    st.integers(0, 2**62),
)
def test_what_is_published_is_what_is_read(label: str, index: int, score: float, moment_ns: int) -> None:
    """Every label, score and moment survives, and fulfils the JSON Schema."""
    source = a_prediction(Score(label, index, score))
    frame = Frame(source.frame.pixels, number=1, captured_ns=1, captured_at_ns=moment_ns)
    payload = published(
        Prediction(frame, source.model, "cpu", True, source.ranking, 0.0, 0.0, 0.0, NO_SCORES, ())
    )
    read = PredictionMessage.model_validate_json(payload)
    (ranked,) = read.predictions
    assert (label, index) == (ranked.label, ranked.index)
    assert pytest.approx(score, abs=1e-6) == ranked.score
    jsonschema.validate(json.loads(payload), PredictionMessage.model_json_schema(by_alias=True))


SERVING = ServingModel(
    name="finish", digest="3f9c0a1b2c3d", iteration="7", labels=12, since=NOON, device="edgetpu"
)
HEALTH = HealthMessage(
    version="1.0.0", uptime_s=93, device="cpu", aspired="edgetpu", degraded=True,
    reason="Edge TPU usb:0 lost 12 s ago: SIGABRT", losses=1, recoveries=0, degraded_s=12,
    cameras={"door": CameraHealth(state="online", fps=5.0, dropped=3)},
    outbox=OutboxHealth(rows=0, dropped=0), soc_c=51.2, throttled=False, faults=(),
)  # fmt: skip
EXAMPLES: list[tuple[Message, str]] = [
    (
        EventMessage(
            id="0c8d", event_type="began", label="fiesta red", score=0.91, peak=0.97, began_at=NOON,
            ended_at=None, duration_s=None, agent="dock", camera="door", session="8d1c7f20", clock="synced",
        ),
        '{"schema":"edge-agent/event/1","id":"0c8d","event_type":"began","label":"fiesta red","score":0.91,'
        f'"peak":0.97,"began_at":"{NOON}","ended_at":null,"duration_s":null,"agent":"dock","camera":"door",'
        '"session":"8d1c7f20","clock":"synced","reason":null}',
    ),
    (
        ModelMessage(
            slot="default", state="serving", serving=SERVING, previous=None,
            candidate=KnownModel(name="finish", digest="aa", iteration=None, labels=None),
            rejected=(RejectedModel(digest="bb", at=NOON, reason="golden image cat.jpg: dog"),),
        ),
        '{"schema":"edge-agent/model/1","slot":"default","state":"serving","serving":{"name":"finish",'
        f'"digest":"3f9c0a1b2c3d","iteration":"7","labels":12,"since":"{NOON}","device":"edgetpu"}},'
        '"previous":null,"candidate":{"name":"finish","digest":"aa","iteration":null,"labels":null},'
        f'"rejected":[{{"digest":"bb","at":"{NOON}","reason":"golden image cat.jpg: dog"}}]}}',
    ),
    (
        HEALTH,
        '{"schema":"edge-agent/health/1","version":"1.0.0","uptime_s":93,"device":"cpu","aspired":"edgetpu",'
        '"degraded":true,"reason":"Edge TPU usb:0 lost 12 s ago: SIGABRT","losses":1,"recoveries":0,'
        '"degraded_s":12,"cameras":{"door":{"state":"online","fps":5.0,"dropped":3,"paused":false}},'
        '"outbox":{"rows":0,"dropped":0,"on_disk":0,"gap":null},"soc_c":51.2,"throttled":false,"faults":[]}',
    ),
    (
        HealthEventMessage(
            id="0c8d", at=NOON, agent="dock", session="8d1c7f20", clock="synced", health=HEALTH
        ),
        f'{{"schema":"edge-agent/health-event/1","id":"0c8d","at":"{NOON}","agent":"dock",'
        '"session":"8d1c7f20","clock":"synced","health":' + to_json(HEALTH).decode() + "}",
    ),
    (
        CameraStatusMessage(
            camera="door", state="online", paused=False,
            threshold=0.5, fps=5.0, dropped=3, failed=1, fault=None
        ),
        '{"schema":"edge-agent/camera/1","camera":"door","state":"online","paused":false,"threshold":0.5,'
        '"fps":5.0,"dropped":3,"failed":1,"fault":null}',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), EXAMPLES, ids=lambda each: type(each).__name__)
def test_the_other_messages_are_published_as_the_contract_prints_them(
    message: Message, expected: str
) -> None:
    """The JSON of each kind begins with what it has in the contract and fulfils its own schema."""
    contract, told = json.loads(expected), json.loads(to_json(message))
    assert contract == {key: told[key] for key in contract}
    assert list(contract) == list(told)[: len(contract)]
    jsonschema.validate(json.loads(expected), type(message).model_json_schema(by_alias=True))


@pytest.mark.parametrize(
    ("unix_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (NOON_NS, NOON),
        (1_795_176_000_999_999_999, "2026-11-20T12:00:00.999999Z"),
        (-1_000, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_a_timestamp_is_utc_with_microseconds(unix_ns: int, expected: str) -> None:
    """Cut off, never rounded up: a moment is not told before it came."""
    assert expected == timestamp(unix_ns)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("fiesta red", "fiesta_red"),
        ("  Fiesta--RED!", "fiesta_red"),
        ("Größe Ø Łódź", "grosse_o_lodz"),
        ("Crème Brûlée n°5", "creme_brulee_n_5"),
        ("猫", "label_a810bf"),
        ("", "label_e3b0c4"),
    ],
)
def test_a_slug_is_the_label_in_ascii(label: str, expected: str) -> None:
    """Lower-case letters, digits and underscores; what has none of them gets a lasting name."""
    assert expected == slug(label)


def test_colliding_labels_keep_different_topics() -> None:
    """The first keeps the plain slug, the others get a mark that depends on the label alone."""
    assert ("a_b", "a_b_d44362", "a_b_d44362_2") == slugs(["a b", "a-b", "a-b"])


@given(st.lists(st.text()))
def test_slugs_are_one_level_each_and_all_different(labels: list[str]) -> None:
    """Whatever the labels are, each has a topic of its own, and the same one next time."""
    names = slugs(labels)
    assert len(labels) == len(set(names))
    assert names == slugs(labels)
    topics = Topics("edge-agent", "dock")
    assert [f"edge-agent/dock/camera/door/labels/{each}" for each in names] == [
        topics.label_state("door", each) for each in names
    ]


def test_the_topics_are_those_of_the_contract() -> None:
    """Every topic stands below <base_topic>/<agent>/."""
    topics = Topics("site/edge-agent", "dock")
    assert [
        "site/edge-agent/dock/availability",
        "site/edge-agent/dock/health",
        "site/edge-agent/dock/camera/door/availability",
        "site/edge-agent/dock/camera/door/prediction",
        "site/edge-agent/dock/camera/door/label",
        "site/edge-agent/dock/camera/door/labels/fiesta_red",
        "site/edge-agent/dock/camera/door/status",
        "site/edge-agent/dock/camera/door/event",
        "site/edge-agent/dock/camera/door/image",
        "site/edge-agent/dock/model/default",
        "site/edge-agent/dock/request/pause",
        "site/edge-agent/dock/response/pause",
    ] == [
        topics.availability,
        topics.health,
        topics.camera_availability("door"),
        topics.prediction("door"),
        topics.label("door"),
        topics.label_state("door", "fiesta_red"),
        topics.status("door"),
        topics.event("door"),
        topics.image("door"),
        topics.model("default"),
        topics.request("pause"),
        topics.response("pause"),
    ]


@pytest.mark.parametrize(
    "base",
    ["", "a//b", "/a", "a/", "a/+", "#", "$SYS", "a\0b", "a\nb", "\ud800", "\uffff", "\ufdd0", "ä" * 40_000],
)
def test_a_base_topic_that_no_broker_takes_is_refused(base: str) -> None:
    """A bad topic would end the session with the broker again and again."""
    with pytest.raises(ConfigError, match="cannot be an MQTT topic"):
        Topics(base, "dock")


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a\0", "$a"])
def test_a_name_that_is_no_single_level_is_refused(name: str) -> None:
    """Agents, cameras and slots are one level each."""
    with pytest.raises(ConfigError, match="cannot be a name in an MQTT topic"):
        Topics("edge-agent", name)
    with pytest.raises(ConfigError, match="cannot be a name in an MQTT topic"):
        Topics("edge-agent", "dock").prediction(name)


@given(st.text())
def test_any_text_is_a_topic_or_refused(text: str) -> None:
    """A topic that passes holds to MQTT's rules."""
    try:
        topic = check_topic(text)
    except ConfigError:
        return
    assert not set(topic) & set("+#\0")
    assert all(topic.split("/"))
    assert 0 < len(topic.encode()) <= 65535
