"""The whole agent, killed just before one of the boundaries on its disk, and then started again.

They are each fsync, fdatasync and rename below its ``state_dir`` while it installs a model, swaps to it and
goes back.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path

from edge_agent.control_socket import ControlClient
from edge_agent.errors import ControlError
from edge_agent.repository import Repository
from tests import swaps
from tests.agents import Agent, Listener
from tests.powercut import Step, library, taken
from tests.stages import bundle

SLOT = "default"


class Boundaries:
    """Two bundles, and a repository in which the first of them is installed."""

    def __init__(self, folder: Path, listener: Listener, shown: Path) -> None:
        self._folder = folder
        self._listener = listener
        self._shown = shown
        self.bundles = [bundle(folder / "bundles", name) for name in ("ash", "birch")]
        self._template = folder / "template"
        with self._agent(self._place("first")) as agent:
            assert agent.reaches("serves on the CPU"), agent.log()
            assert 0 == agent.stop()
        shutil.copytree(folder / "first" / "state", self._template, symlinks=True)

    def killed(self, at: int) -> tuple[bool, list[Step]]:
        """Have an agent killed before its boundary ``at``, and the next one serve; whether it was killed, and
        the boundaries before that.
        """
        place = self._place(f"at-{at}")
        state, log = place / "state", place / "boundaries"
        shutil.copytree(self._template, state, symlinks=True)
        cut = {"LD_PRELOAD": library(), "POWERCUT_ROOT": state, "POWERCUT_AT": at, "POWERCUT_LOG": log}
        with self._agent(place, {name: str(value) for name, value in cut.items()}) as agent:
            self._replace(agent, place)
            code = agent.stop() if agent.process.poll() is None else agent.ends()
            assert code in (0, -signal.SIGKILL), agent.log()
            assert agent.leaves_no_process()
        steps = taken(log)
        self._is_sound(place)
        shutil.rmtree(place)
        return code != 0, steps

    def _replace(self, agent: Agent, place: Path) -> None:
        """Up to the end of the agent."""
        if not agent.reaches("serves on the CPU"):
            return
        swaps.rename_over(self.bundles[1] / "bundle.toml", place / "model" / "bundle.toml")
        if not agent.reaches("has passed its probation"):
            return
        with contextlib.suppress(ControlError):  # it is killed before it answers
            ControlClient(place / "control.sock").ask("models/rollback", {"slot": SLOT})
        agent.reaches("has taken over", 2)

    def _is_sound(self, place: Path) -> None:
        """The next agent serves what is installed: there is nothing else. It is whole, and one of both."""
        shutil.rmtree(place / "model")
        with swaps.again(place, (place / "agent.toml").read_text()) as agent:
            swaps.begun(agent)
            assert self._listener.predicts_on(swaps.CAMERA, 5)
            assert 0 == agent.stop()
            assert [] == agent.log("ERROR")
        with Repository(place / "state", SLOT) as repository:
            current = repository.current
            assert current is not None
            assert current == repository.read(current).digest
            assert current[:12] in {swaps.digest(each) for each in self.bundles}

    def _place(self, name: str) -> Path:
        place = self._folder / name
        place.mkdir()
        shutil.copytree(self.bundles[0], place / "model")
        return place

    def _agent(self, place: Path, environment: dict[str, str] | None = None) -> Agent:
        written = swaps.text(self._listener.port, self._shown, place / "model", place)
        return Agent(place, written, environment=environment)
