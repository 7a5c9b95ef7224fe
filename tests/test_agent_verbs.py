"""agent_verbs.py: what is asked of the agent as a whole and of its cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent_verbs import Agent, AgentVerbs
from edge_agent.asked import Asked
from edge_agent.beside import Beside
from edge_agent.config import Config
from edge_agent.config.overrides import Overrides
from edge_agent.control_socket import Answer, ControlRequest
from edge_agent.errors import ConfigError
from tests.test_overrides import configured
from tests.test_shutter import Desk


def never() -> None:
    """A configuration that cannot be followed."""
    raise ConfigError("cameras.door: no such device", "plug it in")


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [("pause", {"camera": "door"}), ("threshold/set", {"camera": "door", "threshold": 0.7})],
)
def test_what_cannot_be_followed_is_not_in_force(
    tmp_path: Path, verb: str, arguments: dict[str, Any]
) -> None:
    """It is answered with why, and no later request brings it back."""
    overrides = Overrides(configured(tmp_path))
    desk = Desk()
    answers: list[Answer] = []

    def config() -> Config:
        return overrides.config

    agent = Agent("dock", config, list, never, lambda _cameras: [], never)
    verbs = AgentVerbs(agent, overrides, desk.shutter, Beside(lambda: None)).verbs
    with pytest.raises(ConfigError):
        verbs[verb](Asked(ControlRequest(verb, arguments, None, answers.append)))
    assert {} == overrides.dotted()
    assert overrides.base == overrides.config
