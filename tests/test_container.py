"""Dockerfile.arm64, the compose file and their page: they name what there is, and agree with one another."""

from __future__ import annotations

import json
import re

import click

from edge_agent.cli import edge_agent
from edge_agent.config import Config
from edge_agent.config.file import DEFAULT_PATH
from tests.places import ROOT

DOCKERFILE = (ROOT / "Dockerfile.arm64").read_text()
COMPOSE = (ROOT / "docs" / "container" / "compose.yaml").read_text()
PAGE = (ROOT / "docs" / "container.md").read_text()


def said_last(instruction: str) -> list[str]:
    """The JSON list behind the last of these instructions."""
    found: list[str] = json.loads(re.findall(rf"\b{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1])
    return found


def test_what_is_copied_is_there_and_let_in() -> None:
    """A build fails on a file that is missing, or that .dockerignore keeps out."""
    ignored, *let_in = (
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    )
    assert "*" == ignored
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    ]
    assert {f"!{source}" for source in copied} == {line for line in let_in if line.startswith("!")}
    assert [] == [source for source in copied if not (ROOT / source).exists()]


def test_the_commands_exist() -> None:
    """What runs, and what asks for its health, are commands of the program."""
    assert "edge-agent" == said_last("ENTRYPOINT")[-1]
    for name in (said_last("CMD")[0], said_last("HEALTHCHECK .* CMD")[1]):
        assert edge_agent.get_command(click.Context(edge_agent), name) is not None


def test_what_is_written_lies_on_a_volume_or_in_run() -> None:
    """The root file system is read-only: the places of the default configuration are mounted."""
    config = Config()
    state, socket = str(config.agent.state_dir), config.agent.socket
    assert {str(DEFAULT_PATH.parent), state} == set(said_last("VOLUME"))
    for text in (COMPOSE, PAGE):
        assert f":{state}\n" in text or f":{state} " in text
        assert f":{DEFAULT_PATH.parent}:ro" in text
    assert socket.is_relative_to("/run")
    assert re.search(r"tmpfs:\n\s+- /run\n", COMPOSE)
    assert "--read-only --tmpfs /run " in PAGE


def test_the_user_is_the_one_that_the_page_names() -> None:
    """Who mounts a secret must know whom to let read it."""
    (uid,) = re.findall(r"useradd --uid (\d+) ", DOCKERFILE)
    assert f"user {uid} " in PAGE


def test_it_can_be_configured_as_the_service_can() -> None:
    """The extras that the system service is installed with are in the image, for there is no pip."""
    (extras,) = re.findall(r"'/source\[([a-z,]+)\]'", DOCKERFILE)
    assert "service" in extras.split(",")
