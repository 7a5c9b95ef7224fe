"""edge_agent.config.file and its environment: what is read, and how a refusal reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.file import load_config, read_config
from edge_agent.config.models import Config
from edge_agent.config.tables import fields_of_table
from edge_agent.errors import ConfigError

DOOR = '[models.finish]\npath = "m"\n[cameras.front-door]\nsource = "clip.mp4"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with one camera."""
    path = tmp_path / "config.toml"
    path.write_text(DOOR)
    return path


def refusal(path: Path, environ: Mapping[str, str] | None = None) -> str:
    """The line that says why, without the folder."""
    with pytest.raises(ConfigError) as raised:
        load_config(path, environ or {})
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(f"{path.parent}/", "")


def test_the_command_line_wins_over_the_variable(file: Path) -> None:
    """-c FILE, else $EDGE_AGENT_CONFIG."""
    assert file == read_config(file, {"EDGE_AGENT_CONFIG": "/absent"}).path
    assert file == read_config(None, {"EDGE_AGENT_CONFIG": str(file)}).path


def test_paths_start_beside_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the same from wherever the agent is started, however the file is named."""
    monkeypatch.chdir(file.parent)
    config = load_config(Path(file.name), {})
    assert file.parent / "m" == config.models["finish"].path
    assert str(file.parent / "clip.mp4") == config.cameras["front-door"].source


def test_a_missing_file_names_its_remedy(tmp_path: Path) -> None:
    """Someone who has no configuration yet learns how to get one; exit 78."""
    assert 78 == ConfigError.exit_code
    expected = (
        "config.toml: no such file; create it: edge-agent config init -o config.toml; or name another with -c"
    )
    assert expected == refusal(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[models.m]\npath = 'm'\n[cameras.front-door]\nsource = 0\nfsp = 1",
            'config.toml: cameras.front-door.fsp: unknown key; did you mean "fps"?',
        ),
        ("[camera.x]", 'config.toml: camera: unknown key; did you mean "cameras"?'),
        (
            "[mqtt.tls]\nzzz = 1",
            "config.toml: mqtt.tls.zzz: unknown key; known here: ca_file, cert_file, key_file, alpn",
        ),
        ("[mqtt]\nqos = 3", "config.toml: mqtt.qos: must be less than or equal to 2, not 3"),
        ("[mqtt]\nqos = '1'", 'config.toml: mqtt.qos: must be a whole number, not "1"'),
        ("[mqtt]\ntls = true", "config.toml: mqtt.tls: must be a table, not true"),
        ("[mqtt.tls]\nkey_file = 'k'", "config.toml: mqtt.tls: key_file needs cert_file"),
        (
            "[updates]\ndrives = '/media'",
            "config.toml: updates: drives needs public_key, for anybody can plug in a drive; set it to the "
            "key that signs the models, or remove drives",
        ),
        ("[mqtt]\nprotocol = 5", 'config.toml: mqtt.protocol: must be "auto", "5" or "3.1.1", not 5'),
        ("[models]\npath = 'm'", 'config.toml: models.path: must be a table, not "m"'),
        ("[models.x]", "config.toml: models.x.path: is missing"),
        (
            "[agent]\nname = 'a b'",
            'config.toml: agent.name: must be 1 to 64 letters, digits, _ and -, not "a b"',
        ),
        (
            "[cameras.a]\nsource = 0",
            'config.toml: cameras.a.model: there is no slot "default" (there are: none); '
            "add a section [models.default]",
        ),
        (
            "[cameras.a]\nsource = 0\n[cameras.a.facts]\nat_least = [3, 2]",
            "config.toml: cameras.a.facts.at_least: must be [k, n]: whole numbers, 1 <= k <= n <= 1000",
        ),
        (
            "[cameras.a]\nsource = 0\n[cameras.a.facts]\nenter = 0.5\nleave = 0.6",
            "config.toml: cameras.a.facts: leave must be at most enter (0.5), not 0.6",
        ),
        (
            "[cameras.a]\nsource = 0\n[cameras.a.facts.labels.'fiesta red']\nentre = 1",
            'config.toml: cameras.a.facts.labels.fiesta red.entre: unknown key; did you mean "enter"?',
        ),
        ("[mqtt]\nport = \nqos = 1", "config.toml: not valid TOML: Invalid value (at line 2, column 8)"),
        ("x = " + "[" * 5000, "config.toml: not valid TOML: nested too deeply"),
    ],
)
def test_a_refusal_names_place_key_and_wrong(tmp_path: Path, text: str, line: str) -> None:
    """One line says which file, which key, what is wrong, and the nearest known key."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert line == refusal(path)


def test_several_refusals_share_the_line(tmp_path: Path) -> None:
    """Three faults are told, the others counted."""
    path = tmp_path / "config.toml"
    path.write_text("[mqtt]\na = 1\nb = 1\nqos = 9\nport = 0\n[agent]\nc = 1\n")
    line = refusal(path)
    assert 3 == line.count("config.toml: ")
    assert line.endswith("(and 2 more)")


def test_a_refusal_keeps_a_cameras_password(tmp_path: Path) -> None:
    """Whoever reads the log learns no password."""
    path = tmp_path / "config.toml"
    path.write_text('[cameras.a]\nsource = "rtsp://u:hunter2@camera/\\n"\n')
    line = refusal(path)
    assert "rtsp://***@camera" in line
    assert "hunter2" not in line


def test_is_bounded(tmp_path: Path) -> None:
    """A file that has no end is no configuration."""
    assert refusal(Path("/dev/zero")).startswith("zero: larger than 1 MiB")
    assert refusal(tmp_path).endswith("cannot be read: Is a directory; name another with -c")


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("EDGE_AGENT_AGENT__NAME", "7", "agent.name", "7"),
        ("EDGE_AGENT_MQTT__PORT", "8883", "mqtt.port", 8883),
        ("EDGE_AGENT_MQTT__PROTOCOL", "5", "mqtt.protocol", "5"),
        ("EDGE_AGENT_MQTT__HOME_ASSISTANT__ENABLED", "true", "mqtt.home_assistant.enabled", True),
        ("EDGE_AGENT_INFERENCE__STANDBY", "False", "inference.standby", False),
        ("EDGE_AGENT_INFERENCE__TIMEOUT_S", "3", "inference.timeout_s", 3.0),
        ("EDGE_AGENT_MODELS__FINISH__TOP_K", "1", "models.finish.top_k", 1),
        ("EDGE_AGENT_CAMERAS__FRONT_DOOR__FPS", "0.5", "cameras.front-door.fps", 0.5),
        ("EDGE_AGENT_CAMERAS__FRONT_DOOR__ROTATE", "90", "cameras.front-door.rotate", 90),
        (
            "EDGE_AGENT_CAMERAS__FRONT_DOOR__REGION",
            "[0,0,1,0.5]",
            "cameras.front-door.region",
            (0, 0, 1, 0.5),
        ),
        ("EDGE_AGENT_CAMERAS__BACK__SOURCE", "0", "cameras.back.source", "0"),
        ("EDGE_AGENT_CAMERAS__A__B__SOURCE", "1", "cameras.a__b.source", "1"),
        ("EDGE_AGENT_CAMERAS__FRONT_DOOR__FACTS__ENTER", "0.5", "cameras.front-door.facts.enter", 0.5),
        (
            "EDGE_AGENT_CAMERAS__FRONT_DOOR__FACTS__AT_LEAST",
            "[2, 3]",
            "cameras.front-door.facts.at_least",
            (2, 3),
        ),
        (
            "EDGE_AGENT_CAMERAS__FRONT_DOOR__MASK",
            "[[0,0,1,0.5]]",
            "cameras.front-door.mask",
            ((0, 0, 1, 0.5),),
        ),
        (
            "EDGE_AGENT_CAMERAS__FRONT_DOOR__SNAPSHOTS__EVERY_S",
            "60",
            "cameras.front-door.snapshots.every_s",
            60.0,
        ),
    ],
)
def test_the_environment_wins(file: Path, variable: str, text: str, key: str, value: object) -> None:
    """A variable reaches every kind of key, at every depth, and is known as the origin."""
    read = read_config(file, {variable: text, "UNRELATED": "x", "EDGE_AGENT_TEST_DATA": "/data"})
    found: Any = read.config
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert value == found
    assert variable == read.origins[key]


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        (
            "EDGE_AGENT_CAMERAS__FRONT_DOOR__FSP",
            "1",
            'environment: EDGE_AGENT_CAMERAS__FRONT_DOOR__FSP: unknown key; did you mean "'
            'EDGE_AGENT_CAMERAS__FRONT_DOOR__FPS"?',
        ),
        ("EDGE_AGENT_MQTT__PORT", "x", 'environment: EDGE_AGENT_MQTT__PORT: must be a whole number, not "x"'),
        (
            "EDGE_AGENT_MQTT__PORT",
            "1\nx=2",
            'environment: EDGE_AGENT_MQTT__PORT: must be a whole number, not "1\\nx=2"',
        ),
        ("EDGE_AGENT_MQTT", "x", 'environment: EDGE_AGENT_MQTT: must be a table, not "x"'),
        (
            "EDGE_AGENT_CAMERAS__DOOR",
            "x",
            "environment: EDGE_AGENT_CAMERAS__DOOR: no key; it takes EDGE_AGENT_CAMERAS__NAME__KEY",
        ),
        (
            "EDGE_AGENT_HOST",
            "x",
            "environment: EDGE_AGENT_HOST: unknown key; known here: agent, mqtt, outbox, inference, updates, "
            "metrics, models, cameras",
        ),
    ],
)
def test_a_variable_that_fits_nothing_is_refused(file: Path, variable: str, text: str, line: str) -> None:
    """A misspelt variable is told like a misspelt key, by its own name."""
    assert line == refusal(file, {variable: text})


def test_a_variable_that_fits_two_names_is_refused(tmp_path: Path) -> None:
    """Which of two cameras is meant is not guessed."""
    path = tmp_path / "config.toml"
    path.write_text('[models.m]\npath = "m"\n[cameras.a-b]\nsource = 0\n[cameras.A_B]\nsource = 1\n')
    assert "fits a-b and A_B" in refusal(path, {"EDGE_AGENT_CAMERAS__A_B__FPS": "1"})


def test_a_name_of_the_file_comes_before_a_table(tmp_path: Path) -> None:
    """A camera that is called as a table is, is reached all the same."""
    path = tmp_path / "config.toml"
    path.write_text('[models.m]\npath = "m"\n[cameras.a__facts]\nsource = 0\n')
    assert 1.0 == load_config(path, {"EDGE_AGENT_CAMERAS__A__FACTS__FPS": "1"}).cameras["a__facts"].fps


def test_a_variable_below_a_plain_value_is_refused(tmp_path: Path) -> None:
    """A key of a table cannot be set where the file has no table."""
    path = tmp_path / "config.toml"
    path.write_text("mqtt = 1\n")
    expected = "environment: EDGE_AGENT_MQTT__HOST: mqtt is no table; unset the variable"
    assert expected == refusal(path, {"EDGE_AGENT_MQTT__HOST": "x"})


def with_password(tmp_path: Path, content: bytes | None, username: str = 'username = "dock"') -> Path:
    """A configuration whose password file holds this."""
    path = tmp_path / "config.toml"
    path.write_text(f'[mqtt]\n{username}\npassword_file = "secret"\n')
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_reads_the_password(tmp_path: Path, content: bytes) -> None:
    """The line end that editors add is no part of the password."""
    read = read_config(with_password(tmp_path, content), {})
    assert read.config.mqtt.password
    assert "hunter2" == read.config.mqtt.password.get_secret_value()
    assert "password_file" == read.origins["mqtt.password"]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "cannot be read: No such file"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xff", "not UTF-8"),
        (b"two\nlines", "more than one line"),
        (b"x" * 70_000, "more than one line, or too long"),
    ],
)
def test_a_password_that_is_none_is_refused(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    """The agent never goes on without the password it was promised."""
    line = refusal(with_password(tmp_path, content))
    assert f"mqtt.password_file secret: {wrong}" in line
    assert "write the password" in line


def test_a_password_needs_a_user(tmp_path: Path) -> None:
    """MQTT 3.1.1 forbids a password alone."""
    assert refusal(with_password(tmp_path, b"x", "")).endswith("a password without a user; set mqtt.username")


def test_a_systemd_credential_is_the_password(tmp_path: Path, file: Path) -> None:
    """LoadCredential=mqtt-password serves where no password_file is named; none is no fault."""
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "EDGE_AGENT_MQTT__USERNAME": "dock"}
    assert load_config(file, environ).mqtt.password is None
    (tmp_path / "mqtt-password").write_text("hunter2\n")
    password = load_config(file, environ).mqtt.password
    assert password
    assert "hunter2" == password.get_secret_value()


TABLES = [
    "agent",
    "mqtt",
    "mqtt.tls",
    "mqtt.home_assistant",
    "inference",
    "models.a",
    "cameras.a",
    "cameras.b-c",
    "cameras.b-c.facts",
]
KEYS = {table: [*fields_of_table(table.split(".")), "a", ""] for table in TABLES}
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.just(2**20_000),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["auto", "m", "a", "scene:finishes", "90", "rtsp://a:b@c"]),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=4), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
)


def as_toml(value: object) -> str:
    """Any value as TOML, so that what is tested is the reading of files."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(key)} = {as_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_toml(inner) for inner in value) + "]"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    return hex(value) if isinstance(value, int) and value > 10**100 else json.dumps(value)


@st.composite
def toml_files(draw: st.DrawFn) -> str:
    """Known tables with known and unknown keys and values of all kinds."""
    lines = []
    for table in draw(st.lists(st.sampled_from(TABLES), unique=True)):
        keys = draw(st.dictionaries(st.sampled_from(KEYS[table]), VALUES, max_size=4))
        lines += [f"[{table}]", *(f"{as_toml(key)} = {as_toml(value)}" for key, value in keys.items())]
    return "\n".join(lines)


VARIABLES = st.one_of(
    st.sampled_from(TABLES).flatmap(
        lambda table: st.sampled_from(KEYS[table]).map(
            lambda key: "__".join(["EDGE_AGENT_" + table.replace(".", "__").replace("-", "_"), key]).upper()
        )
    ),
    st.text(max_size=12).map("EDGE_AGENT_".__add__),
    st.just("CREDENTIALS_DIRECTORY"),
)


def outcome(folder: Path, content: bytes, environ: Mapping[str, str]) -> type[Config | ConfigError]:
    """What reading gives; any other exception goes through."""
    path = folder / "config.toml"
    path.write_bytes(content)
    try:
        return type(load_config(path, environ))
    except ConfigError:
        return ConfigError


@settings(deadline=None)
@given(
    text=st.one_of(toml_files(), st.text()),
    environ=st.dictionaries(VARIABLES, st.text(max_size=10), max_size=3),
)
def test_anything_gives_a_config_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, environ: dict[str, str]
) -> None:
    """No file and no environment ends in anything else."""
    folder = tmp_path_factory.getbasetemp()
    assert outcome(folder, text.encode("utf-8", "surrogatepass"), environ) in (Config, ConfigError)


@settings(deadline=None)
@given(content=st.binary())
def test_any_bytes_give_a_config_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Nor do bytes that are no text."""
    assert outcome(tmp_path_factory.getbasetemp(), content, {}) in (Config, ConfigError)
