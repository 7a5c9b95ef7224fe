"""Pictures are prepared for a converted model as for its source; bundle.toml says no more than it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.bundle import ModelBundle, complete_bundle, read_bundle
from edge_agent.tensors import TensorSpec
from edge_agent.workbench.convert.pictures import Seen
from edge_agent.workbench.convert.recipe import golden_of, pins
from edge_agent.worker.protocol import HeadOp
from tests.bundle_samples import BGR_HEAD, export_files, graph_of, image_spec, write_folder


def bundle(folder: Path, spec: TensorSpec, head: tuple[HeadOp, ...] = (), settings: str = "") -> ModelBundle:
    """An export, completed with a graph of that input."""
    files = {**export_files(), "bundle.toml": settings.encode()}
    return complete_bundle(read_bundle(write_folder(folder, files)), graph_of(spec, head=head))


def test_nothing_is_pinned_where_the_same_is_derived(tmp_path: Path) -> None:
    """0..255 in B G R, as float and as codes."""
    source = bundle(tmp_path / "a", image_spec(), BGR_HEAD)
    coded = bundle(tmp_path / "b", image_spec(dtype="uint8", quantization=(1.0, 0)), BGR_HEAD)
    assert pins(source, coded) is None


def test_a_pixel_that_is_its_own_code_is_left_so(tmp_path: Path) -> None:
    """The float model takes -1..1; mean and deviation of its codes differ, the reals do not."""
    minus_one_to_one = "[input]\nmean = [127.5, 127.5, 127.5]\nstd = [127.5, 127.5, 127.5]\n"
    source = bundle(tmp_path / "a", image_spec(), settings=minus_one_to_one)
    coded = bundle(tmp_path / "b", image_spec(dtype="uint8", quantization=(2 / 255, 127)))
    assert source.convention.mean != coded.convention.mean
    assert pins(source, coded) is None


@pytest.mark.parametrize(
    ("key", "value"), [("pixel_format", "rgb"), ("geometry", "docs"), ("mean", (9.0, 9.0, 9.0))]
)
def test_what_would_be_derived_otherwise_is_pinned(key: str, value: object, tmp_path: Path) -> None:
    """All of the source's convention then, so that it can be read in one place."""
    shown = list(value) if isinstance(value, tuple) else f'"{value}"'
    source = bundle(tmp_path / "a", image_spec(), BGR_HEAD, f"[input]\n{key} = {shown}\n")
    coded = bundle(tmp_path / "b", image_spec(dtype="uint8", quantization=(1.0, 0)), BGR_HEAD)
    pinned = pins(source, coded)
    assert pinned is not None
    assert value == getattr(pinned, key)
    assert {"geometry", "pixel_format", "mean", "std"} == pinned.model_fields_set
    again = "".join(f"{name} = {_toml(each)}\n" for name, each in pinned.model_dump().items())
    held = bundle(
        tmp_path / "c", image_spec(dtype="uint8", quantization=(1.0, 0)), BGR_HEAD, f"[input]\n{again}"
    )
    assert source.convention == held.convention


def _toml(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else f'"{value}"'


def test_golden_images_leave_room() -> None:
    """Half of the float model's score is enough; names are of the label, and never alike."""
    seen = [(Seen("a/1.JPG", "fiesta red", 0.99), b"1"), (Seen("2.png", "Fiesta-Red", 0.5), b"2")]
    first, second = golden_of(seen, first=3)
    assert ("golden/03-fiesta-red.jpg", 0.49, b"1") == (first.name, first.min_score, first.encoded)
    assert ("golden/04-fiesta-red.png", 0.25) == (second.name, second.min_score)
