"""What belongs to [mqtt] and not into its file: the password, and the keys that systemd hands over.

A secret comes from a file of its own, from a systemd credential (``LoadCredential=``), or from the
environment; never from the configuration itself, nor from an argument, which the list of processes shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from edge_agent.config.models import MqttConfig, TlsConfig
from edge_agent.errors import ConfigError

PASSWORD_VARIABLE = "EDGE_AGENT_MQTT__PASSWORD"  # noqa: S105  its name, not the password
CREDENTIAL = "systemd credential"
"""The origin of what systemd handed over."""

_TLS_CREDENTIALS = {"ca_file": "mqtt-ca", "cert_file": "mqtt-cert", "key_file": "mqtt-key"}
_PASSWORD_LIMIT = 65_535  # what MQTT's CONNECT can carry
_PASSWORD_REMEDY = "write the password, and nothing else, into it, readable for the agent's user"  # noqa: S105


def with_secrets(mqtt: MqttConfig, environ: Mapping[str, str]) -> tuple[MqttConfig, dict[str, str]]:
    """The same with password and TLS files, and the origin of each key that was found.

    Raises:
        ConfigError: what is there cannot be used.
    """
    origins: dict[str, str] = {}
    password, origin = _password(mqtt, environ)
    if mqtt.tls is not None:
        found = _tls_files(mqtt.tls, environ)
        mqtt = mqtt.model_copy(update={"tls": mqtt.tls.model_copy(update=found)})
        origins |= {f"mqtt.tls.{key}": CREDENTIAL for key in found}
    if password is not None:
        mqtt = mqtt.with_password(password)
        origins["mqtt.password"] = origin
    return mqtt, origins


def _tls_files(tls: TlsConfig, environ: Mapping[str, str]) -> dict[str, Path]:
    """What the file left out; a key only to a certificate that came with it, or that has none in its file."""
    found = {key: _credential(name, environ) for key, name in _TLS_CREDENTIALS.items()}
    left_out = {key: path for key, path in found.items() if path is not None and getattr(tls, key) is None}
    if tls.cert_file is None and "cert_file" not in left_out:
        left_out.pop("key_file", None)
    return left_out


def _password(mqtt: MqttConfig, environ: Mapping[str, str]) -> tuple[SecretStr | None, str]:
    """The password and where it is from: the variable, else ``password_file``, else the credential."""
    if (given := environ.get(PASSWORD_VARIABLE)) is not None:
        where, origin = f"environment: {PASSWORD_VARIABLE}", PASSWORD_VARIABLE
        password = _one_line(given, where, "put the password, and nothing else, into it")
    elif mqtt.password_file is not None:
        where, origin = f"mqtt.password_file {mqtt.password_file}", "password_file"
        password = password_in(mqtt.password_file, where)
    elif (credential := _credential("mqtt-password", environ)) is not None:
        where, origin = f"{CREDENTIAL} {credential}", CREDENTIAL
        password = password_in(credential, where)
    else:
        return None, ""
    if mqtt.username is None:
        raise ConfigError(f"{where}: a password without a user", "set mqtt.username")
    return password, origin


def _credential(name: str, environ: Mapping[str, str]) -> Path | None:
    """Where systemd put it; None where it did not."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    try:
        return path if folder and (path := Path(folder, name)).exists() else None
    except (OSError, ValueError):
        return None


def password_in(path: Path, where: str) -> SecretStr:
    """The one line of a file; ``where`` is what an error calls it. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            text = file.read(_PASSWORD_LIMIT + 3).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8", _PASSWORD_REMEDY) from None
    except (OSError, ValueError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"{where}: cannot be read: {said}", _PASSWORD_REMEDY) from None
    return _one_line(text, where, _PASSWORD_REMEDY)


def _one_line(text: str, where: str, remedy: str) -> SecretStr:
    text = text.rstrip("\r\n")
    if not text:
        raise ConfigError(f"{where}: empty", remedy)
    if "\n" in text or len(text.encode("utf-8", "surrogateescape")) > _PASSWORD_LIMIT:
        raise ConfigError(f"{where}: more than one line, or too long", remedy)
    return SecretStr(text)
