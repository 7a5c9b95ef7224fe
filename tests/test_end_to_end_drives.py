"""The real agent and real file systems: models that come on a drive, and leave with it."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import swaps
from tests.agents import Agent, Listener, sturdy_broker
from tests.drives import Drive, hanging
from tests.keys import make_key, need_openssl, signed
from tests.losses import pictures
from tests.places import need_data
from tests.stages import bundle
from tests.swaps import CAMERA, MODEL, again, refused, serves

pytestmark = [need_data, need_openssl]


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Hears everything."""
    with sturdy_broker() as broker, Listener(broker.port) as heard:
        yield heard


class Desk:
    """Where bundles are signed, and an agent that trusts the key of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.private, public = make_key(folder)
        self.drives = folder / "drives"
        self.first = signed(bundle(folder, "first"), self.private)
        self.written = swaps.text(
            port,
            pictures(folder, swaps.SHOWN),
            self.first,
            folder,
            updates={"drives": self.drives, "public_key": public},
        )

    def drive(self, name: str, *bundles: Path) -> Drive:
        """One that carries these."""
        content = self._folder / f"content-{name}"
        for each in bundles:
            shutil.copytree(each, content / "edge-agent-models" / "default" / each.name)
        return Drive(content, self.drives, name)


@pytest.fixture
def desk(tmp_path: Path, listener: Listener) -> Desk:
    """A desk."""
    return Desk(tmp_path, listener.port)


def test_a_signed_model_comes_on_a_drive(tmp_path: Path, desk: Desk, listener: Listener) -> None:
    """It takes over, once, however often the drive is found; nothing holds on to the drive, and what came
    serves on without it.
    """
    birch = signed(bundle(tmp_path, "birch"), desk.private)
    with Agent(tmp_path, desk.written) as agent, desk.drive("sda1", birch) as drive:
        assert serves(listener, swaps.digest(desk.first)), agent.log()
        drive.plug()
        assert serves(listener, swaps.digest(birch)), agent.log()
        assert [] == held_below(agent.process.pid, drive.place)
        assert drive.pull()
        assert listener.predicts_on(CAMERA, 20)
        assert 0 == agent.stop()
        assert 1 == len(agent.log("has taken over"))
        assert [] == agent.log("ERROR")
        drive.plug()
        with again(tmp_path, desk.written) as agent:
            assert agent.logged(f"{swaps.digest(birch)} serves already"), agent.log()
            assert 0 == agent.stop()
            assert [] == agent.log("has taken over")
        assert drive.pull()
    assert [swaps.digest(desk.first), swaps.digest(birch)] == swaps.models_of(listener.predictions(CAMERA))


def held_below(pid: int, folder: Path) -> list[str]:
    """What a process and its children hold open there."""
    open_files = [each for place in Path("/proc").glob("[0-9]*/fd") for each in _open_files(place, pid)]
    return [each for each in open_files if each.startswith(str(folder))]


def _open_files(place: Path, pid: int) -> list[str]:
    try:
        parent = int((place.parent / "stat").read_text().rpartition(")")[2].split()[1])
        if pid not in (parent, int(place.parent.name)):
            return []
        return [os.readlink(each) for each in place.iterdir()]  # noqa: PTH115
    except OSError:  # it has ended
        return []


@pytest.mark.parametrize("reason", ["not signed, and a key is configured", "signed by another key"])
def test_what_is_not_signed_is_refused(tmp_path: Path, desk: Desk, listener: Listener, reason: str) -> None:
    """Aloud, with the remedy. Once the remedy was taken, the same model may serve: its digest is the same."""
    other, _ = make_key(tmp_path, "other")
    birch = bundle(tmp_path, "birch")
    if "another" in reason:
        signed(birch, other)
    with Agent(tmp_path, desk.written) as agent:
        assert serves(listener, swaps.digest(desk.first)), agent.log()
        with desk.drive("sda1", birch) as drive:
            drive.plug()
            assert refused(listener, reason), agent.log()
        (refusal,) = json.loads(listener.payloads(MODEL)[-1])["rejected"]
        assert swaps.digest(birch) == refusal["digest"]
        assert 1 == len(agent.log("ERROR"))
        assert serves(listener, swaps.digest(desk.first))
        with desk.drive("sdb1", signed(birch, desk.private)) as drive:
            drive.plug()
            assert serves(listener, swaps.digest(birch)), agent.log()
            assert drive.pull()
        assert 0 == agent.stop()


def test_a_drive_that_cannot_be_read(tmp_path: Path, desk: Desk, listener: Listener) -> None:
    """One line, on ``model/<slot>`` too, with what to do; another drive is taken as ever."""
    birch = signed(bundle(tmp_path, "birch"), desk.private)
    with Agent(tmp_path, desk.written) as agent:
        assert serves(listener, swaps.digest(desk.first)), agent.log()
        with desk.drive("sda1", birch) as drive:
            drive.plug()
            drive.fail()
            assert refused(listener, "Input/output error; plug its drive in"), agent.log()
        assert serves(listener, swaps.digest(desk.first))
        with desk.drive("sdb1", birch) as drive:
            drive.plug()
            assert serves(listener, swaps.digest(birch)), agent.log()
        assert 0 == agent.stop()
        assert 1 == len(agent.log("ERROR"))


def test_a_drive_that_comes_and_goes(tmp_path: Path, desk: Desk, listener: Listener) -> None:
    """Pulled at any instant, while it is read too: nothing is lost, and what is whole serves at last."""
    birch = signed(bundle(tmp_path, "birch"), desk.private)
    chance = random.Random(5)
    with Agent(tmp_path, desk.written) as agent, desk.drive("sda1", birch) as drive:
        assert serves(listener, swaps.digest(desk.first)), agent.log()
        for _ in range(10):
            drive.plug()
            threading.Event().wait(chance.random() * 0.6)  # the instant is what is tried out
            drive.pull(at_once=True)
        drive.plug()
        assert serves(listener, swaps.digest(birch)), agent.log()
        assert listener.predicts_on(CAMERA, 20)
        assert 0 == agent.stop()
        assert agent.leaves_no_process()
        assert [] == [line for line in agent.log("ERROR") if "cannot read" not in line]
        assert drive.pull()
    assert swaps.digest(birch) == swaps.models_of(listener.predictions(CAMERA))[-1]


def test_a_drive_that_hangs(tmp_path: Path, desk: Desk, listener: Listener) -> None:
    """It holds up no other way in, nor the end of the agent; the next one is taken in once it is gone."""
    birch, cedar = (signed(bundle(tmp_path, name), desk.private) for name in ("birch", "cedar"))
    with Agent(tmp_path, desk.written) as agent:
        with hanging(desk.drives / "sda1"):
            assert serves(listener, swaps.digest(desk.first)), agent.log()
            shutil.copytree(birch, tmp_path / "state" / "inbox" / "default" / "birch")
            assert serves(listener, swaps.digest(birch)), agent.log()
        with desk.drive("sdb1", cedar) as drive:
            drive.plug()
            assert serves(listener, swaps.digest(cedar)), agent.log()
            assert drive.pull()
        with hanging(desk.drives / "sdc1"):
            assert 0 == agent.stop()
        assert [] == agent.log("ERROR")


def test_the_first_model_comes_on_a_drive(tmp_path: Path, desk: Desk, listener: Listener) -> None:
    """An agent that has none yet waits for what a drive brings that is plugged in, as for its inbox."""
    birch = signed(bundle(tmp_path, "birch"), desk.private)
    shutil.rmtree(desk.first)
    with desk.drive("sda1", birch) as drive:
        drive.plug()
        with Agent(tmp_path, desk.written) as agent:
            assert serves(listener, swaps.digest(birch)), agent.log()
            assert 0 == agent.stop()
        assert drive.pull()
