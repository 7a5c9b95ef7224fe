"""What a running agent is asked over MQTT, and what it answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.bundle import read_bundle
from tests.agents import TOPICS, Agent, Listener, configuration
from tests.brokers import Broker, need_mosquitto, publish
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
        self._answered: dict[str, int] = {}

    def ask(self, verb: str, request: object = None, *, retain: bool = False) -> dict[str, Any]:
        """The answer to a request: bytes as they are, else as JSON."""
        topic = TOPICS.response(verb)
        count = self._answered[verb] = self._answered.get(verb, 0) + 1
        self.say(verb, request, retain=retain)
        assert self.heard.until(lambda: len(self.heard.payloads(topic)) >= count)
        answer: dict[str, Any] = json.loads(self.heard.payloads(topic)[-1])
        assert {"transaction", "status", "data", "error", "remedy", "code"} == answer.keys()
        return answer

    def say(self, verb: str, request: object = None, *, retain: bool = False) -> None:
        """Ask, and wait for nothing."""
        payload = request if isinstance(request, bytes) else json.dumps(request or {}).encode()
        publish(self._port, TOPICS.request(verb), payload, retain=retain)


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
    assert "dock" == asking.ask("status")["data"]["agent"]


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
    "no digest": ("model/activate", {}),
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
    for verb in ("model/install", "model/activate", "model/rollback"):
        answer = asking.ask(verb)
        assert ("usage", f"request/{verb} is not allowed") == (answer["code"], answer["error"])
        assert "mqtt.requests" in answer["remedy"]
    assert "ok" == asking.ask("model/list")["status"]
    assert "ok" == asking.ask("status")["status"]


@pytest.mark.parametrize("asking", ["off"], indirect=True)
def test_where_nothing_may_be_asked(asking: Asking) -> None:
    """Nothing is subscribed to, so nothing is answered."""
    asking.say("status")
    assert asking.heard.predicts_on("scene")
    assert [] == asking.heard.payloads(TOPICS.response("status"))
