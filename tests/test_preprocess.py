"""Pictures to tensors: equal to the reference arrays, for any size, straight into the given memory."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.bilinear import resize_around
from edge_agent.errors import EdgeAgentError, ImageError, UnsupportedModelError
from edge_agent.frames import Pixels
from edge_agent.geometry import Antialias, Crop, Size, Stretch, seen_part, steps_for
from edge_agent.images import read_image
from edge_agent.preprocess import (
    CROP_METHODS,
    RESIZE_METHODS,
    Geometry,
    InputConvention,
    MetadataGeometry,
    NamedGeometry,
    Preprocessor,
)
from edge_agent.tensors import Array, Quantization, TensorSpec
from tests.places import CUSTOM_VISION, need_data

PixelFormat = Literal["bgr", "rgb"]
STRETCH = NamedGeometry("stretch")
SMALL: Pixels = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)
VECTORS = CUSTOM_VISION / "vectors"

REFERENCES: dict[str, tuple[str, PixelFormat]] = {
    "cvipl_seed000_rgb01": ("seed_align32_fullshort224", "rgb"),
    "cvipl_323a179a_rgb01": ("classification_compact_bysh256_crop224", "rgb"),
    "cvipl_8d0caa94_rgb01": ("classification_compact_stretch224", "rgb"),
    "docker22_bgr_224": ("docker", "bgr"),
    "docs256_bgr_224": ("docs", "bgr"),
}


def spec_of(size: Size, dtype: str = "uint8", quantization: Quantization | None = None) -> TensorSpec:
    """An input tensor."""
    return TensorSpec("input", (1, *size, 3), dtype, quantization)


def plain(geometry: Geometry, pixel_format: PixelFormat = "bgr") -> InputConvention:
    """Pixels as they are."""
    return InputConvention(geometry, pixel_format, (0, 0, 0), (1, 1, 1))


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    """A picture in which every pixel matters."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def geometry_named(name: str) -> Geometry:
    """A named geometry, or the one that a metadata file of the test data states."""
    if name == "docker":
        return NamedGeometry("docker")
    if name == "docs":
        return NamedGeometry("docs")
    stated = json.loads((CUSTOM_VISION / "metadata" / f"{name}.json").read_text())
    prefix = "CustomVision.Preprocess."
    target, crop = (
        (int(float(stated[f"{prefix}{key}Height"])), int(float(stated[f"{prefix}{key}Width"])))
        for key in ("Target", "Crop")
    )
    return MetadataGeometry(stated[f"{prefix}ResizeMethod"], target, stated[f"{prefix}CropMethod"], crop)


@need_data
@pytest.mark.parametrize("reference", REFERENCES)
def test_tensors_equal_the_reference_bit_for_bit(reference: str) -> None:
    """What Microsoft's own code makes of a picture, this room makes of it: no code differs."""
    name, pixel_format = REFERENCES[reference]
    preprocessor = Preprocessor(plain(geometry_named(name), pixel_format), spec_of((224, 224)))
    with np.load(VECTORS / f"{reference}.npz") as arrays:
        assert len(arrays.files) >= 5
        for image in arrays.files:
            (file,) = (VECTORS / "images").glob(f"{image}.*")
            difference = preprocessor.prepare(read_image(file))[0].astype(int) - arrays[image]
            assert (image, 0) == (image, int(np.abs(difference).max()))


def linear_axis(length: int, resized: int) -> tuple[Array, Array]:
    """INTER_LINEAR along one axis: the left index, and the fraction, before any clamping."""
    at = ((np.arange(resized) + 0.5) * (1.0 / (resized / length)) - 0.5).astype(np.float32)
    left = np.floor(at).astype(int)
    return left, at - left.astype(np.float32)


def linear(pixels: Pixels, height: int, width: int) -> Array:
    """OpenCV's fixed-point INTER_LINEAR in numpy, from the formula."""
    wide = pixels.astype(np.int64)
    if pixels.shape[:2] == (2 * height, 2 * width):
        return (wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) >> 2
    left, across = linear_axis(pixels.shape[1], width)
    outside = (left < 0) | (left >= pixels.shape[1] - 1)
    across = np.where(outside, np.float32(0), across)
    left = left.clip(0, pixels.shape[1] - 1)
    right = np.minimum(left + 1, pixels.shape[1] - 1)
    w0, w1 = (np.rint(w * np.float32(2048)).astype(np.int64)[:, None] for w in (1 - across, across))
    sums = wide[:, left] * w0 + wide[:, right] * w1
    top, down = linear_axis(pixels.shape[0], height)
    b0, b1 = (np.rint(w * np.float32(2048)).astype(np.int64)[:, None, None] for w in (1 - down, down))
    upper, lower = (sums[k.clip(0, pixels.shape[0] - 1)] for k in (top, top + 1))
    result: Array = (((b0 * (upper >> 4)) >> 16) + ((b1 * (lower >> 4)) >> 16) + 2) >> 2
    return result


sides = st.integers(1, 80)


@settings(deadline=None)
@given(sides, sides, sides, sides)
def test_stretch_is_the_bilinear_of_the_formula(
    height: int, width: int, to_height: int, to_width: int
) -> None:
    """The resize that every export was trained with, independent of the OpenCV version beneath."""
    pixels = noise(height, width)
    expected = pixels if (height, width) == (to_height, to_width) else linear(pixels, to_height, to_width)
    actual = Preprocessor(plain(STRETCH), spec_of((to_height, to_width))).prepare(pixels)
    assert np.array_equal(expected, actual[0])


@settings(deadline=None)
@given(sides, sides, sides, sides)
@example(8, 14, 4, 7)
@example(8, 15, 4, 7)
@example(64, 64, 1, 63)
def test_the_way_around_other_libraries_is_the_same_bilinear(
    height: int, width: int, to_height: int, to_width: int
) -> None:
    """On machines where cv2.resize is not OpenCV's own, the tensor is still that of the formula."""
    pixels = noise(height, width)
    expected = pixels if (height, width) == (to_height, to_width) else linear(pixels, to_height, to_width)
    assert np.array_equal(expected, resize_around(pixels, (to_height, to_width)))
    into = np.empty((to_height, to_width, 3), dtype=np.uint8)
    assert into is resize_around(pixels, (to_height, to_width), into)
    assert np.array_equal(expected, into)


def antialiased_axis(line: list[int], resized: int) -> list[int]:
    """Pillow's BILINEAR of one row of one channel, one pixel after the other."""
    scale = len(line) / resized
    support = max(scale, 1.0)
    result = []
    for output in range(resized):
        center = (output + 0.5) * scale
        taps = range(max(0, int(center - support + 0.5)), min(len(line), int(center + support + 0.5)))
        weights = [max(0.0, 1 - abs((tap - center + 0.5) * (1 / support))) for tap in taps]
        total = 0.0
        for weight in weights:
            total += weight
        fixed = [int(weight / total * 2**22 + 0.5) for weight in weights]
        value = sum(line[tap] * weight for tap, weight in zip(taps, fixed, strict=True))
        result.append(min(255, (value + 2**21) >> 22))
    return result


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_docker_is_the_antialiased_bilinear_of_the_formula(height: int, width: int, side: int) -> None:
    """The whole picture resized by the plain formula, then cropped, is what the short cut gives."""
    pixels = noise(height, width)
    long_side = max(side, round(side * (max(height, width) / min(height, width))))
    size = (long_side, side) if height > width else (side, long_side)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    narrowed = np.array(
        [[antialiased_axis(row, size[1]) for row in c] for c in pixels.transpose(2, 0, 1).tolist()]
    )
    resized = np.array(
        [[antialiased_axis(column, size[0]) for column in c] for c in narrowed.transpose(0, 2, 1).tolist()]
    ).transpose(2, 1, 0)
    actual = Preprocessor(plain(NamedGeometry("docker")), spec_of((side, side))).prepare(pixels)
    assert np.array_equal(resized[top : top + side, left : left + side], actual[0])


@pytest.mark.parametrize(
    ("method", "target", "picture", "expected"),
    [
        ("NoResize", (0, 0), (480, 640), (480, 640)),
        ("Stretch", (224, 300), (480, 640), (224, 300)),
        ("ByShorterSide", (256, 256), (480, 640), (256, 341)),
        ("ByShorterSide", (256, 256), (640, 480), (341, 256)),
        ("ByShorterSide", (10, 10), (4, 5), (10, 13)),  # 12.5: halves go up
        ("ByShorterSide", (10, 20), (5, 5), (20, 20)),  # a square counts as narrow
        ("ByShorterSideAlign32", (224, 224), (480, 640), (224, 320)),
        ("ByShorterSideAlign32", (250, 250), (480, 640), (256, 352)),
        ("ByPixelCount", (512, 512), (480, 640), (443, 591)),
        ("ByPixelCount", (512, 512), (200, 300), (200, 300)),
        ("ByPixelCountAlign32", (512, 512), (480, 640), (448, 608)),
        ("ByPixelCountAlign32", (512, 512), (500, 501), (512, 544)),
        ("ByPixelCountAlign64", (512, 512), (480, 640), (448, 640)),
        ("ByAllSidesAlign32", (0, 0), (480, 641), (480, 672)),
    ],
)
def test_resize_methods(method: str, target: Size, picture: Size, expected: Size) -> None:
    """Each ResizeMethod gives the size that Microsoft's interpreter of the metadata gives."""
    steps = steps_for(MetadataGeometry(method, target, "NoCrop", (0, 0)), picture, expected)
    assert (() if picture == expected else (Stretch(expected),)) == steps


@pytest.mark.parametrize(
    ("method", "crop", "expected"),
    [
        ("NoCrop", (5, 5), (Stretch((7, 7)),)),
        ("FullImageShorterSide", (0, 0), (Crop(0, 2, (8, 8)), Stretch((7, 7)))),  # (13 - 8) / 2 rounded down
        ("OneCropCenter", (7, 7), (Crop(0, 3, (7, 7)),)),
        ("OneCropCenter", (20, 6), (Crop(0, 3, (8, 6)), Stretch((7, 7)))),
    ],
)
def test_crop_methods(method: str, crop: Size, expected: tuple[object, ...]) -> None:
    """Each CropMethod cuts at offsets rounded down; another size than the tensor's is stretched once more."""
    assert expected == steps_for(MetadataGeometry("NoResize", (0, 0), method, crop), (8, 13), (7, 7))


@pytest.mark.parametrize(
    ("geometry", "picture", "expected"),
    [
        (NamedGeometry("stretch"), (480, 640), (Stretch((224, 224)),)),
        (NamedGeometry("stretch"), (224, 224), ()),
        (NamedGeometry("center-square"), (480, 641), (Crop(0, 80, (480, 480)), Stretch((224, 224)))),
        (NamedGeometry("docker"), (480, 640), (Antialias((224, 299), Crop(0, 37, (224, 224))),)),
        (NamedGeometry("docker"), (224, 300), (Crop(0, 38, (224, 224)),)),
        (
            NamedGeometry("docs"),
            (1200, 1600),
            (Crop(0, 200, (1200, 1200)), Stretch((256, 256)), Crop(16, 16, (224, 224))),
        ),
        (
            NamedGeometry("docs"),
            (3000, 2000),
            (
                Stretch((1600, 1066)),
                Crop(267, 0, (1066, 1066)),
                Stretch((256, 256)),
                Crop(16, 16, (224, 224)),
            ),
        ),
        (
            NamedGeometry("docs"),
            (5, 10),
            (Crop(0, 3, (5, 5)), Stretch((256, 256)), Crop(16, 16, (224, 224))),
        ),
    ],
)
def test_named_geometries(geometry: Geometry, picture: Size, expected: tuple[object, ...]) -> None:
    """The fixed ways go through exactly the resizes and crops of the predictors that they stand for."""
    assert expected == steps_for(geometry, picture, (224, 224))


@pytest.mark.parametrize("pixel_format", ["bgr", "rgb"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_colour_order_is_the_conventions(pixel_format: PixelFormat, dtype: str) -> None:
    """Channels are exchanged for rgb and only then."""
    expected = SMALL if pixel_format == "bgr" else SMALL[:, :, ::-1]
    actual = Preprocessor(plain(STRETCH, pixel_format), spec_of((6, 9), dtype)).prepare(SMALL)
    assert (dtype, (1, 6, 9, 3)) == (actual.dtype.name, actual.shape)
    assert np.array_equal(expected, actual[0])


@pytest.mark.parametrize("pixel_format", ["bgr", "rgb"])
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "mean", "std"),
    [
        ("uint8", 1.0, 0, (0, 0, 0), (1, 1, 1)),
        ("int8", 1.0, -128, (0, 0, 0), (1, 1, 1)),
        ("int8", 1.0, -128, (0, 0, 1), (1, 1, 1)),
        ("int8", 0.5, 7, (104, 117, 123), (1, 1, 1)),
        ("uint8", 1 / 128, 128, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ("uint8", 0.003921568859368563, 0, (0, 0, 0), (255, 255, 255)),
        ("uint8", 2.0, 0, (0, 0, 0), (1, 1, 1)),  # halves: to even
        ("uint8", 1e-30, 255, (3, 4, 5), (1, -1, 1)),  # everything is clipped
        ("float32", None, None, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ("float32", None, None, (104, 117, 123), (58.4, 57.1, 57.4)),
    ],
)
def test_codes_are_the_formulas(
    pixel_format: PixelFormat,
    dtype: str,
    scale: float | None,
    zero_point: int | None,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> None:
    """clip(rint(((p - mean) / std) / scale) + zero_point), per channel in the convention's order."""
    quantization = None if scale is None or zero_point is None else Quantization(scale, zero_point)
    pixels = np.dstack([np.arange(256), np.arange(255, -1, -1), np.arange(256) ^ 85]).astype(np.uint8)
    ordered = pixels if pixel_format == "bgr" else pixels[:, :, ::-1]
    expected = (ordered.astype(np.float64) - mean) / std
    if quantization is not None:
        limits = np.iinfo(dtype)
        codes = np.rint(expected / quantization.scale) + quantization.zero_point
        expected = np.clip(codes, limits.min, limits.max)
    convention = InputConvention(STRETCH, pixel_format, mean, std)
    actual = Preprocessor(convention, spec_of((1, 256), dtype, quantization)).prepare(pixels)
    assert np.array_equal(expected.astype(dtype), actual[0])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
@pytest.mark.parametrize("pixel_format", ["bgr", "rgb"])
@pytest.mark.parametrize("size", [(6, 9), (4, 4)])
def test_out_is_filled_and_returned(dtype: str, pixel_format: PixelFormat, size: Size) -> None:
    """The tensor is written where the caller wants it, and the camera's picture stays as it was."""
    picture = SMALL.copy()
    picture.setflags(write=False)
    quantization = None if dtype == "float32" else Quantization(1.0, -100)
    preprocessor = Preprocessor(plain(STRETCH, pixel_format), spec_of(size, dtype, quantization))
    out = np.full((1, *size, 3), 77, dtype=dtype)
    assert preprocessor.prepare(picture, out) is out
    assert np.array_equal(preprocessor.prepare(picture), out)
    assert np.array_equal(SMALL, picture)


@pytest.mark.parametrize(
    "out",
    [
        np.empty((1, 6, 9, 3), np.int8),
        np.empty((6, 9, 3), np.uint8),
        np.empty((1, 6, 18, 3), np.uint8)[:, :, ::2],
    ],
)
def test_another_out_is_refused(out: Array) -> None:
    """A buffer of the wrong kind would be silently replaced by OpenCV; that is refused before."""
    with pytest.raises(ValueError, match="out must be"):
        Preprocessor(plain(STRETCH), spec_of((6, 9))).prepare(SMALL, out)


@pytest.mark.parametrize(
    "view", [SMALL[::-1], SMALL[:, ::-1], SMALL[1:5, 2:8], SMALL.transpose(1, 0, 2), SMALL[:, :, ::-1]]
)
@pytest.mark.parametrize("name", ["stretch", "docker", "docs", "center-square"])
def test_views_are_pictures_too(
    view: Pixels, name: Literal["stretch", "docker", "docs", "center-square"]
) -> None:
    """A turned or cut picture, which is a view, gives what its copy gives."""
    for size in ((4, 4), view.shape[:2]):
        preprocessor = Preprocessor(plain(NamedGeometry(name), "rgb"), spec_of(size))
        assert np.array_equal(preprocessor.prepare(view.copy()), preprocessor.prepare(view))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_what_is_no_picture_is_an_image_error(pixels: Array) -> None:
    """Grey, alpha, empty and float arrays are named, with their shape."""
    with pytest.raises(ImageError, match="a picture is"):
        Preprocessor(plain(STRETCH), spec_of((4, 4))).prepare(pixels)


@pytest.mark.parametrize(
    ("geometry", "picture", "expected"),
    [
        (NamedGeometry("stretch"), (480, 640), Crop(0, 0, (480, 640))),
        (NamedGeometry("center-square"), (480, 640), Crop(0, 80, (480, 480))),
        # 640 becomes 299, not 298.7; of those 37 are cut off before the centre.
        (NamedGeometry("docker"), (480, 640), Crop(0, 79, (480, 480))),
        (NamedGeometry("docker"), (640, 480), Crop(79, 0, (480, 480))),
        (NamedGeometry("docker"), (224, 300), Crop(0, 38, (224, 224))),
        # 256 x 256 of the square, of which 224 are seen: 16 of 256 are 30 of 480.
        (NamedGeometry("docs"), (480, 640), Crop(30, 110, (420, 420))),
        (NamedGeometry("docs"), (1080, 1920), Crop(67, 487, (946, 946))),
        (
            MetadataGeometry("ByShorterSide", (224, 224), "FullImageShorterSide", (0, 0)),
            (480, 640),
            Crop(0, 79, (480, 480)),
        ),
        (
            MetadataGeometry("Stretch", (448, 448), "OneCropCenter", (224, 224)),
            (480, 640),
            Crop(120, 160, (240, 320)),
        ),
    ],
)
def test_the_part_that_a_network_sees(geometry: Geometry, picture: Size, expected: Crop) -> None:
    """Followed back through resizes and crops to the pixels of the picture."""
    assert expected == seen_part(geometry, picture, (224, 224))
    pixels = np.full((*picture, 3), 200, np.uint8)
    part = Preprocessor(plain(geometry), spec_of((224, 224))).seen_part(pixels)
    assert expected.size == part.shape[:2]
    part[:] = 9
    # A resize mixes neighbours, so the rim of the part has something of what is beside it.
    assert (Preprocessor(plain(geometry), spec_of((224, 224))).prepare(pixels)[0, 2:-2, 2:-2] == 9).all()


def test_a_sliver_is_refused_before_memory_is_taken() -> None:
    """1 x 100000 by its shorter side would be 22 million pixels high: 15 GB."""
    geometry = MetadataGeometry("ByShorterSide", (224, 224), "OneCropCenter", (224, 224))
    preprocessor = Preprocessor(plain(geometry), spec_of((224, 224)))
    with pytest.raises(ImageError, match="a picture of 1 x 100000 pixels is too narrow"):
        preprocessor.prepare(np.zeros((100_000, 1, 3), np.uint8))


@pytest.mark.parametrize("name", ["docker", "docs", "stretch", "center-square"])
def test_named_geometries_take_any_sliver(
    name: Literal["docker", "docs", "stretch", "center-square"],
) -> None:
    """The named geometries compute what they keep: no aspect ratio is too much for them."""
    actual = Preprocessor(plain(NamedGeometry(name)), spec_of((32, 32))).prepare(
        np.full((1, 90_000, 3), 9, np.uint8)
    )
    assert np.array_equal(np.full((1, 32, 32, 3), 9), actual)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (TensorSpec("x", (1, 3, 224, 224), "uint8"), "NCHW"),
        (TensorSpec("x", (1, 224, 224, 1), "uint8"), "three channels"),
        (TensorSpec("x", (2, 224, 224, 3), "uint8"), "one picture"),
        (TensorSpec("x", (1, 0, 224, 3), "uint8"), "one picture"),
        (TensorSpec("x", (1, 1001), "uint8"), "one picture"),
        (TensorSpec("x", (1, 2**20, 2**20, 3), "uint8"), "too large"),
        (TensorSpec("x", (1, 224, 224, 3), "int16"), "int16"),
        (TensorSpec("x", (1, 224, 224, 3), "uint8", Quantization(0.0, 0)), "scale"),
        (TensorSpec("x", (1, 224, 224, 3), "int8", Quantization(math.nan, 0)), "scale"),
    ],
)
def test_inputs_that_are_no_picture_are_unsupported(spec: TensorSpec, reason: str) -> None:
    """Refused when the model is opened, not at the first frame."""
    with pytest.raises(UnsupportedModelError, match=reason):
        Preprocessor(plain(STRETCH), spec)


@pytest.mark.parametrize(
    "geometry",
    [
        MetadataGeometry("CutCenter", (224, 224), "NoCrop", (0, 0)),
        MetadataGeometry("stretch", (224, 224), "NoCrop", (0, 0)),
        MetadataGeometry("Stretch", (224, 224), "OneCropRandom", (224, 224)),
        MetadataGeometry("Stretch", (0, 224), "NoCrop", (0, 0)),
        MetadataGeometry("Stretch", (10**9, 10**9), "NoCrop", (0, 0)),
        MetadataGeometry("Stretch", (224, 224), "OneCropCenter", (0, 0)),
    ],
)
def test_geometries_that_cannot_be_carried_out_are_unsupported(geometry: Geometry) -> None:
    """Unknown, random and impossible ones are refused when the model is opened."""
    with pytest.raises(UnsupportedModelError):
        Preprocessor(plain(geometry), spec_of((224, 224)))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0, 0, 0), (1, 0, 1)),
        ((math.nan, 0, 0), (1, 1, 1)),
        ((0, 0, 0), (math.inf, 1, 1)),
        ((0, 0, 0), (1, 1e-300, 1)),
    ],
)
def test_normalisations_that_make_no_numbers_are_unsupported(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    """A zero deviation or a value that is no number is refused when the model is opened."""
    with pytest.raises(UnsupportedModelError):
        Preprocessor(InputConvention(STRETCH, "bgr", mean, std), spec_of((4, 4), "float32"))


sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))
geometries: st.SearchStrategy[Geometry] = st.one_of(
    st.builds(NamedGeometry, st.sampled_from(["docker", "docs", "stretch", "center-square"])),
    st.builds(
        MetadataGeometry,
        st.sampled_from(sorted(RESIZE_METHODS)),
        sizes,
        st.sampled_from(sorted(CROP_METHODS)),
        sizes,
    ),
)
means = st.tuples(*[st.sampled_from([0.0, 104.0, 127.5, -3.5, 1e9])] * 3)
deviations = st.tuples(*[st.sampled_from([1.0, 127.5, -3.5, 1e-9, 1e9])] * 3)
conventions = st.builds(InputConvention, geometries, st.sampled_from(["bgr", "rgb"]), means, deviations)
quantizations = st.builds(Quantization, st.sampled_from([1.0, 1 / 128, 0.5]), st.integers(-128, 255))
specs = st.builds(
    spec_of,
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.sampled_from(["uint8", "int8", "float32"]),
    st.none() | quantizations,
)


@settings(deadline=None, max_examples=200)
@given(sizes, conventions, specs)
def test_any_picture_gives_the_tensor_or_an_error_of_ours(
    size: Size, convention: InputConvention, spec: TensorSpec
) -> None:
    """Every size and every convention gives the spec's shape and dtype, or an EdgeAgentError."""
    try:
        actual = Preprocessor(convention, spec).prepare(noise(*size))
    except EdgeAgentError:
        return
    assert (spec.shape, spec.dtype) == (actual.shape, actual.dtype.name)


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_the_part_that_is_seen_lies_in_the_picture(height: int, width: int, data: st.DataObject) -> None:
    """And has a pixel at least, whatever the geometry."""
    geometry = data.draw(geometries)
    try:
        part = seen_part(geometry, (height, width), (32, 48))
    except EdgeAgentError:
        return
    assert 0 <= part.top < part.top + part.size[0] <= height
    assert 0 <= part.left < part.left + part.size[1] <= width


def test_threads_may_share_a_preprocessor() -> None:
    """Pictures of many sizes prepared at once come out as they do one by one."""
    preprocessor = Preprocessor(
        InputConvention(NamedGeometry("docker"), "rgb", (1, 2, 3), (1, 1, 1)), spec_of((32, 32), "float32")
    )
    pictures = [noise(40 + number % 17, 90 - number % 23, number) for number in range(60)]
    expected = [preprocessor.prepare(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        actual = list(pool.map(preprocessor.prepare, pictures))
    assert all(np.array_equal(one, other) for one, other in zip(expected, actual, strict=True))
