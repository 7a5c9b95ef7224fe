"""An agent at full speed whose model is replaced again and again: how, and what must be heard meanwhile."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_agent.bundle import read_bundle
from tests.agents import TOPICS, Agent, Listener, Table, configuration, toml
from tests.losses import DISTINCT

CAMERA = "clip"
SHOWN = 2000
"""Pictures in the folder, which is looped; a multiple of those that differ."""

MODEL = TOPICS.model("default")


def text(port: int, shown: Path, model: Path, folder: Path, **tables: Table) -> str:
    """The configuration: a looped folder at full speed on the CPU, what is kept below ``folder``.

    ``tables`` add to its sections; ``updates`` has a brief settling and a brief trial otherwise.
    """
    agent = {"name": TOPICS.agent, "state_dir": folder / "state", "socket": folder / "control.sock"}
    updates = {"settle_s": 0.1, "probation_frames": 2, "probation_s": 0.0, **tables.pop("updates", {})}
    inference = {"device": "cpu", "threads": 1, **tables.pop("inference", {})}
    cameras = {CAMERA: {"source": shown, "loop": True, **tables.pop("camera", {})}}
    written = configuration(port, cameras, agent=agent, inference=inference, model={"path": model})
    return written + toml({"updates": updates, **tables})


def again(folder: Path, text: str) -> Agent:
    """The agent, started once more."""
    number = len(list(folder.glob("again-*")))
    place = folder / f"again-{number}"
    place.mkdir()
    return Agent(place, text)


def begun(agent: Agent) -> None:
    """Wait until it serves: what was heard before was the last one's."""
    assert agent.logged("serves on the CPU"), agent.log()
    assert agent.logged("connected to the MQTT broker"), agent.log()


def answers(folder: Path, model: Path, *options: str) -> list[Any]:
    """The model's own answer to each distinct picture of :func:`tests.losses.pictures`, by ``classify``."""
    images = sorted((folder / "distinct").iterdir())
    command = [sys.executable, "-m", "edge_agent", "classify", "--json", *(options or ("--device", "cpu"))]
    command += ["-m", str(model), *map(str, images)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return [json.loads(line)["predictions"] for line in said.splitlines()]


def overwrite(source: Path, target: Path) -> None:
    """In place, as ``cp`` does."""
    with target.open("r+b") as file:
        file.write(source.read_bytes())
        file.truncate()


def rename_over(source: Path, target: Path) -> None:
    """As ``mv`` does, or a browser."""
    beside = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, beside)
    beside.replace(target)


def put_fresh(model: Path, path: Path, name: str) -> str:
    """Rename a zip of the model over ``path``, under a name that gives it a digest of its own: that one."""
    beside = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(beside, "w") as archive:
        archive.write(model, "model.tflite")
        archive.writestr("bundle.toml", f'name = "{name}"\n')
    beside.replace(path)
    return digest(path)


def digest(path: Path) -> str:
    """As messages show it."""
    return read_bundle(path).short


def serves(listener: Listener, short: str, state: str = "serving") -> bool:
    """Wait until the slot says that this digest does, in that state, and that nothing is to come."""
    return listener.tells(
        MODEL,
        lambda model: (
            model["serving"] is not None
            and (model["serving"]["digest"], model["state"], model["candidate"]) == (short, state, None)
        ),
    )


def refused(listener: Listener, text: str = "") -> bool:
    """Wait until the newest refusal has this in its reason."""
    return listener.tells(MODEL, lambda model: any(text in each["reason"] for each in model["rejected"]))


def faults_of(
    heard: Sequence[Mapping[str, Any]], right: Mapping[str, Sequence[Any]], first: int = 1
) -> list[str]:
    """What is wrong with these predictions of the frames from the ``first`` on: lost, doubled, misplaced, or
    not what the model that they name answers; ``right`` has the answers by digest, of those whose answers are
    known.
    """
    faults = []
    for place, each in enumerate(heard, start=first):
        if (each["sequence"], each["frame"]) != (place, place):
            faults.append(f"at {place}: sequence {each['sequence']}, frame {each['frame']}")
        known = right.get(each["model"]["digest"])
        if known is not None and each["predictions"] != known[(each["frame"] - 1) % DISTINCT]:
            faults.append(f"frame {each['frame']} is not what {each['model']['digest']} answers")
    return faults


def sessions_of(heard: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The predictions of each run of the agent."""
    return [list(run) for _, run in groupby(heard, lambda each: each["session"])]


def models_of(heard: Sequence[Mapping[str, Any]]) -> list[str]:
    """The digests in the order in which they answered, each once for as often as it came in a row."""
    return [short for short, _ in groupby(each["model"]["digest"] for each in heard)]


def damaged(place: Path, whole: Path, chance: random.Random, number: int) -> None:
    """Put a copy of the folder ``whole`` there, as a folder or a zip, that was cut short or had some of its
    bits turned: the zip itself, the model, or what is beside it.
    """
    names = sorted(str(each.relative_to(whole)) for each in whole.rglob("*") if each.is_file())
    contents = {name: bytearray((whole / name).read_bytes()) for name in names}
    match number % 5:
        case 2 | 3:
            _spoil(contents["model.tflite"], chance)
        case 4:
            _spoil(contents[chance.choice([name for name in names if name != "model.tflite"])], chance)
    if number % 5 == 2:
        for name, content in contents.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, bytes(content))
    if number % 5 < 2:
        packed = bytearray(place.read_bytes())
        _spoil(packed, chance)
        place.write_bytes(packed)


def _spoil(content: bytearray, chance: random.Random) -> None:
    if chance.random() < 0.5:
        del content[chance.randrange(len(content)) :]
        return
    for _ in range(chance.choice((1, 20, 1000))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def size_of(folder: Path) -> int:
    """Bytes in all files below it."""
    sizes = 0
    for root, _, files in os.walk(folder):
        sizes += sum(os.lstat(os.path.join(root, file)).st_size for file in files)  # noqa: PTH118
    return sizes
