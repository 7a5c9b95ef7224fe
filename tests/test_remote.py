"""What a running agent is asked over MQTT, and what it answers."""

from __future__ import annotations

import collections
import json
import queue
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, cast

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.bundle import read_bundle
from edge_agent.control_socket import Answer, ControlRequest
from edge_agent.mqtt import Received
from edge_agent.remote import CHANGES, FROM_INBOX, MAX_WAITING, PLAIN, READS, Remote
from edge_agent.verbs import Verbs
from tests.agents import PATIENCE_S, TOPICS, Agent, Listener, configuration
from tests.brokers import HOST, Broker, need_mosquitto, publish
from tests.fakes.clock import FakeClock
from tests.fakes.publisher import RecordingPublisher
from tests.test_verbs import SCENE, bundle, documented

pytestmark = need_mosquitto


class Asking:
    """An agent, its broker, and a subscriber that hears the answers."""

    def __init__(self, folder: Path, broker: Broker, heard: Listener, agent: Agent) -> None:
        self.inbox = folder / "state" / "inbox" / "default"
        self.folder = folder
        self.agent = agent
        self._port = broker.port
        self.heard = heard

    def ask(self, verb: str, request: object = None, *, retain: bool = False) -> dict[str, Any]:
        """The answer to a request: bytes as they are, else as JSON."""
        topic = TOPICS.response(verb)
        before = len(self.heard.payloads(topic))
        self.say(verb, request, retain=retain)
        assert self.heard.until(lambda: len(self.heard.payloads(topic)) > before)
        answer: dict[str, Any] = json.loads(self.heard.payloads(topic)[-1])
        assert {"transaction", "status", "data", "error", "remedy", "code"} == answer.keys()
        return answer

    def say(self, verb: str, request: object = None, *, retain: bool = False) -> None:
        """Ask, and wait for nothing."""
        payload = request if isinstance(request, bytes) else json.dumps(request or {}).encode()
        self.publish(TOPICS.request(verb), payload, retain=retain)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Anything at all."""
        publish(self._port, topic, payload, retain=retain)


@pytest.fixture(params=["control"])
def asking(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Asking]:
    """One that serves the bundle "first"; ``mqtt.requests`` is the parameter."""
    bundle(tmp_path, "first")
    with Broker() as broker, Listener(broker.port) as heard:
        mqtt = {"requests": request.param}
        text = configuration(broker.port, SCENE, model={"path": tmp_path / "first"}, mqtt=mqtt)
        # What lies in the inbox is left to the requests.
        with Agent(tmp_path, text + "[updates]\nsettle_s = 600\n") as agent:
            assert heard.predicted("scene", 1)
            yield Asking(tmp_path, broker, heard, agent)


def test_a_model_in_the_inbox_is_installed_by_name(asking: Asking) -> None:
    """Activated, rolled back from and listed: as at the control socket, with the transaction."""
    first = read_bundle(asking.folder / "first").digest
    new = bundle(asking.folder, "second")
    shutil.move(new, asking.inbox / "new")
    second = read_bundle(asking.inbox / "new").digest
    answer = asking.ask("model/install", {"transaction": 7, "file": "new"})
    assert (7, "ok", None) == (answer["transaction"], answer["status"], answer["error"])
    assert documented("models/install").keys() == answer["data"].keys()
    assert (second, "serving") == (answer["data"]["digest"], answer["data"]["outcome"])
    answer = asking.ask("model/rollback", {"transaction": "back"})
    assert ("back", first, second) == (
        answer["transaction"],
        answer["data"]["digest"],
        answer["data"]["left"],
    )
    assert second == asking.ask("model/activate", {"digest": second[:8], "slot": "default"})["data"]["digest"]
    listed = asking.ask("model/list", b"")["data"]["slots"][0]["versions"]
    assert {first: "previous", second: "current"} == {each["digest"]: each["state"] for each in listed}
    assert [] == asking.ask("model/prune")["data"]["slots"][0]["removed"]
    assert "dock" == asking.ask("status")["data"]["agent"]


def test_what_lies_in_the_inbox_is_verified(asking: Asking) -> None:
    """It is proven as the agent would, and nothing else happens; what is wrong with it is told."""
    new = bundle(asking.folder, "second")
    shutil.move(new, asking.inbox / "new")
    answer = asking.ask("model/verify", {"transaction": 8, "file": "new"})
    assert (8, "ok", None) == (answer["transaction"], answer["status"], answer["error"])
    assert documented("models/verify").keys() == answer["data"].keys()
    digest = read_bundle(asking.inbox / "new").digest
    assert (True, digest) == (answer["data"]["ok"], answer["data"]["digest"])
    listed = asking.ask("model/list", b"")["data"]["slots"][0]["versions"]
    assert digest not in {each["digest"] for each in listed}
    (asking.inbox / "new" / "labels.txt").write_text("one\n\nthree\n")
    answer = asking.ask("model/verify", {"file": "new"})
    assert ("error", "failed") == (answer["status"], answer["code"])
    assert "labels.txt" in answer["error"]


def test_a_folder_is_installed_when_it_is_whole(asking: Asking) -> None:
    """Asked for while its last file is written, it is taken with all of it."""
    new = bundle(asking.folder, "second")
    whole, name = read_bundle(new).digest, (new / "bundle.toml").read_bytes()
    (new / "bundle.toml").unlink()
    shutil.move(new, asking.inbox / "new")
    with (asking.inbox / "new" / "bundle.toml").open("wb") as file:
        asking.say("model/install", {"file": "new"})
        assert "ok" == asking.ask("status")["status"]
        file.write(name)
    assert asking.heard.until(lambda: bool(asking.heard.payloads(TOPICS.response("model/install"))))
    answer = json.loads(asking.heard.payloads(TOPICS.response("model/install"))[0])
    assert ("ok", whole) == (answer["status"], answer["data"]["digest"])


WRONG = {
    "no JSON": ("model/list", b"{"),
    "no object": ("model/list", b"[1]"),
    "nested deeply": ("model/list", b"[" * 60_000),
    "too long": ("model/list", b" " * 70_000),
    "no such verb": ("model/eat", {}),
    "nothing at all, as whoever takes a retained message away sends it": ("model/rollback", b""),
    "no such slot": ("model/list", {"slot": "dock"}),
    "no file": ("model/install", {}),
    "none of that name": ("model/install", {"file": "nothing.zip"}),
    "a way out": ("model/install", {"file": "../../../first"}),
    "a whole path": ("model/install", {"file": "/etc/passwd"}),
    "the inbox itself": ("model/install", {"file": "."}),
    "a name that no disk takes": ("model/install", {"file": "x" * 60_000}),
    "a name in no encoding": ("model/install", {"file": "\ud800"}),
    "a link": ("model/install", {"file": "link"}),
    "nothing to verify": ("model/verify", {}),
    "a way out of the inbox to verify": ("model/verify", {"file": "../../first"}),
    "no digest": ("model/activate", {}),
    "a verb in capitals": ("Model/LIST", {}),
    "a verb with a hyphen": ("take-picture", {}),
    "no such camera": ("pause", {"camera": "door"}),
    "no such camera, plain": ("pause", b"door"),
    "no camera at all": ("snapshot", b"\xff\xfe"),
    "a camera of another kind": ("resume", {"camera": 7}),
    "a camera without a name": ("pause", {"camera": ""}),
    "a camera without a name, plain": ("pause", b'""'),
    "a camera that is null": ("pause", {"camera": None}),
    "a slot without a name": ("model/list", {"slot": ""}),
    "another argument": ("resume", {"cam": "scene"}),
    "another argument, where there is none": ("restart", {"camera": "scene"}),
    "another argument of what looks": ("status", {"slot": "default"}),
    "another argument beside a right one": ("model/install", {"slot": "default", "path": "/x"}),
    "a list of cameras": ("pause", b'["scene"]'),
    "no threshold": ("threshold/set", {}),
    "a plain threshold": ("threshold/set", b"0.5"),
    "a threshold that is none": ("threshold/set", {"threshold": 1.01}),
    "a threshold that is no number": ("threshold/set", b'{"threshold": NaN}'),
    "a threshold of another kind": ("threshold/set", {"threshold": True}),
    "two at once": ("threshold/set", {"threshold": 0.5, "camera": "scene", "slot": "default"}),
    "a threshold of no slot": ("threshold/set", {"threshold": 0.5, "slot": "scene"}),
    "a transaction of another kind": ("model/list", {"transaction": [1]}),
    "a long transaction": ("model/list", {"transaction": "x" * 200}),
}


def test_a_wrong_request_is_answered(asking: Asking) -> None:
    """In words, as bad usage; and the next one all the same."""
    (asking.inbox / "link").symlink_to(asking.folder / "first")
    for what, (verb, request) in WRONG.items():
        answer = asking.ask(verb, request)
        assert (what, "error", "usage") == (what, answer["status"], answer["code"])
        assert answer["error"]
        assert answer["data"] is None
    answer = asking.ask("model/rollback", {"transaction": "t"})
    assert ("t", "error", "failed") == (answer["transaction"], answer["status"], answer["code"])
    assert "ok" == asking.ask("status")["status"]


def test_an_argument_that_is_misspelled_is_not_left_out(asking: Asking) -> None:
    """Or a wrong name of the camera would mean all cameras; the nearest one is named, or what there is."""
    answer = asking.ask("pause", {"cam": "scene"})
    assert "pause has no argument 'cam'" == answer["error"]
    assert "did you mean 'camera'?" == answer["remedy"]
    assert "there are: camera" == asking.ask("resume", {"x": "scene"})["remedy"]
    assert "it takes none" == asking.ask("ping", {"camera": "scene"})["remedy"]
    assert {} == asking.ask("config/get")["data"]["overrides"]


class Echo:
    """Shaped like edge_agent.verbs.Verbs: answers everything at once."""

    def answer(self, request: ControlRequest) -> None:
        """Yes."""
        request.reply(Answer.ok({"verb": request.verb, "camera": request.arguments.get("camera")}))

    def answer_of_inbox(self, _inboxes: Path, request: ControlRequest) -> None:
        """Yes."""
        self.answer(request)


def remote(publisher: RecordingPublisher, clock: FakeClock) -> Remote:
    """One that answers everything it understands with yes."""
    verbs = cast("Verbs", Echo())
    return Remote(
        verbs,
        TOPICS,
        publisher.publish,
        Path("/inbox"),
        clock,
        may_change=True,
        discovery_prefix="homeassistant",
    )


def answered(publisher: RecordingPublisher) -> list[dict[str, Any]]:
    """The answers so far."""
    return [json.loads(each.payload) for each in publisher.published]


verbs = st.sampled_from([*READS, *CHANGES, *FROM_INBOX, "eat"]) | st.text(max_size=40)
payloads = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("transaction"), inner),
).map(lambda value: json.dumps(value).encode())


@given(
    verb=verbs,
    payload=payloads,
    response=st.none() | st.text(max_size=40),
    correlation=st.none() | st.binary(),
)
def test_anything_is_answered_once_or_no_request(
    verb: str, payload: bytes, response: str | None, correlation: bytes | None
) -> None:
    """No payload, topic or property ends the main loop, and every answer can be published."""
    publisher = RecordingPublisher()
    asked = remote(publisher, FakeClock())
    heard = asked.hear(
        Received(
            TOPICS.request(verb), payload, retained=False, response_topic=response, correlation=correlation
        )
    )
    asked.answer()
    assert int(heard) == len(publisher.published)
    for answer in answered(publisher):
        assert answer["status"] in ("ok", "error")


@pytest.mark.parametrize(
    "payload", [b"door", b' "door"\n', b'{"camera": "door"}', b'{"camera": "door", "transaction": null}']
)
def test_a_cameras_mere_name_is_enough(payload: bytes) -> None:
    """As a button or a person at mosquitto_pub sends it."""
    publisher = RecordingPublisher()
    asked = remote(publisher, FakeClock())
    for verb in PLAIN:
        asked.hear(Received(TOPICS.request(verb), payload, retained=False))
    asked.answer()
    assert ["door"] * len(PLAIN) == [answer["data"]["camera"] for answer in answered(publisher)]


def test_what_is_too_much_is_told_so_and_the_rest_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    """As many refusals as requests; a second later there is room for 50 again. The log is warned once."""
    publisher, clock = RecordingPublisher(), FakeClock()
    asked = remote(publisher, clock)

    def flood() -> tuple[int, int]:
        before = len(publisher.published)
        for number in range(300):
            payload = json.dumps({"transaction": number}).encode()
            asked.hear(Received(TOPICS.request("ping"), payload, retained=False))
        asked.answer()
        answers = answered(publisher)[before:]
        assert {answer["code"] for answer in answers} == {None, "busy"}
        assert {int} == {type(answer["transaction"]) for answer in answers}
        done = sum(answer["status"] == "ok" for answer in answers)
        return done, len(answers) - done

    assert (MAX_WAITING, MAX_WAITING) == flood()
    clock.advance(1.0)
    assert (50, 50) == flood()
    assert ["WARNING"] == [record.levelname for record in caplog.records if record.levelname != "DEBUG"]


def test_a_large_request_is_not_kept() -> None:
    """What waits has a bound of its own, not the sender's."""
    asked = remote(RecordingPublisher(), FakeClock())
    tracemalloc.start()
    for _ in range(3):
        asked.hear(Received(TOPICS.request("ping"), bytes(5_000_000), retained=False))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 3 * 70_000


def test_a_retained_request_is_not_obeyed(asking: Asking, tmp_path: Path) -> None:
    """It would be, at each start and each time the broker comes back."""
    asking.ask("model/list", retain=True)
    assert 0 == asking.agent.stop()
    again = tmp_path / "again"
    again.mkdir()
    text = asking.agent.path.read_text().replace('"state"', json.dumps(str(tmp_path / "state")))
    with Agent(again, text) as agent:
        assert agent.logged("a retained request is not obeyed")


@pytest.mark.parametrize("asking", ["read"], indirect=True)
def test_where_only_looking_is_allowed(asking: Asking) -> None:
    """What changes something is answered with how to allow it."""
    for verb in (*FROM_INBOX, *CHANGES):
        answer = asking.ask(verb)
        assert ("usage", f"request/{verb} is not allowed") == (answer["code"], answer["error"])
        assert "mqtt.requests" in answer["remedy"]
    for verb in READS:
        assert "ok" == asking.ask(verb)["status"]


@pytest.mark.parametrize("asking", ["off"], indirect=True)
def test_where_nothing_may_be_asked(asking: Asking) -> None:
    """Nothing is subscribed to, so nothing is answered."""
    asking.say("status")
    assert asking.heard.predicts_on("scene")
    assert [] == asking.heard.payloads(TOPICS.response("status"))


def test_topics_that_ask_for_nothing_are_left_alone(asking: Asking) -> None:
    """The filter takes more than requests: the level above it, and levels that are no verbs."""
    no_verbs = ["a/b/c/d", "ping/", "ümlaut", "x" * 33]
    asking.publish(TOPICS.request("").rstrip("/"), b"{}")
    for verb in no_verbs:
        asking.say(verb)
    assert "dock" == asking.ask("ping")["data"]["agent"]
    assert [] == [each for verb in no_verbs for each in asking.heard.payloads(TOPICS.response(verb))]


class Asker5:
    """Speaks MQTT 5: names a response topic, and hears what comes there with its correlation data."""

    def __init__(self, port: int, topic: str) -> None:
        self.heard: queue.SimpleQueue[tuple[str, dict[str, Any], bytes | None]] = queue.SimpleQueue()
        subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.connect(HOST, port)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _userdata: Any, message: paho.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        self.heard.put((message.topic, json.loads(message.payload), correlation))

    def say(self, verb: str, payload: bytes, response: str, correlation: bytes | None = None) -> None:
        """Ask."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = response
        if correlation is not None:
            properties.CorrelationData = correlation
        self._client.publish(TOPICS.request(verb), payload, qos=1, properties=properties)


def test_an_answer_goes_where_it_is_wanted(asking: Asking) -> None:
    """With MQTT 5: to the response topic and only there, with the very correlation data."""
    with Asker5(asking.heard.port, "answers/#") as asker:
        asker.say("ping", b'{"transaction": 1}', "answers/mine", b"\0\xff 17")
        topic, answer, correlation = asker.heard.get(timeout=PATIENCE_S)
        assert ("answers/mine", 1, "ok", b"\0\xff 17") == (
            topic,
            answer["transaction"],
            answer["status"],
            correlation,
        )
        asker.say("model/eat", b"{}", "answers/mine")
        assert "usage" == asker.heard.get(timeout=PATIENCE_S)[1]["code"]
        asker.say("ping", b"{", "answers/mine", b"x" * 1024)
        assert b"x" * 1024 == asker.heard.get(timeout=PATIENCE_S)[2]
    asking.ask("status")
    assert [] == asking.heard.payloads(TOPICS.response("ping"))


def test_an_agent_that_speaks_an_older_mqtt_answers_where_all_answers_go(tmp_path: Path) -> None:
    """The broker does not pass on to it what MQTT 3.1.1 has no room for."""
    bundle(tmp_path, "first")
    with Broker() as broker, Listener(broker.port) as heard:
        text = configuration(
            broker.port, SCENE, model={"path": tmp_path / "first"}, mqtt={"protocol": "3.1.1"}
        )
        with Agent(tmp_path, text), Asker5(broker.port, TOPICS.response("#")) as asker:
            assert heard.predicted("scene", 1)
            asker.say("ping", b'{"transaction": 1}', "answers/mine", b"17")
            topic, answer, correlation = asker.heard.get(timeout=PATIENCE_S)
            assert (TOPICS.response("ping"), 1, None) == (topic, answer["transaction"], correlation)


def test_a_response_topic_that_cannot_be_is_told_where_all_answers_go(asking: Asking) -> None:
    """A wildcard, a topic of the broker's, one of our own, of another agent, of the discovery: nothing is
    published there.
    """
    wrong = ["a/#", "a/+/b", "$SYS/x", "a//b", TOPICS.availability, TOPICS.request("ping"), TOPICS.root]
    wrong += ["edge-agent", "edge-agent/yard/request/restart", "homeassistant/device/x/config"]
    topic = TOPICS.response("ping")
    with Asker5(asking.heard.port, topic) as asker:
        for response in wrong:
            asker.say("ping", b"", response)
            answer = asker.heard.get(timeout=PATIENCE_S)[1]
            assert (response, "usage") == (response, answer["code"])
        asker.say("ping", b"", "answers/mine", b"x" * 1025)
        assert "usage" == asker.heard.get(timeout=PATIENCE_S)[1]["code"]
        asker.say("ping", b"", TOPICS.response("ping"))
        assert "ok" == asker.heard.get(timeout=PATIENCE_S)[1]["status"]
    assert [b"online"] == asking.heard.payloads(TOPICS.availability)


def test_a_flood_is_answered_within_bounds(asking: Asking) -> None:
    """Of a thousand at once some are obeyed, some told to wait, the rest not heard; and then it goes on."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.max_queued_messages_set(0)
    client.connect(HOST, asking.heard.port)
    for number in range(1000):
        payload = json.dumps({"transaction": number}) + " " * (70_000 if number % 10 == 0 else 10)
        client.publish(TOPICS.request("ping"), payload.encode(), qos=0)
    client.loop_start()
    said = client.publish(TOPICS.request("status"), b"{}", qos=1)
    said.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()
    assert asking.agent.logged("more than 50 requests a second are not heard")
    assert asking.heard.predicts_on("scene", 40)
    answers = [json.loads(each) for each in asking.heard.payloads(TOPICS.response("ping"))]
    codes = collections.Counter(answer["code"] for answer in answers)
    assert {None, "busy", "usage"} == codes.keys()
    assert MAX_WAITING <= codes[None] + codes["usage"]
    assert len(answers) < 1000
    assert 1 == len(asking.agent.log("requests a second are not heard"))
    assert "dock" == asking.ask("status")["data"]["agent"]
