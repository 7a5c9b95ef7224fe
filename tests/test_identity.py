"""identity.py: an id that lasts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.identity import FILE, agent_id


def test_it_is_made_once(tmp_path: Path) -> None:
    """Another name, another start: the same agent. Two agents are two."""
    state_dir = tmp_path / "state"
    made = agent_id(state_dir, "dock")
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert made == agent_id(state_dir, "gate")
    assert made != agent_id(tmp_path / "other", "dock")


def test_a_damaged_one_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, for Home Assistant sees another device then."""
    (tmp_path / FILE).write_bytes(b"\0" * 33)
    made = agent_id(tmp_path, "dock")
    assert "holds no id" in caplog.text
    assert made == agent_id(tmp_path, "dock")


@pytest.mark.parametrize("kept", [True, False])
def test_without_a_state_dir_it_follows_from_the_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: bool
) -> None:
    """A file in the way of the folder stands for any disk that refuses: the same name has the same id."""
    state_dir = tmp_path / "state"
    if kept:
        (state_dir / FILE).mkdir(parents=True)
    else:
        state_dir.write_text("")
    first = agent_id(state_dir, "dock")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first == agent_id(state_dir, "dock")
    assert first != agent_id(state_dir, "gate")
    assert "give it a state_dir that it may write to" in caplog.text
