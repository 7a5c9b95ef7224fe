"""edge_agent.homeassistant: the payload of the device discovery."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.homeassistant import (
    AgentProfile,
    CameraProfile,
    birth_topic,
    components,
    discovery_topic,
    payload,
    undecided,
)
from edge_agent.homeassistant.cameras import MAX_LABELS
from edge_agent.topics import Topics
from tests.homeassistant_schemas import DEVICE
from tests.places import ROOT

ID = "0123456789abcdef0123456789abcdef"
TOPICS = Topics("edge-agent", "dock")

DOOR = CameraProfile("door", "default", ("apple", "pêche jaune"))
SHELF = CameraProfile("shelf", "second", ("ripe", "wet"), multilabel=True, per_label=True)
AGENT = AgentProfile(
    id=ID,
    version="1.0.0",
    board="Raspberry Pi 4 Model B Rev 1.4",
    topics=TOPICS,
    qos=1,
    cameras=(DOOR, SHELF),
    slots=("default", "second"),
    has_soc=True,
    control=True,
)

HOME_ASSISTANT = os.environ.get("EDGE_AGENT_TEST_HOMEASSISTANT")

need_home_assistant = pytest.mark.skipif(
    HOME_ASSISTANT is None, reason="no EDGE_AGENT_TEST_HOMEASSISTANT: a Python with Home Assistant"
)

CAMERAS = st.builds(
    CameraProfile,
    name=st.from_regex("[A-Za-z0-9_-]{1,8}", fullmatch=True),
    slot=st.just("default"),
    labels=st.none() | st.lists(st.text(min_size=1, max_size=5), max_size=4).map(tuple),
    multilabel=st.booleans(),
    per_label=st.booleans(),
)


def announced(agent: AgentProfile) -> Any:
    """The payload, read."""
    return json.loads(payload(agent, components(agent), {}))


def refused_by_home_assistant(content: object) -> list[str]:
    """What Home Assistant's own schemas do not take, or pass over."""
    assert HOME_ASSISTANT is not None
    oracle = subprocess.run(
        [HOME_ASSISTANT, ROOT / "tests" / "homeassistant_oracle.py"],
        input=json.dumps(content),
        capture_output=True,
        text=True,
        check=True,
    )
    return oracle.stdout.split("\n")[:-1]


@pytest.mark.parametrize("control", [True, False])
def test_the_payload_is_as_home_assistant_documents_it(control: bool) -> None:
    """Every field is documented for its platform and has a value that it may have."""
    agent = dataclasses.replace(AGENT, control=control)
    jsonschema.validate(announced(agent), DEVICE)
    gone = {"camera.yard.label": "sensor", "camera.yard.event": "event"}
    jsonschema.validate(json.loads(payload(agent, components(agent), gone)), DEVICE)


@need_home_assistant
@pytest.mark.parametrize("control", [True, False])
def test_home_assistant_itself_takes_the_payload(control: bool) -> None:
    """Its own schemas of the discovery and of each platform find no fault, and pass no field over."""
    agent = dataclasses.replace(AGENT, control=control)
    assert [""] == refused_by_home_assistant(announced(agent))
    misspelt = announced(agent)
    misspelt["components"]["agent.queue"]["state_topik"] = "x"
    assert ["agent.queue: state_topik is passed over"] == refused_by_home_assistant(misspelt)


@settings(deadline=None, max_examples=50)
@given(st.lists(CAMERAS, max_size=4, unique_by=lambda camera: camera.name))
def test_any_cameras_and_labels_make_a_payload_with_ids_of_their_own(cameras: list[CameraProfile]) -> None:
    """Whatever names and labels there are: valid, and no entity takes the place of another."""
    agent = dataclasses.replace(AGENT, cameras=tuple(cameras))
    content = announced(agent)
    jsonschema.validate(content, DEVICE)
    entities = content["components"].values()
    assert len(entities) == len({entity["unique_id"] for entity in entities})
    assert len(entities) == sum(
        len(components(dataclasses.replace(AGENT, cameras=(camera,)))) for camera in cameras
    ) - (len(cameras) - 1) * len(components(dataclasses.replace(AGENT, cameras=())))


def test_the_topics_are_those_that_home_assistant_listens_to() -> None:
    """Its pattern for a device: letters, digits, _ and - before /config; its birth is below the prefix."""
    topic = discovery_topic("homeassistant", ID)
    assert f"homeassistant/device/edge_agent_{ID}/config" == topic
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)
    assert "home/status" == birth_topic("home")


def test_the_label_may_be_each_of_the_models_or_unknown() -> None:
    """Home Assistant refuses a state that is not among the options; none of them stands there twice."""
    assert ["apple", "pêche jaune", "unknown"] == components(AGENT)["camera.door.label"]["options"]
    tricky = dataclasses.replace(AGENT, cameras=(dataclasses.replace(DOOR, labels=("unknown", "a", "a")),))
    assert ["unknown", "a"] == components(tricky)["camera.door.label"]["options"]


def test_a_model_of_several_labels_has_an_entity_for_each_and_no_settled_one() -> None:
    """As its topics are; the name is the label, the key its slug."""
    entities = components(AGENT)
    assert "camera.shelf.label" not in entities
    assert "camera.shelf.confidence" not in entities
    ripe = entities["camera.shelf.labels.ripe"]
    assert ("binary_sensor", "shelf ripe", TOPICS.label_state("shelf", "ripe")) == (
        ripe["platform"],
        ripe["name"],
        ripe["state_topic"],
    )


def test_a_model_of_very_many_labels_has_no_list_of_them() -> None:
    """A payload of megabytes and a thousand entities serve nobody; the label itself is still there."""
    labels = tuple(f"label {number}" for number in range(MAX_LABELS + 1))
    cameras = (
        CameraProfile("door", "default", labels),
        CameraProfile("shelf", "default", labels, multilabel=True, per_label=True),
    )
    entities = components(dataclasses.replace(AGENT, cameras=cameras))
    assert not {"options", "device_class"} & entities["camera.door.label"].keys()
    assert not [key for key in entities if key.startswith("camera.shelf.labels")]
    within = components(dataclasses.replace(AGENT, cameras=(CameraProfile("door", "default", labels[1:]),)))
    assert MAX_LABELS + 1 == len(within["camera.door.label"]["options"])  # type: ignore[arg-type]


def test_what_a_camera_sees_greys_out_with_it_and_what_commands_it_does_not() -> None:
    """Two levels, all of which must be there; and a paused camera can be let go on."""
    entities = components(AGENT)

    def levels(key: str) -> list[str]:
        return [each["topic"] for each in entities[key].get("availability", ())]  # type: ignore[attr-defined]

    seen = [TOPICS.availability, TOPICS.camera_availability("door"), TOPICS.model("default")]
    assert seen == levels("camera.door.label") == levels("camera.door.confidence")
    for key in ("pause", "threshold", "event", "connected"):
        assert [] == levels(f"camera.door.{key}")  # those of the device
    content = announced(AGENT)
    assert ("all", [{"topic": TOPICS.availability}]) == (
        content["availability_mode"],
        content["availability"],
    )
    modes = {each["availability_mode"] for each in content["components"].values() if "availability" in each}
    assert {"all"} == modes


def test_no_retained_state_expires() -> None:
    """A retained value that expires would come back as fresh with each start of Home Assistant."""
    assert not [key for key, entity in components(AGENT).items() if "expire_after" in entity]


def test_without_control_there_is_nothing_to_press() -> None:
    """Where requests may only ask, no entity offers what would be refused."""
    entities = components(dataclasses.replace(AGENT, control=False))
    assert not [key for key, entity in entities.items() if "command_topic" in entity]
    assert "model.default.update" in entities


def test_a_board_that_does_not_tell_its_temperature_has_no_entity_for_it() -> None:
    """Nothing is announced that would be unknown for ever."""
    assert "agent.soc" in components(AGENT)
    assert "agent.soc" not in components(dataclasses.replace(AGENT, has_soc=False))


def test_entities_of_a_camera_whose_labels_are_not_known_are_undecided() -> None:
    """They may come back, so they must not be removed; those of a camera that is gone must."""
    agent = dataclasses.replace(AGENT, cameras=(dataclasses.replace(SHELF, labels=None), DOOR))
    assert undecided(agent, "camera.shelf.labels.ripe")
    assert not undecided(agent, "camera.door.labels.apple")
    assert not undecided(agent, "camera.shelf2.labels.ripe")
