"""What a model expects of a picture: derived from graph and metadata, each value with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle.convention import Derivation, derive_convention
from edge_agent.bundle.graph_input import bare_name, head_constants, usual_range
from edge_agent.bundle.metadata import parse_metadata
from edge_agent.bundle.settings import BundleSettings, InputSettings
from edge_agent.errors import BundleError
from edge_agent.preprocess import MetadataGeometry, NamedGeometry, code_table
from edge_agent.tensors import TensorSpec
from edge_agent.worker.protocol import HeadOp
from tests.bundle_samples import BGR_HEAD, graph_of, image_spec, metadata_bytes

ZEROS, ONES, MEANS = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (104.0, 117.0, 123.0)

ADD_REVERSED = (HeadOp("ADD", [[-123.0, -117.0, -104.0]]),)
SUB_MEANS = (HeadOp("SUB", [[104.0, 117.0, 123.0]]),)
ADD_SCALAR = (HeadOp("ADD", [[-127.5]]),)


def derive(
    spec: TensorSpec,
    head: tuple[HeadOp, ...] = (),
    *,
    metadata: dict[str, Any] | None = None,
    custom_vision: bool = False,
    **asked: Any,
) -> Derivation:
    """The convention; ``metadata``: changes to an ordinary one, None without any."""
    parsed = None if metadata is None else parse_metadata(metadata_bytes(metadata), "m")
    exported = custom_vision or parsed is not None
    told = BundleSettings(input=InputSettings(**asked))
    return derive_convention(graph_of(spec, head=head), parsed, told, custom_vision=exported)


@pytest.mark.parametrize(
    "head",
    [
        BGR_HEAD,
        BGR_HEAD[1:],
        SUB_MEANS,
        (HeadOp("ADD", [[104.0, 117.0, 123.0]]),),
        (
            HeadOp("QUANTIZE"),
            HeadOp("MUL", [[1.008, 1.008, 1.008]]),
            HeadOp("ADD", [[-104.2, -116.8, -123.4]]),
        ),
        (HeadOp("DEQUANTIZE"), HeadOp("DIV", [[1.0]]), HeadOp("ADD", [[-105.0, -117.0, -124.0]])),
    ],
)
def test_means_in_the_graph_say_bgr(head: tuple[HeadOp, ...]) -> None:
    """About 104, 117, 123, of either sign, also after quantisation: B G R, 0..255 as they are."""
    derived = derive(image_spec(), head)
    assert ("bgr", ZEROS, ONES) == (
        derived.convention.pixel_format,
        derived.convention.mean,
        derived.convention.std,
    )
    assert NamedGeometry("docker") == derived.convention.geometry
    assert () == derived.warnings


@pytest.mark.parametrize("head", [BGR_HEAD, SUB_MEANS])
def test_the_reason_shows_what_is_added(head: tuple[HeadOp, ...]) -> None:
    """A subtraction is told as the addition it is, so that the reasons of two models compare."""
    expected = "the graph adds -104, -117, -123: the means of B, G, R"
    assert expected == derive(image_spec(), head).origins["pixel_format"]


def test_reversed_means_say_rgb() -> None:
    """123, 117, 104 are the same means in the order R G B, whatever the input is called."""
    assert "rgb" == derive(image_spec(), ADD_REVERSED).convention.pixel_format


@pytest.mark.parametrize(
    ("name", "pixel_format"), [("data", "rgb"), ("serving_default_data:0", "rgb"), ("Placeholder", "bgr")]
)
def test_a_scalar_mean_leaves_it_to_the_name(name: str, pixel_format: str) -> None:
    """S1 graphs subtract one number; their input is called data."""
    convention = derive(image_spec(name, 224), ADD_SCALAR).convention
    assert (pixel_format, ZEROS, ONES) == (convention.pixel_format, convention.mean, convention.std)


def test_the_s1_graph_without_metadata() -> None:
    """``data`` of 300: the container's geometry, RGB."""
    convention = derive(image_spec("data", 300)).convention
    assert ("rgb", NamedGeometry("docker"), ZEROS) == (
        convention.pixel_format,
        convention.geometry,
        convention.mean,
    )


def test_the_oldest_graph_without_metadata() -> None:
    """``Placeholder`` of 227 without constants: the article's geometry, means subtracted outside."""
    derived = derive(image_spec(side=227))
    assert (NamedGeometry("docs"), "bgr", MEANS, ONES) == (
        derived.convention.geometry,
        derived.convention.pixel_format,
        derived.convention.mean,
        derived.convention.std,
    )


def test_the_oldest_graph_with_means_takes_pixels() -> None:
    """``Placeholder`` of 227 with constants subtracts them itself."""
    convention = derive(image_spec(side=227), BGR_HEAD).convention
    assert (NamedGeometry("docker"), ZEROS) == (convention.geometry, convention.mean)


def test_the_oldest_graph_with_metadata_keeps_its_geometry() -> None:
    """The metadata is the only statement on geometry per model; means are the graph's affair."""
    convention = derive(image_spec(side=227), metadata={}).convention
    assert isinstance(convention.geometry, MetadataGeometry)
    assert MEANS == convention.mean


def test_geometry_comes_from_the_metadata() -> None:
    """Sizes as (height, width), methods by name; the metadata's Rgb8 and 0..1 count for nothing."""
    derived = derive(image_spec(), BGR_HEAD, metadata={"TargetHeight": "300", "CropWidth": "200"})
    assert (
        MetadataGeometry("ByShorterSide", (300, 256), "OneCropCenter", (224, 200))
        == derived.convention.geometry
    )
    assert "bgr" == derived.convention.pixel_format
    assert "metadata 1.2: ByShorterSide, OneCropCenter" == derived.origins["geometry"]


def test_a_float_export_is_never_divided_by_255() -> None:
    """The trap of the metadata's Normalized_0_1: all exported graphs take 0..255."""
    for head in (BGR_HEAD, ()):
        convention = derive(image_spec(), head, metadata={}).convention
        assert (ZEROS, ONES) == (convention.mean, convention.std)


@pytest.mark.parametrize(("side", "pixel_format"), [(224, "bgr"), (300, "rgb")])
def test_an_export_without_constants_goes_by_its_size(side: int, pixel_format: str) -> None:
    """A manifest says that it is an export, nothing says which: compact BGR, a guess and told so, or S1."""
    derived = derive(image_spec("input", side), custom_vision=True)
    assert pixel_format == derived.convention.pixel_format
    assert ["guess" in warning for warning in derived.warnings] == ([True] if pixel_format == "bgr" else [])


@pytest.mark.parametrize(
    ("dtype", "quantization"),
    [
        ("uint8", (1 / 128, 128)),
        ("uint8", (0.007843137718737125, 127)),
        ("uint8", (1 / 127.5, 128)),
        ("uint8", (0.003921568859368563, 0)),
        ("uint8", (1.0, 0)),
        ("uint8", None),
        ("int8", (1 / 128, 0)),
        ("int8", (0.003921568859368563, -128)),
        ("int8", (1.0, -128)),
        ("int8", (1 / 127.5, -1)),
    ],
)
@pytest.mark.parametrize("custom_vision", [False, True])
def test_a_usual_range_takes_the_pixel_as_the_code(
    dtype: str, quantization: tuple[float, int] | None, custom_vision: bool
) -> None:
    """Folded into one table, mean, std, scale and zero point are the identity (minus 128 for int8)."""
    spec = image_spec("input", 224, dtype, quantization)
    derived = derive(spec, custom_vision=custom_vision)
    identity = np.arange(256) - (128 if dtype == "int8" else 0)
    np.testing.assert_array_equal(identity, code_table(derived.convention, spec)[:, 0])


@given(
    st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)]),
    st.floats(-0.01, 0.01),
    st.integers(-2, 2),
    st.sampled_from(["uint8", "int8"]),
)
@settings(deadline=None)
def test_any_quantisation_of_a_usual_range_is_the_identity(
    span: tuple[float, float], error: float, shift: int, dtype: str
) -> None:
    """Wherever a calibration put scale and zero point: no pixel moves by a single code."""
    scale = (span[1] - span[0]) / 255 * (1 + error)
    zero = round(-span[0] / scale) + shift - (128 if dtype == "int8" else 0)
    spec = image_spec("input", 8, dtype, (scale, zero))
    assert span == usual_range(spec)
    identity = np.arange(256) - (128 if dtype == "int8" else 0)
    np.testing.assert_array_equal(identity, code_table(derive(spec).convention, spec)[:, 2])


def test_corals_convention_is_the_last_resort() -> None:
    """No sign of Custom Vision: stretched, RGB."""
    derived = derive(image_spec("input", 224, "uint8", (1 / 128, 128)))
    assert (NamedGeometry("stretch"), "rgb", ()) == (
        derived.convention.geometry,
        derived.convention.pixel_format,
        derived.warnings,
    )


@pytest.mark.parametrize(
    ("dtype", "quantization"), [("float32", None), ("uint8", (0.02, 114)), ("int8", (0.5, 3))]
)
def test_an_unusual_range_is_said_to_be_a_guess(dtype: str, quantization: tuple[float, int] | None) -> None:
    """127.5 is what most public models take, but nobody said so."""
    derived = derive(image_spec("input", 224, dtype, quantization))
    assert ((127.5,) * 3, (127.5,) * 3) == (derived.convention.mean, derived.convention.std)
    assert 1 == len(derived.warnings)
    assert "guess" in derived.warnings[0]
    assert "guess" in derived.origins["mean"]


@pytest.mark.parametrize(
    "head",
    [
        (HeadOp("MUL", [[1 / 127.5]]), HeadOp("ADD", [[-1.0]])),
        (HeadOp("MUL", [[1 / 255] * 3]),),
        (HeadOp("DIV", [[255.0]]),),
        (HeadOp("SUB", [[127.5]]), HeadOp("MUL", [[1 / 127.5]])),
    ],
)
def test_a_graph_that_scales_by_itself_takes_pixels(head: tuple[HeadOp, ...]) -> None:
    """Keras' Rescaling layer at the head: dividing again would leave a black picture."""
    derived = derive(image_spec("input_1"), head)
    assert (ZEROS, ONES, ()) == (derived.convention.mean, derived.convention.std, derived.warnings)


def test_an_export_quantised_for_pixels_that_reach_no_255() -> None:
    """Calibration saw a brightest pixel of 200: quantised by its scale, and told."""
    spec = image_spec("Placeholder", 224, "uint8", (200 / 255, 0))
    derived = derive(spec, BGR_HEAD)
    assert (ZEROS, ONES) == (derived.convention.mean, derived.convention.std)
    assert [255, 128] == [int(code_table(derived.convention, spec)[u, 0]) for u in (255, 100)]
    assert "0..200" in derived.warnings[0]


def test_codes_and_constants_that_contradict_each_other_are_refused() -> None:
    """Codes for 0..1 into a graph that subtracts 104: whatever it answers is noise."""
    spec = image_spec("Placeholder", 224, "int8", (1 / 255, -128))
    with pytest.raises(BundleError, match=r"stand for 0\.\.1, but the graph's constants are for 0\.\.255"):
        derive(spec, BGR_HEAD)
    assert ONES == derive(spec, BGR_HEAD, mean=ZEROS, std=ONES).convention.std


def test_the_oldest_graph_quantised_with_its_means() -> None:
    """Codes that reach below zero leave room for the subtraction; codes for 0..255 do not."""
    roomy = derive(image_spec("Placeholder", 227, "uint8", (1.0, 123)))
    assert (MEANS, ()) == (roomy.convention.mean, roomy.warnings)
    raw = derive(image_spec("Placeholder", 227, "uint8", (1.0, 0)))
    assert (ZEROS, 1) == (raw.convention.mean, len(raw.warnings))


def test_stated_means_are_honoured_in_the_graphs_order() -> None:
    """On 0..1 units, indexed by the metadata's own pixel format (here R G B), with a warning."""
    metadata = {"NormalizeMean": "[0.1, 0.2, 0.3]", "NormalizeStd": "[0.5, 0.25, 1.0]"}
    derived = derive(image_spec(), BGR_HEAD, metadata=metadata)
    assert "bgr" == derived.convention.pixel_format
    assert derived.convention.mean == pytest.approx((76.5, 51.0, 25.5))
    assert derived.convention.std == pytest.approx((255.0, 63.75, 127.5))
    assert "NormalizeMean" in derived.warnings[0]
    same_order = derive(image_spec(), BGR_HEAD, metadata={**metadata, "BitmapPixelFormat": "Bgr8"})
    assert same_order.convention.mean == pytest.approx((25.5, 51.0, 76.5))


def test_each_value_can_be_overridden() -> None:
    """What bundle.toml says wins, value by value, and is named as the reason."""
    derived = derive(
        image_spec(),
        BGR_HEAD,
        metadata={},
        geometry="center-square",
        pixel_format="rgb",
        mean=(1, 2, 3),
        std=(4, 5, 6),
    )
    convention = derived.convention
    assert (NamedGeometry("center-square"), "rgb", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)) == (
        convention.geometry,
        convention.pixel_format,
        convention.mean,
        convention.std,
    )
    assert {"bundle.toml"} == set(derived.origins.values())


def test_another_channel_order_takes_its_means_along() -> None:
    """A mean belongs to its channel, not to its place."""
    convention = derive(image_spec(side=227), pixel_format="rgb").convention
    assert MEANS[::-1] == convention.mean


def test_an_override_silences_the_guess_it_replaces() -> None:
    """Who says mean and std needs no warning that they were guessed."""
    assert () == derive(image_spec("x"), mean=ZEROS, std=ONES).warnings


def test_asking_for_metadata_that_is_not_there_is_refused() -> None:
    """``geometry = "metadata"`` without metadata cannot be meant."""
    with pytest.raises(BundleError, match="no metadata_properties"):
        derive(image_spec(), geometry="metadata")
    assert isinstance(
        derive(image_spec(), metadata={}, geometry="metadata").convention.geometry, MetadataGeometry
    )


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        ({}, 224),
        ({"ResizeMethod": "Stretch", "CropMethod": "NoCrop"}, 256),
        ({"ResizeMethod": "Stretch", "CropMethod": "FullImageShorterSide"}, 256),
        ({"CropMethod": "FullImageShorterSide"}, 256),
    ],
)
def test_metadata_of_another_size_is_told(metadata: dict[str, Any], size: int) -> None:
    """The tensor says what the network takes; a metadata file of another model gives itself away."""
    assert () == derive(image_spec(side=size), BGR_HEAD, metadata=metadata).warnings
    warnings = derive(image_spec(side=300), BGR_HEAD, metadata=metadata).warnings
    assert (f"the metadata makes {size} x {size} pixels of a picture, the input takes 300 x 300",) == warnings


def test_a_size_that_depends_on_the_picture_is_no_doubt() -> None:
    """Without a crop the size is the picture's own affair."""
    metadata = {"ResizeMethod": "ByPixelCount", "CropMethod": "NoCrop"}
    assert () == derive(image_spec(side=300), BGR_HEAD, metadata=metadata).warnings


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("Placeholder", "Placeholder"),
        ("serving_default_data:0", "data"),
        ("input_1_int8", "input_1"),
        ("x_uint8", "x"),
    ],
)
def test_names_lose_what_converters_add(name: str, bare: str) -> None:
    """The same input is called differently after each conversion."""
    assert bare == bare_name(name)


@given(
    st.lists(
        st.builds(
            HeadOp,
            st.sampled_from(["MUL", "DIV", "ADD", "SUB", "QUANTIZE", "DEQUANTIZE", "RELU"]),
            st.lists(st.lists(st.floats(), max_size=4), max_size=2),
        ),
        max_size=4,
    ),
    st.sampled_from(["Placeholder", "data", "x", ""]),
    st.sampled_from([1, 224, 227, 300]),
    st.booleans(),
)
@settings(deadline=None)
def test_any_head_gives_a_convention_or_is_refused(
    head: list[HeadOp], name: str, side: int, custom_vision: bool
) -> None:
    """Constants of any number and kind, NaN included, are never a traceback."""
    constants = head_constants(head)
    assert constants.factors is None or constants.addends is None
    assert derive(image_spec(name, side), tuple(head), custom_vision=custom_vision).convention
