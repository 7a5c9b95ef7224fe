"""The real agent as a user without rights: what it may not read or write; what it says heals that."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import swaps
from tests.agents import Agent, Listener, sturdy_broker
from tests.drives import Drive
from tests.losses import pictures
from tests.places import ROOT, need_data
from tests.stages import bundle
from tests.swaps import CAMERA, again, begun, refused, serves

pytestmark = need_data

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

PROBE = "import subprocess, sys, edge_agent.daemon; subprocess.run([sys.executable, '-c', ''], check=True)"

OPENED = """
set -e
mount --bind "$1" "$2"
mount -t tmpfs -o mode=755 tmpfs "$3"
mkdir -p "$1"
mount --bind "$2" "$1"
shift 3
exec "$@"
"""
"""In a mount namespace of its own $3 holds nothing but the Python $1, for all to run; $2 is a folder."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Hears everything."""
    with sturdy_broker() as broker, Listener(broker.port) as heard:
        yield heard


class House:
    """A folder that everybody may enter, with an agent of the user ``nobody`` and what that user owns."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.first, self.second = bundle(folder, "first"), bundle(folder, "second")
        self.path = folder / "srv" / "models" / "finish"
        shutil.copytree(self.first, self.path)
        self.state = folder / "state"
        self.inbox = self.state / "inbox" / "default"
        self.inbox.mkdir(parents=True)
        _give(folder, NOBODY)
        self.written = swaps.text(port, pictures(folder, swaps.SHOWN), self.path, folder)

    def agent(self, name: str = "agent") -> Agent:
        """Not started yet."""
        place = self.folder / name
        place.mkdir()
        return Agent(place, self.written, through=as_nobody(self.folder))


def as_nobody(folder: Path) -> list[str]:
    """Runs a command so; where this Python is in somebody's closed home, that is opened for it alone."""
    python = Path(sys.executable).resolve().parents[1]
    closed = [each for each in reversed(python.parents) if not each.stat().st_mode & 0o001]
    if not closed:
        return AS_NOBODY
    place = folder / "python"
    place.mkdir(exist_ok=True)
    opened = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", OPENED, "sh"]
    return [*opened, str(python), str(place), str(closed[0]), *AS_NOBODY]


@pytest.fixture
def house(listener: Listener) -> Iterator[House]:
    """A house."""
    with tempfile.TemporaryDirectory(prefix="edge-agent-rights-") as name:
        Path(name).chmod(0o755)
        command = [*as_nobody(Path(name)), sys.executable, "-c", PROBE]
        if (
            os.geteuid() != 0
            or subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
        ):
            pytest.skip("only root can run the agent as another user, who must be allowed to run it")
        yield House(Path(name), listener.port)


def _give(place: Path, user: int) -> None:
    for each in [place, *place.rglob("*")]:
        os.chown(each, user, user, follow_symlinks=False)


def _file_of_root(house: House) -> None:
    swaps.rename_over(house.second / "bundle.toml", house.path / "bundle.toml")
    (house.path / "bundle.toml").chmod(0o600)


def _folder_of_root(house: House) -> None:
    house.path.rename(house.folder / "old")
    house.second.chmod(0o700)
    os.chown(house.second, 0, 0)
    house.second.rename(house.path)


def _closed_above(house: House) -> None:
    house.path.parents[1].chmod(0o700)
    os.chown(house.path.parents[1], 0, 0)
    swaps.rename_over(house.second / "bundle.toml", house.path / "bundle.toml")


def _inbox_file_of_root(house: House) -> None:
    shutil.make_archive(str(house.folder / "second"), "zip", house.second)
    (house.folder / "second.zip").chmod(0o600)
    (house.folder / "second.zip").rename(house.inbox / "second.zip")


def _inbox_of_root(house: House) -> None:
    os.chown(house.inbox, 0, 0)
    house.inbox.chmod(0o700)
    shutil.copytree(house.second, house.inbox / "second")


UNREADABLE = [_file_of_root, _folder_of_root, _closed_above, _inbox_file_of_root, _inbox_of_root]


@pytest.mark.parametrize("change", UNREADABLE)
def test_what_may_not_be_read(house: House, listener: Listener, change: Callable[[House], None]) -> None:
    """The old model serves, the message names the remedy, and nothing more than that is to be done."""
    old, new = (swaps.digest(each) for each in (house.first, house.second))
    with house.agent() as agent:
        assert serves(listener, old), agent.log()
        change(house)
        assert refused(listener, "sudo chmod"), agent.log()
        assert listener.predicts_on(CAMERA, 20)
        (said,) = agent.log("ERROR")
        heal(said)
        assert serves(listener, new), agent.log()
        assert 0 == agent.stop()


def heal(said: str) -> None:
    """Do what the line says."""
    (remedy,) = re.findall(r"sudo (.*)$", said)
    subprocess.run(shlex.split(remedy), check=True)


def _of_root(house: House) -> None:
    _give(house.state / "models", 0)


def _read_only(house: House) -> None:
    for folder in [house.state / "models", *(house.state / "models").rglob("*")]:
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o555)


@pytest.mark.parametrize("change", [_of_root, _read_only])
def test_what_may_not_be_written(house: House, listener: Listener, change: Callable[[House], None]) -> None:
    """The old model serves, now and after a restart; healed as told, the new one does."""
    old, new = (swaps.digest(each) for each in (house.first, house.second))
    with house.agent() as agent:
        assert serves(listener, old), agent.log()
        change(house)
        swaps.rename_over(house.second / "bundle.toml", house.path / "bundle.toml")
        assert refused(listener, "sudo ch"), agent.log()
        assert listener.predicts_on(CAMERA, 20)
        assert serves(listener, old)
        assert 0 == agent.stop()
        said = agent.log("ERROR")[0]
    heal(said)
    with house.agent("healed") as agent:
        begun(agent)
        assert serves(listener, new), agent.log()
        assert 0 == agent.stop()


def test_a_state_dir_of_somebody_elses(house: House, listener: Listener) -> None:
    """What lies at the path serves, and is swapped from; what to do is told."""
    _give(house.state, 0)
    with house.agent() as agent:
        assert serves(listener, swaps.digest(house.first)), agent.log()
        swaps.rename_over(house.second / "bundle.toml", house.path / "bundle.toml")
        assert serves(listener, swaps.digest(house.second)), agent.log()
        assert 0 == agent.stop()
        (said,) = agent.log("models are not kept")
        assert [] == agent.log("ERROR")
    assert said.endswith(f"sudo chown -R nobody: {house.state}")


def test_a_path_on_a_mount_that_vanishes(house: House, listener: Listener) -> None:
    """What was installed serves on, after a restart too; once the mount is back, what is new on it does."""
    mounts = house.folder / "mounts"
    for name in ("first", "second"):
        shutil.copytree(getattr(house, name), house.folder / f"with-{name}" / "finish")
    house.written = house.written.replace(str(house.path), str(mounts / "share" / "finish"))
    old, new = (swaps.digest(each) for each in (house.first, house.second))
    with Drive(house.folder / "with-first", mounts, "share") as share:
        share.plug()
        with Agent(house.folder, house.written) as agent:  # root's, to see what root mounts
            assert serves(listener, old), agent.log()
            assert share.pull()
            assert listener.predicts_on(CAMERA, 20)
            assert 0 == agent.stop()
    with (
        again(house.folder, house.written) as agent,
        Drive(house.folder / "with-second", mounts, "share") as share,
    ):
        begun(agent)
        assert serves(listener, old), agent.log()
        share.plug()
        assert serves(listener, new), agent.log()
        assert 0 == agent.stop()
        assert [] == agent.log("ERROR")
