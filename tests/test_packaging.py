"""What an installed edge-agent consists of."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.places import FINISHES, ROOT

FIND_MODELS = (
    "import importlib.resources as r, os, sys;"
    "sys.stdout.write(os.fspath(r.files('edge_agent.models').joinpath('finishes', 'model.tflite')))"
)


def run(*command: str | Path) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed from, for a build leaves files in it."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("edge_agent", "models"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, checkout)
    (path,) = folder.glob("*.whl")
    return path


def members(wheel: Path) -> set[str]:
    """The names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def files_below(folder: Path) -> set[str]:
    """The files below this folder, their names beginning with the folder's own."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder.parent).as_posix() for path in files}


def test_the_wheel_holds_every_module_and_the_type_marker(checkout: Path, wheel: Path) -> None:
    """A package that setup.cfg does not list would be missing from an installation only."""
    assert files_below(checkout / "edge_agent") - members(wheel) == set()
    assert "edge_agent/py.typed" in members(wheel)


def test_the_wheel_holds_the_whole_bundled_model(checkout: Path, wheel: Path) -> None:
    """`edge-agent demo` works from an installation: the model comes along, golden images included."""
    bundled = files_below(checkout / "models" / "finishes")
    assert "finishes/model.tflite" in bundled
    assert {f"edge_agent/models/{name}" for name in bundled} - members(wheel) == set()


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    """Tests, scripts and benchmarks stay in the checkout."""
    roots = {name.split("/")[0] for name in members(wheel)}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"edge_agent"}


def test_the_stranger_called_pycoral_is_never_required(wheel: Path) -> None:
    """PyPI's `pycoral` is another program: no requirement and no extra may name it."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = HeaderParser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", [])
    assert "numpy>=1.26" in requirements
    assert [text for text in requirements if "coral" in text.lower()] == []
    assert "coral" not in (ROOT / "constraints.txt").read_text("utf-8").lower()


def test_an_installed_wheel_finds_its_models(wheel: Path, tmp_path: Path) -> None:
    """The bundled model lies beside the modules of an installation."""
    python = make_venv(tmp_path / "venv")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    found = Path(run(python, "-c", FIND_MODELS))
    assert found.is_relative_to(tmp_path)
    assert found.read_bytes() == (FINISHES / "model.tflite").read_bytes()


def test_an_editable_installation_finds_the_models_of_the_checkout(checkout: Path, tmp_path: Path) -> None:
    """With `pip install -e .` the models are those of the checkout, as the modules are."""
    python = make_venv(tmp_path / "venv")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "-e", checkout)
    assert Path(run(python, "-c", FIND_MODELS)) == checkout / "models" / "finishes" / "model.tflite"


def test_the_tested_versions_cover_every_requirement() -> None:
    """constraints.txt names a version of each package that setup.cfg asks for, tflite-runtime aside."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"] + "".join(
        text for extra, text in setup["options.extras_require"].items() if extra not in NOT_PINNED
    )
    wanted = {line.split()[0] for line in lines.splitlines() if line}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert wanted - pinned == set()


NOT_PINNED = {"tflite-runtime"}


def make_venv(folder: Path) -> Path:
    """The interpreter of a new environment without any package, pip included."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"
