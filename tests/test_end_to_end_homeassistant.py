"""A running agent as Home Assistant sees it: by what the discovery payload says, and by nothing else."""

from __future__ import annotations

import fnmatch
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.agents import TOPICS, Agent, Listener, Table, configuration
from tests.brokers import Broker, Heard, need_mosquitto, publish
from tests.homeassistant_reader import Entity, entities
from tests.places import FINISHES
from tests.test_verbs import SCENE, bundle

pytestmark = need_mosquitto

BIRTH = "homeassistant/status"

TWO: Mapping[str, Table] = {**SCENE, "gate": {"source": "scene:finishes", "fps": 5}}


class House:
    """A broker, a Home Assistant that listens, and what an agent is configured with."""

    def __init__(self, folder: Path, broker: Broker, home: Listener) -> None:
        self.folder = folder
        self.broker = broker
        self.home = home

    def text(self, cameras: Mapping[str, Table] = SCENE, *, enabled: bool = True, **mqtt: object) -> str:
        """The configuration of an agent that serves the bundle "first"; its inbox is left to requests."""
        model = {"path": self.folder / "first"}
        agent = {"state_dir": self.folder / "state"}
        text = configuration(self.broker.port, cameras, agent=agent, model=model, mqtt=mqtt)
        told = "true" if enabled else "false"
        return f"{text}[mqtt.home_assistant]\nenabled = {told}\n[updates]\nsettle_s = 600\n"

    def agent(self, text: str) -> Agent:
        """The next start of the agent, whose state is that of the one before."""
        return Agent(Path(tempfile.mkdtemp(dir=self.folder)), text)

    def topics(self) -> list[str]:
        """Those of the discovery on which something was heard."""
        return fnmatch.filter(self.home.topics(), "homeassistant/device/*/config")

    def payloads(self) -> list[bytes]:
        """Every discovery payload so far."""
        return [payload for topic in self.topics() for payload in self.home.payloads(topic)]

    def announced(self, times: int = 1) -> dict[str, Entity]:
        """The entities, once they have been announced so many times."""
        assert self.home.until(lambda: len(self.payloads()) >= times)
        return entities(self.payloads()[-1], self.home)

    def settled(self) -> int:
        """Once all was told again after the announcement: the discovery payloads so far."""
        assert self.home.until(lambda: len(self.home.payloads(TOPICS.availability)) > 1)
        return len(self.payloads())

    def components(self) -> dict[str, Any]:
        """Of the last payload."""
        told: dict[str, Any] = json.loads(self.payloads()[-1])["components"]
        return told


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An empty one."""
    bundle(tmp_path, "first")
    with Broker() as broker, Listener(broker.port, "#") as home:
        yield House(tmp_path, broker, home)


def test_every_topic_carries_what_it_promises(house: House) -> None:
    """Each state is one that Home Assistant takes, and every entity but those to roll back is available."""
    with house.agent(house.text(TWO)):
        announced = house.announced()
        assert {"camera.scene.label", "camera.gate.label"} <= announced.keys()
        for key, entity in announced.items():
            if entity.platform not in ("event", "image"):
                assert entity.comes_to(Entity.keeps_its_promise), (key, entity.fields)
            assert key == "model.default.rollback" or entity.comes_to(Entity.available), key
        assert not announced["model.default.rollback"].available()


def test_labels_and_events_carry_what_they_promise(house: House) -> None:
    """Of a model of one label at a time, with a state for each, and of one of which several may be true."""
    several = bundle(house.folder, "several")
    with (several / "bundle.toml").open("a") as settings:
        settings.write('\n[output]\nmethod = "multilabel"\n')
    text = house.text(TWO)
    facts = "[cameras.scene.facts]\nper_label = true\n[cameras.gate.facts]\nenter = 0.5\n"
    slot = f'[models.several]\npath = "{several}"\n'
    text = text.replace("[cameras.scene]\n", '[cameras.scene]\nmodel = "default"\n')
    text = text.replace("[cameras.gate]\n", '[cameras.gate]\nmodel = "several"\n')
    with house.agent(f"{text}{slot}{facts}"):
        announced = house.announced()
        assert "camera.gate.label" not in announced
        for camera in ("scene", "gate"):
            states = [each for key, each in announced.items() if key.startswith(f"camera.{camera}.labels.")]
            assert 12 == len(states)
            for entity in states:
                assert entity.comes_to(Entity.keeps_its_promise), entity.key
                assert entity.comes_to(Entity.available), entity.key
            assert announced[f"camera.{camera}.event"].comes_to(Entity.keeps_its_promise)


def test_the_model_is_updated_and_rolled_back(house: House) -> None:
    """By the update entity and its button: what was left is offered as an update, and taken."""
    with house.agent(house.text()):
        announced = house.announced()
        model, rollback = announced["model.default.update"], announced["model.default.rollback"]
        assert model.comes_to(lambda each: each.update().get("installed_version", "none") != "none")
        first = model.update()["installed_version"]
        assert first == model.update()["latest_version"]
        shutil.move(bundle(house.folder, "second"), house.folder / "state" / "inbox" / "default" / "new")
        publish(house.broker.port, TOPICS.request("model/install"), b'{"file": "new"}')
        assert model.comes_to(lambda each: each.update()["installed_version"] not in (first, "none"))
        second = model.update()["installed_version"]
        assert rollback.comes_to(Entity.available)
        rollback.command(rollback.fields["payload_press"])
        assert model.comes_to(lambda each: each.update()["installed_version"] == first)
        assert model.comes_to(lambda each: each.update()["latest_version"] == second)
        model.command(model.fields["payload_install"])
        assert model.comes_to(lambda each: each.update()["installed_version"] == second)
        assert model.comes_to(lambda each: each.update()["latest_version"] == second)


def test_every_command_is_obeyed(house: House) -> None:
    """The switch, the number and the buttons of a camera, each of this camera alone."""
    with house.agent(house.text(TWO)):
        announced = house.announced()
        label, other = announced["camera.scene.label"], announced["camera.gate.label"]
        pause, image = announced["camera.scene.pause"], announced["camera.scene.image"]
        assert label.comes_to(Entity.available)
        snapshot = announced["camera.scene.snapshot"]
        snapshot.command(snapshot.fields["payload_press"])
        assert image.comes_to(Entity.keeps_its_promise)
        assert announced["camera.gate.image"].picture() is None
        threshold = announced["camera.scene.threshold"]
        threshold.set(0.25)
        assert threshold.comes_to(lambda each: each.state() == "0.25")
        assert threshold.state() != announced["camera.gate.threshold"].state()
        pause.command(pause.fields["payload_on"])
        assert pause.comes_to(lambda each: each.state() == each.fields["state_on"])
        assert label.comes_to(lambda each: not each.available())
        assert other.available()
        assert pause.available()
        pause.command(pause.fields["payload_off"])
        assert pause.comes_to(lambda each: each.state() == each.fields["state_off"])
        assert label.comes_to(Entity.available)


def label_shown(messages: list[tuple[str, bytes, bool]]) -> str | None:
    """What the sensor of the camera "tray" shows after these; a label that is no option is passed over."""
    options: list[str] = []
    shown = None
    for topic, payload, _ in messages:
        if fnmatch.fnmatch(topic, "homeassistant/device/*/config"):
            options = json.loads(payload)["components"]["camera.tray.label"]["options"]
        elif topic == TOPICS.label("tray") and payload.decode() in options:
            shown = payload.decode()
    return shown


def test_the_label_of_another_model_is_shown_though_nothing_moves(house: House) -> None:
    """It comes before its option, and would never be told again."""
    photos = house.folder / "photos"
    photos.mkdir()
    shutil.copy(FINISHES / "golden" / "dakota-red.jpg", photos)
    other = bundle(house.folder, "other")
    for name in ("labels.txt", "bundle.toml"):
        text = (other / name).read_text()
        (other / name).write_text(text.replace("dakota red", "another red"))
    tray = {"tray": {"source": f"{photos}/", "fps": 20, "loop": True}}
    with Heard(house.broker.port) as heard, house.agent(house.text(tray)):
        assert heard.waits_for(lambda told: label_shown(told) == "dakota red")
        shutil.move(other, house.folder / "state" / "inbox" / "default" / "other")
        publish(house.broker.port, TOPICS.request("model/install"), b'{"file": "other"}')
        assert heard.waits_for(lambda told: label_shown(told) == "another red")


def test_all_cameras_are_paused_at_once(house: House) -> None:
    """On while nobody looks through any of them; each camera's own switch follows."""
    with house.agent(house.text(TWO)):
        announced = house.announced()
        every, one = announced["agent.pause"], announced["camera.scene.pause"]
        one.command(one.fields["payload_on"])
        assert one.comes_to(lambda each: each.state() == each.fields["state_on"])
        assert every.state() == every.fields["state_off"]
        every.command(every.fields["payload_on"])
        assert every.comes_to(lambda each: each.state() == each.fields["state_on"])
        every.command(every.fields["payload_off"])
        for switch in (every, one, announced["camera.gate.pause"]):
            assert switch.comes_to(lambda each: each.state() == each.fields["state_off"])


def test_the_agent_is_restarted(house: House) -> None:
    """It goes, and comes back as the same."""
    with house.agent(house.text()):
        restart = house.announced()["agent.restart"]
        count = house.settled()
        assert restart.comes_to(Entity.available)
        restart.command(restart.fields["payload_press"])
        assert restart.comes_to(lambda each: not each.available())
        assert restart.comes_to(Entity.available)
        assert house.announced(count + 1)["agent.restart"].fields == restart.fields


def test_a_refused_model_is_told_with_the_update(house: House) -> None:
    """Somebody who waits for a new model sees why it does not come."""
    with house.agent(house.text()):
        model = house.announced()["model.default.update"]
        assert model.comes_to(lambda each: each.update().get("installed_version", "none") != "none")
        inbox = house.folder / "state" / "inbox" / "default"
        (inbox / "new.tflite").write_bytes(b"no model at all")
        publish(house.broker.port, TOPICS.request("model/install"), b'{"file": "new.tflite"}')
        assert model.comes_to(lambda each: each.update()["release_summary"].startswith("Refused: "))
        assert model.keeps_its_promise()


def test_a_birth_has_all_that_is_retained_told_again(house: House) -> None:
    """The discovery and the states, once more; `online` of the agent last."""
    with house.agent(house.text()):
        label = house.announced()["camera.scene.label"]
        assert label.comes_to(Entity.available)
        house.settled()
        topics = (*house.topics(), TOPICS.model("default"), TOPICS.camera_availability("scene"))
        before = {topic: house.home.payloads(topic) for topic in topics}
        online = len(house.home.payloads(TOPICS.availability))
        publish(house.broker.port, BIRTH, b"online")
        assert house.home.until(lambda: len(house.home.payloads(TOPICS.availability)) > online)
        for topic, payloads in before.items():
            assert [*payloads, payloads[-1]] == house.home.payloads(topic)


def test_a_camera_that_is_removed_vanishes(house: House) -> None:
    """First only its platforms are left of its entities, then nothing; the other camera's stay."""
    with house.agent(house.text(TWO)) as agent:
        gate = {key for key in house.announced() if key.startswith("camera.gate.")}
        agent.reload(house.text())
        left = {("platform",)}
        assert house.home.until(lambda: left == {tuple(house.components().get(key, ())) for key in gate})
        assert house.home.until(lambda: gate.isdisjoint(house.components()))
        assert "unique_id" in house.components()["camera.scene.label"]


def test_turned_off_the_agent_vanishes_and_comes_back_as_the_same(house: House) -> None:
    """An empty retained payload at the next start; the id outlives it."""
    with house.agent(house.text()) as agent:
        unique = house.announced()["camera.scene.label"].fields["unique_id"]
        (topic,) = house.topics()
        assert 0 == agent.stop()
    with house.agent(house.text(enabled=False)) as agent:
        assert house.home.says(topic, b"")
        assert 0 == agent.stop()
    with house.agent(house.text()):
        assert house.home.until(lambda: house.payloads()[-1] != b"")
        assert unique == house.announced()["camera.scene.label"].fields["unique_id"]


def test_an_agent_that_may_not_be_asked_is_seen_all_the_same(house: House) -> None:
    """Without requests there is nothing to press, and a birth is heard."""
    with house.agent(house.text(requests="off")):
        announced = house.announced()
        assert not [key for key, entity in announced.items() if "command_topic" in entity.fields]
        count = house.settled()
        publish(house.broker.port, BIRTH, b"online")
        house.announced(count + 1)


def test_what_is_not_wanted_is_not_published(house: House) -> None:
    """Without Home Assistant there is nothing of it on the broker."""
    with house.agent(house.text(enabled=False)):
        assert house.home.predicted("scene", 3)
        assert [] == house.topics()
        assert not (house.folder / "state" / "agent-id").exists()
