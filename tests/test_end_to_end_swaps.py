"""The real agent, real models and a real broker, while the model's file is replaced under it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import copies, swaps
from tests.agents import Agent, Listener, sturdy_broker
from tests.boundaries import Boundaries
from tests.edgetpu import libedgetpu
from tests.losses import pictures
from tests.places import CORAL, FINISHES, need_data
from tests.stages import bundle
from tests.sticks import CPU_LARGE, LARGE, own_stick
from tests.swaps import CAMERA, MODEL, again, begun, serves

pytestmark = need_data

MODELS = (CPU_LARGE, CORAL / "mobilenet_v2_1.0_224_quant_2021.tflite")
"""The same network, trained in 2020 and in 2021."""


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Pictures for the camera."""
    return pictures(tmp_path, swaps.SHOWN)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Hears everything."""
    with sturdy_broker() as broker, Listener(broker.port) as heard:
        yield heard


def predicted(listener: Listener, count: int = 20) -> None:
    """Wait for so many more predictions."""
    assert listener.predicts_on(CAMERA, count)


def flawless(listener: Listener, folder: Path, *models: Path) -> list[str]:
    """Every frame answered, in order, by the model that it names; which these were, in order."""
    heard = listener.predictions(CAMERA)
    right = {swaps.digest(model): swaps.answers(folder, model) for model in models}
    assert [] == swaps.faults_of(heard, right)[:3]
    return swaps.models_of(heard)


def test_swaps_at_full_speed(tmp_path: Path, shown: Path, listener: Listener) -> None:
    """Overwritten in place or renamed over, each new model takes over once; no frame is lost or in the wrong
    place, and each prediction names the model that made it.
    """
    path = tmp_path / "model.tflite"
    shutil.copyfile(MODELS[0], path)
    digests = [swaps.digest(model) for model in MODELS]
    with Agent(tmp_path, swaps.text(listener.port, shown, path, tmp_path)) as agent:
        assert serves(listener, digests[0])
        for turn in range(1, 7):
            predicted(listener, 5)
            put = swaps.overwrite if turn % 4 < 2 else swaps.rename_over
            put(MODELS[turn % 2], path)
            assert serves(listener, digests[turn % 2]), agent.log()
        predicted(listener, 5)
        assert 0 == agent.stop()
        assert agent.leaves_no_process()
        assert [] == agent.log("ERROR")
    assert [digests[turn % 2] for turn in range(7)] == flawless(listener, tmp_path, *MODELS)


def test_swaps_on_the_edge_tpu(
    tmp_path: Path, shown: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU bridges the time in which the stick has no worker; then the new model is on the stick."""
    both = {name: bundle(tmp_path / "bundles", name, CPU_LARGE, LARGE) for name in ("ash", "birch")}
    path = tmp_path / "model"
    shutil.copytree(both["ash"], path)
    ash, birch = (swaps.digest(each) for each in both.values())
    with own_stick(tmp_path, monkeypatch):
        written = swaps.text(
            listener.port,
            shown,
            path,
            tmp_path,
            inference={"device": "auto", "library": libedgetpu(), "look_every_s": 0.2},
        )
        with Agent(tmp_path, written) as agent:
            for name, short in (("ash", ash), ("birch", birch), ("ash", ash)):
                swaps.rename_over(both[name] / "bundle.toml", path / "bundle.toml")
                assert serves(listener, short), agent.log()
                on_stick = lambda model: model["serving"]["device"] == "edgetpu"  # noqa: E731
                assert listener.tells(MODEL, on_stick), agent.log()
                predicted(listener)
            assert 0 == agent.stop()
            assert agent.leaves_no_process()
            assert [] == agent.log("ERROR")
    assert [ash, birch, ash] == flawless(listener, tmp_path, *both.values())
    devices = [each["device"] for each in listener.predictions(CAMERA)]
    assert "edgetpu" == devices[-1]


def test_one_that_dies_is_taken_back(tmp_path: Path, shown: Path, listener: Listener) -> None:
    """After the flip, on trial: the one before serves again, and why is told; the path has had its turn."""
    path = tmp_path / "model.tflite"
    shutil.copyfile(MODELS[0], path)
    old, new = (swaps.digest(model) for model in MODELS)
    written = swaps.text(listener.port, shown, path, tmp_path, updates={"probation_s": 600.0})
    with Agent(tmp_path, written) as agent:
        assert serves(listener, old)
        swaps.rename_over(MODELS[1], path)
        assert serves(listener, new, "probation")
        predicted(listener)
        (flip,) = agent.log(f"model {new} serves on the CPU")
        os.kill(int(flip.rpartition("worker ")[2].rstrip(")")), signal.SIGSEGV)
        assert serves(listener, old), agent.log()
        assert swaps.refused(listener, "SIGSEGV")
        predicted(listener)
        assert 0 == agent.stop()
    assert [old, new, old] == flawless(listener, tmp_path, *MODELS)
    with again(tmp_path, written) as agent:  # the path still has the new one
        begun(agent)
        assert serves(listener, old)
        predicted(listener, 100)
        assert serves(listener, old)
        assert 0 == agent.stop()


def test_killed_at_any_instant(tmp_path: Path, shown: Path, listener: Listener) -> None:
    """SIGKILL during swaps and installs: the next start serves one of the models, whole, each time."""
    path = tmp_path / "model.zip"
    known = [swaps.answers(tmp_path, model) for model in MODELS]
    right = {swaps.put_fresh(MODELS[0], path, "first"): known[0]}
    chance = random.Random(3)
    written = swaps.text(listener.port, shown, path, tmp_path)
    for life in range(10):
        with again(tmp_path, written) as agent:
            begun(agent)
            predicted(listener, 3)
            right[swaps.put_fresh(MODELS[life % 2], path, f"life-{life}")] = known[life % 2]
            threading.Event().wait(chance.random() * 1.5)  # the instant is what is tried out
            agent.stop(signal.SIGKILL)
            assert agent.leaves_no_process()
    sessions = swaps.sessions_of(listener.predictions(CAMERA))
    assert 10 == len(sessions)
    for heard in sessions:
        assert [] == swaps.faults_of(heard, right)[:3]
        assert {each["model"]["digest"] for each in heard} <= right.keys()


def test_killed_at_a_boundary(tmp_path: Path, shown: Path, listener: Listener) -> None:
    """Before some of the fsyncs and renames of a start, an install, a swap and a rollback: what is installed
    is whole, and the next start serves it.
    """
    boundaries = Boundaries(tmp_path, listener, shown)
    killed, steps = boundaries.killed(0)
    assert not killed
    for at in range(1, len(steps), len(steps) // 5):
        assert boundaries.killed(at)[0]
    right = {swaps.digest(each): swaps.answers(tmp_path, each) for each in boundaries.bundles}
    for heard in swaps.sessions_of(listener.predictions(CAMERA)):
        assert [] == swaps.faults_of(heard, right)[:3]


def test_damaged_bundles_change_nothing(tmp_path: Path, shown: Path, listener: Listener) -> None:
    """A hundred of them in the inbox: no frame is lost, what is whole takes over after them, and the disk
    does not fill. One whose turned bit is a weight may serve, for golden images see no difference.
    """
    written = swaps.text(listener.port, shown, FINISHES, tmp_path)
    inbox = tmp_path / "state" / "inbox" / "default"
    chance = random.Random(11)
    whole = [FINISHES, *(named(tmp_path, f"whole-{turn}") for turn in range(4))]
    with Agent(tmp_path, written) as agent:
        assert serves(listener, swaps.digest(FINISHES))
        for turn, last in enumerate(whole[1:]):
            for number in range(25):
                swaps.damaged(tmp_path / "next", FINISHES, chance, number)
                ending = ".zip" if (tmp_path / "next").is_file() else ""
                inbox.mkdir(parents=True, exist_ok=True)
                (tmp_path / "next").rename(inbox / f"new-{turn}-{number:02}{ending}")
            shutil.copytree(last, inbox / "the-last")
            assert serves(listener, swaps.digest(last)), agent.log()
            shutil.rmtree(inbox)
        predicted(listener)
        assert swaps.size_of(tmp_path / "state" / "models") < 10 * swaps.size_of(FINISHES)
        assert 50 < len(agent.log("ERROR"))
        assert 0 == agent.stop()
        assert agent.leaves_no_process()
    flawless(listener, tmp_path, *whole)


def named(folder: Path, name: str) -> Path:
    """The bundle of the finishes under another name, and so of another digest."""
    place = folder / name
    shutil.copytree(FINISHES, place)
    toml = (place / "bundle.toml").read_text()
    (place / "bundle.toml").write_text(toml.replace('"finishes"', f'"{name}"', 1))
    return place


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('[input]\npixel_format = "rgb"\n', "golden image golden/dakota-red.jpg"),
        ("[input]\nstd = [255, 255, 255]\n", "golden image golden/dakota-red.jpg"),
        ("", "golden image golden/dakota-red.jpg"),
    ],
    ids=["red and blue exchanged", "0..1 instead of 0..255", "labels in another order"],
)
def test_a_model_that_sees_wrongly_is_refused(
    tmp_path: Path, shown: Path, listener: Listener, change: str, reason: str
) -> None:
    """Its golden images tell, in words that a technician understands; the good one serves on."""
    path = tmp_path / "model"
    shutil.copytree(FINISHES, path)
    good = swaps.digest(path)
    with Agent(tmp_path, swaps.text(listener.port, shown, path, tmp_path)) as agent:
        assert serves(listener, good)
        if change:
            toml = (FINISHES / "bundle.toml").read_text()
            swap = tmp_path / "bundle.toml"
            swap.write_text(toml + change)
        else:
            labels = (FINISHES / "labels.txt").read_text().splitlines()
            swap = tmp_path / "labels.txt"
            swap.write_text("\n".join([*labels[1:], labels[0], ""]))
        swaps.rename_over(swap, path / swap.name)
        assert swaps.refused(listener, reason), agent.log()
        (said,) = json.loads(listener.payloads(MODEL)[-1])["rejected"]
        assert "should be dakota red" in said["reason"]
        predicted(listener)
        assert serves(listener, good)
        assert 0 == agent.stop()


def test_a_slow_copy_is_taken_once_and_whole(tmp_path: Path, shown: Path, listener: Listener) -> None:
    """25 MB in small pieces over the old bundle: nothing is made of its parts."""
    path = tmp_path / "model.zip"
    noise = np.random.default_rng(4)
    large = tmp_path / "large.zip"
    with zipfile.ZipFile(large, "w") as archive:
        archive.write(MODELS[1], "model.tflite")
        archive.writestr("bundle.toml", golden_of("parrot.jpg", "macaw", 5))
        for number in range(5):
            photo = (CORAL / "parrot.jpg").read_bytes() + noise.bytes(3_500_000)
            archive.writestr(f"golden/{number}.jpg", photo)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(MODELS[0], "model.tflite")
    old, new = swaps.digest(path), swaps.digest(large)
    with Agent(
        tmp_path, swaps.text(listener.port, shown, path, tmp_path, updates={"settle_s": 0.5})
    ) as agent:
        assert serves(listener, old)
        with large.open("rb") as source, path.open("r+b") as target:
            while piece := source.read(1 << 19):
                target.write(piece)
                target.flush()
                threading.Event().wait(0.1)  # slowly is what is tried out
        assert serves(listener, new), agent.log()
        predicted(listener)
        assert 0 == agent.stop()
        assert [] == agent.log("ERROR")
        assert 1 == len(agent.log("has taken over"))
    assert [old, new] == swaps.models_of(listener.predictions(CAMERA))


@pytest.mark.parametrize("way", copies.WAYS)
def test_each_way_of_copying(tmp_path: Path, shown: Path, listener: Listener, way: str) -> None:
    """Swapped once, when it is whole, whatever copies it and however slowly."""
    if (program := copies.NEEDS.get(way)) is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    first, fresh = copies.sized(tmp_path / "from", "first", 0), copies.sized(tmp_path / "from", way, 1 << 20)
    inbox = tmp_path / "state" / "inbox" / "default"
    settles = {"settle_s": 0.5}
    written = swaps.text(listener.port, shown, first, tmp_path, updates=settles, camera={"fps": 50})
    with Agent(tmp_path, written) as agent:
        assert serves(listener, swaps.digest(first)), agent.log()
        copies.WAYS[way](fresh, inbox, 2 << 20)
        assert serves(listener, swaps.digest(fresh)), agent.log()
        predicted(listener)
        assert 0 == agent.stop()
        assert [] == agent.log("ERROR")
        assert 1 == len(agent.log("has taken over"))
    assert [swaps.digest(first), swaps.digest(fresh)] == swaps.models_of(listener.predictions(CAMERA))


def golden_of(photo: str, label: str, count: int) -> str:
    """A bundle.toml with so many golden images of this photo."""
    assert (CORAL / photo).exists()
    one = '[[golden]]\nimage = "golden/{}.jpg"\nlabel = "{}"\n'
    return "".join(one.format(number, label) for number in range(count))


# Disks and rights


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, shown: Path, listener: Listener, small_disk: Path) -> None:
    """The old model serves on, and at the next start; what to do is told. With room again the new one serves
    at the next start, though nobody copies it again.
    """
    path = tmp_path / "model.tflite"
    shutil.copyfile(MODELS[0], path)
    old, new = (swaps.digest(model) for model in MODELS)
    written = swaps.text(listener.port, shown, path, small_disk)
    with Agent(tmp_path, written) as agent:
        assert serves(listener, old)
        state = os.statvfs(small_disk)
        (small_disk / "filler").write_bytes(bytes(state.f_bavail * state.f_frsize))
        swaps.rename_over(MODELS[1], path)
        assert swaps.refused(listener, "make room"), agent.log()
        predicted(listener)
        assert serves(listener, old)
        assert 0 == agent.stop()
    with again(tmp_path, written) as agent:
        begun(agent)
        assert agent.logged("make room")
        assert serves(listener, old)
        (small_disk / "filler").unlink()
        assert 0 == agent.stop()
    with again(tmp_path, written) as agent:
        begun(agent)
        assert serves(listener, new), agent.log()
        assert 0 == agent.stop()


def test_a_read_only_disk(tmp_path: Path, shown: Path, listener: Listener, small_disk: Path) -> None:
    """The old model serves, and what to do is told."""
    path = tmp_path / "model.tflite"
    shutil.copyfile(MODELS[0], path)
    old = swaps.digest(path)
    written = swaps.text(listener.port, shown, path, small_disk)
    with Agent(tmp_path, written) as agent:
        assert serves(listener, old)
        assert 0 == agent.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with again(tmp_path, written) as agent:
        begun(agent)
        assert serves(listener, old), agent.log()
        swaps.rename_over(MODELS[1], path)
        assert swaps.refused(listener, f"sudo mount -o remount,rw {small_disk}"), agent.log()
        predicted(listener)
        assert serves(listener, old)
        assert 0 == agent.stop()


def test_an_inbox_is_looked_at_before_the_agent_gives_up(
    tmp_path: Path, shown: Path, listener: Listener
) -> None:
    """Nothing lies at the path, and nothing is installed: what waits in the inbox serves."""
    inbox = tmp_path / "state" / "inbox" / "default"
    inbox.mkdir(parents=True)
    shutil.copyfile(MODELS[0], inbox / MODELS[0].name)
    written = swaps.text(listener.port, shown, tmp_path / "gone", tmp_path)
    with Agent(tmp_path, written) as agent:
        assert serves(listener, swaps.digest(MODELS[0])), agent.log()
        assert 0 == agent.stop()
    shutil.rmtree(tmp_path / "state")
    with again(tmp_path, written) as agent:
        assert 1 == agent.ends(), agent.log()


def test_a_trial_on_a_disk_that_takes_nothing(
    tmp_path: Path, shown: Path, listener: Listener, small_disk: Path
) -> None:
    """That a start cannot be counted keeps nobody from starting."""
    path = tmp_path / "model.tflite"
    shutil.copyfile(MODELS[0], path)
    old, new = (swaps.digest(model) for model in MODELS)
    written = swaps.text(listener.port, shown, path, small_disk, updates={"probation_s": 600.0})
    with Agent(tmp_path, written) as agent:
        assert serves(listener, old)
        swaps.rename_over(MODELS[1], path)
        assert serves(listener, new, "probation")
        agent.stop(signal.SIGKILL)
        assert agent.leaves_no_process()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with again(tmp_path, written) as agent:
        begun(agent)
        assert serves(listener, new, "probation"), agent.log()
        predicted(listener)
        assert 0 == agent.stop()


def test_no_place_to_keep_models(tmp_path: Path, shown: Path, listener: Listener) -> None:
    """A state_dir that cannot be made: what to do is told, and the path serves and is swapped from."""
    path = tmp_path / "model.tflite"
    shutil.copyfile(MODELS[0], path)
    old, new = (swaps.digest(model) for model in MODELS)
    (tmp_path / "file").touch()
    with Agent(tmp_path, swaps.text(listener.port, shown, path, tmp_path / "file")) as agent:
        assert agent.logged("models are not kept")
        assert serves(listener, old)
        swaps.rename_over(MODELS[1], path)
        assert serves(listener, new), agent.log()
        predicted(listener)
        assert 0 == agent.stop()
    assert [old, new] == flawless(listener, tmp_path, *MODELS)
