"""edge_agent.config.secrets: where passwords and keys come from, and that they stay where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config.file import load_config, read_config
from edge_agent.config.text import effective
from edge_agent.errors import ConfigError

SECRET = "hunter2"


def write(folder: Path, mqtt: str) -> Path:
    """A configuration with these lines in [mqtt]."""
    path = folder / "config.toml"
    path.write_text(f"[mqtt]\n{mqtt}")
    return path


def password(path: Path, environ: dict[str, str]) -> str | None:
    """What the agent would log in with."""
    found = load_config(path, environ).mqtt.password
    return None if found is None else found.get_secret_value()


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    """The environment of a service to which systemd handed everything."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name in ("mqtt-ca", "mqtt-cert", "mqtt-key"):
        (folder / name).write_text(name)
    (folder / "mqtt-password").write_text(f"{SECRET}\n")
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def test_the_environment_wins_over_the_file_and_that_over_the_credential(
    tmp_path: Path, credentials: dict[str, str]
) -> None:
    """What is nearest to the start of the process counts."""
    (tmp_path / "password").write_text("from the file\n")
    path = write(tmp_path, "username = 'dock'\n")
    assert SECRET == password(path, credentials)
    path = write(tmp_path, "username = 'dock'\npassword_file = 'password'\n")
    assert "from the file" == password(path, credentials)
    assert "given" == password(path, {**credentials, "EDGE_AGENT_MQTT__PASSWORD": "given"})


def test_the_origin_is_shown_and_the_password_is_not(tmp_path: Path) -> None:
    """`config show` says where it is from."""
    path = write(tmp_path, "username = 'dock'\n")
    read = read_config(path, {"EDGE_AGENT_MQTT__PASSWORD": SECRET})
    shown = effective(read)
    assert "EDGE_AGENT_MQTT__PASSWORD" == read.origins["mqtt.password"]
    assert SECRET not in shown + repr(read)


def test_a_password_in_the_environment_needs_a_user_and_a_line(tmp_path: Path) -> None:
    """As one in a file does; the refusal does not quote it."""
    variable = {"EDGE_AGENT_MQTT__PASSWORD": SECRET}
    with pytest.raises(ConfigError, match="EDGE_AGENT_MQTT__PASSWORD: a password without a user") as raised:
        load_config(write(tmp_path, ""), variable)
    assert SECRET not in str(raised.value)
    path = write(tmp_path, "username = 'dock'\n")
    with pytest.raises(ConfigError, match="EDGE_AGENT_MQTT__PASSWORD: empty"):
        load_config(path, {"EDGE_AGENT_MQTT__PASSWORD": ""})


def test_keys_and_certificates_may_be_credentials(tmp_path: Path, credentials: dict[str, str]) -> None:
    """They fill in what [mqtt.tls] leaves out, and are shown with their origin."""
    folder = Path(credentials["CREDENTIALS_DIRECTORY"])
    read = read_config(write(tmp_path, "username = 'dock'\n[mqtt.tls]\n"), credentials)
    tls = read.config.mqtt.tls
    assert tls is not None
    assert (folder / "mqtt-ca", folder / "mqtt-cert", folder / "mqtt-key") == (
        tls.ca_file,
        tls.cert_file,
        tls.key_file,
    )
    assert "systemd credential" == read.origins["mqtt.tls.key_file"]


def test_the_file_wins_over_credentials(tmp_path: Path, credentials: dict[str, str]) -> None:
    """A path that was written down is meant."""
    path = write(tmp_path, "username = 'dock'\n[mqtt.tls]\nca_file = 'ca.pem'\ncert_file = 'own.pem'\n")
    tls = load_config(path, credentials).mqtt.tls
    assert tls is not None
    assert (tmp_path / "ca.pem", tmp_path / "own.pem") == (tls.ca_file, tls.cert_file)


def test_credentials_alone_turn_no_tls_on(tmp_path: Path, credentials: dict[str, str]) -> None:
    """The header does."""
    assert load_config(write(tmp_path, "username = 'dock'\n"), credentials).mqtt.tls is None


def test_a_key_without_a_certificate_is_left_alone(tmp_path: Path, credentials: dict[str, str]) -> None:
    """It would be of no use, and refused."""
    Path(credentials["CREDENTIALS_DIRECTORY"], "mqtt-cert").unlink()
    tls = load_config(write(tmp_path, "username = 'dock'\n[mqtt.tls]\n"), credentials).mqtt.tls
    assert tls is not None
    assert tls.key_file is None


def test_a_delayed_will_and_qos_2_do_not_go_together(tmp_path: Path) -> None:
    """The broker would take new messages for repeats of old ones."""
    with pytest.raises(ConfigError, match="will_delay_s needs qos 0 or 1"):
        load_config(write(tmp_path, "will_delay_s = 5\nqos = 2\n"), {})


@pytest.mark.parametrize("name", ["", "é", "a" * 256, "a\\tb"])
def test_a_protocols_name_is_ascii(tmp_path: Path, name: str) -> None:
    """TLS gives it one byte of length, and OpenSSL would refuse at the first connect only."""
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.alpn"):
        load_config(write(tmp_path, f'[mqtt.tls]\nalpn = "{name}"\n'), {})
