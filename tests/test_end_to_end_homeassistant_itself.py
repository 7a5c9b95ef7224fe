"""A running agent in a running Home Assistant, which is told nothing but where the broker is."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.agents import TOPICS, Listener
from tests.brokers import Broker, free_port, need_mosquitto, publish
from tests.places import ROOT
from tests.test_end_to_end_homeassistant import TWO, House
from tests.test_homeassistant import HOME_ASSISTANT, need_home_assistant
from tests.test_verbs import bundle

pytestmark = [need_mosquitto, need_home_assistant]

ENTRY: dict[str, object] = {
    "created_at": "2025-01-01T00:00:00+00:00",
    "modified_at": "2025-01-01T00:00:00+00:00",
    "disabled_by": None,
    "discovery_keys": {},
    "domain": "mqtt",
    "entry_id": "01JXMQTT000000000000000000",
    "minor_version": 2,
    "options": {},
    "pref_disable_new_entities": False,
    "pref_disable_polling": False,
    "source": "user",
    "subentries": [],
    "title": "mqtt",
    "unique_id": None,
    "version": 1,
}
"""What the dialogue for its MQTT integration leaves behind; the broker comes on top."""

MODEL, ROLLBACK, LABEL = "update.dock_model", "button.dock_model_rollback", "sensor.dock_scene_label"

States = dict[str, Any]


def configured(folder: Path, port: int) -> Path:
    """The configuration of a Home Assistant that has the MQTT integration and the probe."""
    (folder / ".storage").mkdir(parents=True)
    entry = {**ENTRY, "data": {"broker": "127.0.0.1", "port": port, "discovery": True}}
    entries = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}
    (folder / ".storage" / "core.config_entries").write_text(json.dumps(entries))
    http = f"http:\n  server_host: 127.0.0.1\n  server_port: {free_port()}\n"
    (folder / "configuration.yaml").write_text(f"{http}probe:\n")
    shutil.copytree(ROOT / "tests" / "homeassistant_probe", folder / "custom_components" / "probe")
    return folder


@contextmanager
def home_assistant(folder: Path, port: int) -> Iterator[None]:
    """One that runs; whatever happens, it ends with the ``with``."""
    assert HOME_ASSISTANT is not None
    with (folder.parent / "home-assistant.log").open("wb") as log:
        process = subprocess.Popen(
            [HOME_ASSISTANT, "-m", "homeassistant", "--skip-pip", "-c", configured(folder, port)],
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def test_home_assistant_shows_and_commands_the_agent(tmp_path: Path) -> None:
    """The label, a swap, a rollback by its button, an install by its update entity, a camera that goes."""
    bundle(tmp_path, "first")
    with Broker() as broker, Listener(broker.port, "#") as home:
        house = House(tmp_path, broker, home)

        def sees(condition: Callable[[States], bool]) -> bool:
            return home.tells("probe/states", condition)

        def calls(service: str, entity: str) -> None:
            asked = json.dumps({"service": service, "entity": entity})
            publish(broker.port, "probe/command", asked.encode())

        def versions(states: States) -> tuple[str, str, str]:
            state, attributes = states[MODEL]
            return state, attributes["installed_version"], attributes["latest_version"]

        with home_assistant(tmp_path / "hass", broker.port), house.agent(house.text(TWO)) as agent:
            assert sees(lambda states: LABEL in states and states[LABEL][0] in states[LABEL][1]["options"])
            assert sees(lambda states: "sensor.dock_gate_label" in states)
            first = versions(json.loads(home.payloads("probe/states")[-1]))[1]
            shutil.move(bundle(tmp_path, "second"), tmp_path / "state" / "inbox" / "default" / "new")
            publish(broker.port, TOPICS.request("model/install"), b'{"file": "new"}')
            assert sees(lambda states: versions(states)[1] != first)
            second = versions(json.loads(home.payloads("probe/states")[-1]))[1]
            assert sees(lambda states: states[ROLLBACK][0] != "unavailable")
            calls("button.press", ROLLBACK)
            assert sees(lambda states: versions(states) == ("on", first, second))
            calls("update.install", MODEL)
            assert sees(lambda states: versions(states) == ("off", second, second))
            agent.reload(house.text())
            assert sees(lambda states: not [entity for entity in states if "dock_gate" in entity])
            assert sees(lambda states: LABEL in states)
            assert 0 == agent.stop()
            assert sees(lambda states: states[LABEL][0] == "unavailable")
