"""README and docs/: what they show is what the program takes and sends."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from jinja2 import Environment, StrictUndefined

from edge_agent import messages
from edge_agent.assembly import camera_settings
from edge_agent.bundle.settings import BundleSettings, parse_settings
from edge_agent.cameras import CameraSettings
from edge_agent.cameras.kinds import source_for
from edge_agent.cli import edge_agent
from edge_agent.config import Config
from edge_agent.messages import Message, Topics, to_json
from edge_agent.remote import CHANGES, FROM_INBOX, READS
from tests.places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MQTT_PAGE = ROOT / "docs" / "mqtt.md"

KINDS: dict[str, type[Message]] = {
    model.model_fields["schema_"].default: model
    for model in vars(messages).values()
    if isinstance(model, type) and issubclass(model, Message) and "schema_" in model.model_fields
}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?edge-agent (.+)$", re.MULTILINE)
_INLINE = re.compile(r"`edge-agent ([^`]+)`")
_SOURCE = re.compile(r"""[`"]((?:rtsp|http|picamera|scene):[^\s`"]+)[`"]""")
_END = frozenset({"|", "||", "&&", ";", ">", "2>", "&"})


def fences(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for kind, body in _FENCE.findall(page.read_text()) if kind == language]


def cases(language: str) -> list[Any]:
    """Every fenced block of all pages, as parameters with readable names."""
    return [
        pytest.param(body, id=f"{page.name}-{number}")
        for page in PAGES
        for number, body in enumerate(fences(page, language), start=1)
    ]


def test_no_automation_takes_an_old_event_for_a_new_one() -> None:
    """One that waited for the broker is told late: each example looks at when it happened."""
    (automations,) = fences(ROOT / "docs" / "facts.md", "yaml")
    conditions = re.findall(r'"\{\{ (now\(\) - .+) \}\}"', automations)
    assert automations.count("trigger: mqtt") == len(conditions)
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    environment = Environment(undefined=StrictUndefined)
    environment.globals |= {
        "now": lambda: noon,
        "as_datetime": datetime.fromisoformat,
        "timedelta": timedelta,
    }
    moments = {"2026-11-20T11:59:30.000000Z": True, "2026-11-20T03:00:00.000000Z": False}
    for condition in conditions:
        for moment, fresh in moments.items():
            trigger = {"payload_json": {"began_at": moment, "ended_at": moment}}
            assert fresh is environment.compile_expression(condition)(trigger=trigger)
    (flow,) = fences(ROOT / "docs" / "facts.md", "javascript")
    assert "Date.now() - Date.parse(event.ended_at)" in flow


def commands() -> Iterator[tuple[str, str, bool]]:
    """Page, what follows ``edge-agent``, and whether it stands in a block, ready to be typed."""
    for page in PAGES:
        text = page.read_text()
        for body in fences(page, ""):
            for found in _COMMAND.findall(body):
                # What the program prints may begin with its name, too.
                if re.fullmatch(r"-?[a-z-]+", found.split()[0]):
                    yield page.name, found, True
        for found in _INLINE.findall(_FENCE.sub("", text)):
            yield page.name, " ".join(found.split()), False


def words(line: str) -> list[str]:
    """A command's arguments: up to a comment, a pipe or the next command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    taken: list[str] = []
    for word in lexer:
        if word in _END:
            break
        taken.append(word)
    return taken


def test_there_is_something_to_look_at() -> None:
    """The other tests hold for what they find; this one, that they find it."""
    assert {"README.md", "mqtt.md", "models.md", "cameras.md"} <= {page.name for page in PAGES}
    assert {"prediction", "event", "camera", "model", "health"} == {
        json.loads(body)["schema"].split("/")[1] for body in fences(MQTT_PAGE, "json")
    }
    assert 5 <= len(list(commands()))


@pytest.mark.parametrize("body", fences(MQTT_PAGE, "json"))
def test_each_message_shown_is_one_of_ours(body: str) -> None:
    """Each JSON example has all keys of its schema and no other."""
    shown = json.loads(body)
    message = KINDS[shown["schema"]].model_validate_json(body)
    assert shown == json.loads(to_json(message))


@pytest.mark.parametrize("body", cases("toml"))
def test_each_toml_shown_is_taken(body: str) -> None:
    """A bundle.toml is taken as one, everything else as (a part of) a configuration, sources included."""
    tables = tomllib.loads(body)
    if set(tables) <= set(BundleSettings.model_fields):
        parse_settings(body.encode(), "bundle.toml")
        return
    cameras = tables.get("cameras", {}).values()
    slots = tables.setdefault("models", {})
    for camera in cameras:
        slots.setdefault(camera.get("model", "default"), {"path": "left/out"})
    config = Config.model_validate(tables, context={"base": Path("/etc/edge-agent")})
    for name, each in config.cameras.items():
        source_for(camera_settings(name, each))


@pytest.mark.parametrize("source", _SOURCE.findall((ROOT / "docs" / "cameras.md").read_text()))
def test_each_source_shown_is_known(source: str) -> None:
    """No kind of source and no option is documented that does not exist."""
    source_for(CameraSettings("door", source))


@pytest.mark.parametrize(("page", "line", "is_whole"), list(commands()))
def test_each_command_shown_exists(page: str, line: str, is_whole: bool) -> None:
    """Its names, its options, and in a block its arguments too, are those that the program takes."""
    arguments = [word for word in words(line) if word not in ("--help", "--version", "--debug")]
    command: click.Command = edge_agent
    context = click.Context(edge_agent, info_name="edge-agent")
    while isinstance(command, click.Group) and arguments:
        found = command.get_command(context, arguments[0])
        assert found is not None, f"{page}: edge-agent {line}"
        command, arguments = found, arguments[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in arguments if word.startswith("-")} <= known
    if is_whole and arguments:
        command.make_context(command.name, arguments)


def test_each_topic_shown_is_published() -> None:
    """No example subscribes to a topic of which nothing will ever come."""
    topics = Topics("edge-agent", "dock")
    told = {topics.availability, topics.health, topics.model("default"), topics.model("second")}
    for camera in ("tray", "belt", "yard"):
        told |= {topics.camera_availability(camera), topics.prediction(camera)}
        told |= {topics.label(camera), topics.status(camera), topics.event(camera)}
    asked = {*READS, *CHANGES, *FROM_INBOX}
    told |= {topic for verb in asked for topic in (topics.request(verb), topics.response(verb))}
    told.add(topics.response("#").removesuffix("/#"))
    shown = set(re.findall(r"edge-agent/dock/[\w/-]*\w", MQTT_PAGE.read_text()))
    assert shown
    assert shown <= told
