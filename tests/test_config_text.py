"""edge_agent.config.text: the commented file and what is shown."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config import Config
from edge_agent.config.file import load_config, read_config
from edge_agent.config.text import effective, effective_json, example, toml

MODEL = Path("/srv/models/finish")
KEYS_ONLY = {"models": {"default": {"path": str(MODEL)}}, "cameras": {"scene": {"source": "scene:finishes"}}}


def test_the_example_is_the_defaults() -> None:
    """As it stands it changes nothing but to name a model and a camera, so later defaults still apply."""
    tables = tomllib.loads(example(MODEL))
    assert Config.model_validate(KEYS_ONLY) == Config.model_validate(tables)


def test_the_example_says_all(tmp_path: Path) -> None:
    """With every # before a key or table removed it is a configuration that sets every key."""
    (tmp_path / "secret").write_text("x")
    text = re.sub(r"(?m)^#(?=[a-z\[])", "", example(MODEL))
    text = text.replace('"/etc/edge-agent/mqtt-password"', '"secret"')
    path = tmp_path / "config.toml"
    path.write_text(text)
    read = read_config(path, {})
    keys = {key for key in effective_json(read)["origins"] if key != "mqtt.password"}
    assert keys == {key for key, origin in read.origins.items() if origin == "file"}
    assert load_config(path, {}).mqtt.tls is not None


def test_the_example_fits_a_terminal() -> None:
    """No line is wrapped by an editor over a serial line of 110 columns."""
    assert 110 >= max(map(len, example(MODEL).splitlines()))


def shown(tmp_path: Path, text: str, environ: dict[str, str]) -> tuple[str, dict[str, object]]:
    """What is shown of a configuration: as TOML, as an object."""
    path = tmp_path / "config.toml"
    path.write_text('[models.m]\npath = "m"\n' + text)
    read = read_config(path, environ)
    return effective(read), effective_json(read)


def test_shows_the_origin_of_each_key(tmp_path: Path) -> None:
    """File, variable or default: whoever wonders where a value comes from sees it."""
    text, described = shown(tmp_path, "[mqtt]\nport = 1884\n", {"EDGE_AGENT_MQTT__HOST": "broker"})
    lines = [re.sub(" +", " ", line) for line in text.splitlines()]
    assert "port = 1884 # file" in lines
    assert 'host = "broker" # EDGE_AGENT_MQTT__HOST' in lines
    assert "qos = 1 # default" in lines
    assert described["file"] == str(tmp_path / "config.toml")
    json.dumps(described)


def test_shows_no_secret(tmp_path: Path) -> None:
    """The password is masked in both forms, and so is a camera's."""
    (tmp_path / "secret").write_text("hunter2")
    text, described = shown(
        tmp_path,
        '[mqtt]\nusername = "u"\npassword_file = "secret"\n[cameras.a]\nsource = "rtsp://u:hunter2@c"\n',
        {},
    )
    assert "hunter2" not in text + json.dumps(described)
    assert "********" in text
    assert "password_file" == re.search(r"# password = .*# (\w+)", text)[1]  # type: ignore[index]


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    """The effective values are a configuration that has the same effect."""
    cameras = "[cameras.a]\nsource = 0\nregion = [0, 0, 0.5, 1]\n[cameras.b]\nsource = 'photos/'\n"
    cameras += "[cameras.a.facts.labels.'Käse No. 5']\nenter = 0.5\nat_least = [2, 3]\n"
    text, _ = shown(
        tmp_path, f'[mqtt.tls]\nca_file = "ca.pem"\n{cameras}', {"EDGE_AGENT_CAMERAS__A__FPS": "1e-7"}
    )
    path = tmp_path / "again.toml"
    path.write_text(text)
    assert load_config(tmp_path / "config.toml", {"EDGE_AGENT_CAMERAS__A__FPS": "1e-7"}) == load_config(
        path, {}
    )


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@given(value=st.one_of(SCALARS, st.lists(SCALARS)))
def test_any_value_survives_toml(value: object) -> None:
    """What is written is what a TOML parser reads."""
    assert value == tomllib.loads(f"value = {toml(value)}")["value"]
