"""Class names in every form met, and against the model's output."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle.labels import (
    MAX_LABEL_LENGTH,
    MAX_LABELS,
    MAX_LABELS_BYTES,
    Labels,
    embedded_labels,
    fit_labels,
    parse_labels,
)
from edge_agent.errors import EdgeAgentError, LabelsError
from edge_agent.tensors import TensorSpec
from tests.bundle_samples import MODEL, zip_bytes
from tests.places import CORAL, need_data


def names(content: bytes, *, plain: bool = False) -> tuple[str, ...]:
    """The names alone."""
    return parse_labels(content, "labels.txt", plain=plain).names


@pytest.mark.parametrize(
    "content",
    [
        b"apple\norange",
        b"apple\norange\n",
        b"apple\norange\n\n  \n",
        b"apple\r\norange\r\n",
        b"apple\rorange",
        b"\xef\xbb\xbfapple\norange",
        b"  apple \norange\t",
        b"0 apple\n1 orange",
        b"   0  apple\n   1  orange\n",
        b"0: apple\n1:orange",
        b"0\tapple\r\n1\torange\r\n",
        b"0 apple\n\n1 orange",
    ],
)
def test_all_forms_give_the_same_names(content: bytes) -> None:
    """Line ends, a BOM, white space and indices are no part of a name."""
    assert ("apple", "orange") == names(content)


def test_a_missing_index_is_named_by_itself() -> None:
    """Coral's COCO list leaves out classes that nobody trained."""
    assert ("person", "1", "2", "car") == names(b"0 person\n3 car")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"1 euro\n2 euro", ("1 euro", "2 euro")),
        (b"1 cat\n2 dog", ("1 cat", "2 dog")),
        (b"0 stars\n1 star\n2 stars", ("0 stars", "1 star", "2 stars")),
        (b"0 a\n2 b\n1 c", ("0 a", "2 b", "1 c")),
        (b"0 a\nb", ("0 a", "b")),
        (b"0 a\n0 b", ("0 a", "0 b")),
        (b"0\n1\n2", ("0", "1", "2")),
        (b"0a\n1b", ("0a", "1b")),
        ("٠ a\n١ b".encode(), ("٠ a", "١ b")),
    ],
)
def test_names_that_begin_with_numbers_stay_whole(content: bytes, expected: tuple[str, ...]) -> None:
    """Only a complete, ascending list from 0 whose names stay distinct is read as indices."""
    assert expected == names(content)


def test_custom_vision_labels_are_always_plain() -> None:
    """A Custom Vision export has one class a line, whatever it looks like."""
    assert ("0 apples", "1 apple") == names(b"0 apples\n1 apple", plain=True)


def test_names_outside_ascii() -> None:
    """Labels are UTF-8."""
    assert ("Äpfel", "橙子", "🍊") == names("Äpfel\n橙子\n🍊".encode())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no labels"),
        (b"\n \n", "holds no labels"),
        (b"\xef\xbb\xbf", "holds no labels"),
        (b"apple\n\norange", "line 2 is empty"),
        ("Äpfel".encode("latin-1"), "not UTF-8"),
        ("apple".encode("utf-16"), "not UTF-8"),
        (b"app\x00le", "control characters"),
        (b"app\x1b[31mle", "control characters"),
        (b"apple\tpie\npear", "control characters"),
        ("a\u2028b".encode(), "control characters"),
        (b"x" * (MAX_LABEL_LENGTH + 1), "1025 characters"),
        (b"x" * (MAX_LABELS_BYTES + 1), "more than"),
        (b"x\n" * (MAX_LABELS + 1), "more than"),
        (b"0 a\n999999999 b", "index 999999999"),
    ],
)
def test_what_cannot_be_labels_is_refused(content: bytes, reason: str) -> None:
    """An empty line would shift every class after it; control characters would reach a terminal or topic."""
    with pytest.raises(LabelsError, match=reason):
        names(content)


def test_a_name_met_twice_is_a_warning() -> None:
    """ImageNet has two cranes; a list made by hand may have a slip."""
    labels = parse_labels(b"crane\ndog\ncrane", "labels.txt")
    assert ("crane", "dog", "crane") == labels.names
    assert ("labels.txt: 1 label(s) stand for several classes, such as 'crane'",) == labels.warnings


@need_data
def test_the_published_list_of_imagenet() -> None:
    """Coral's own file: indices right-aligned, 1001 classes."""
    labels = names((CORAL / "imagenet_labels.txt").read_bytes())
    assert 1001 == len(labels)
    assert ("background", "tench, Tinca tinca") == labels[:2]
    assert "Egyptian cat" == labels[286]


@need_data
def test_labels_embedded_in_published_models() -> None:
    """The same names are in the model files themselves."""
    for name in ("mobilenet_v1_0.25_128_quant.tflite", "mobilenet_v1_0.25_128_quant_edgetpu.tflite"):
        labels = embedded_labels((CORAL / name).read_bytes(), name)
        assert labels is not None
        assert f"imagenet_labels.txt embedded in {name}" == labels.origin
        assert "Egyptian cat" == labels.names[286]
    without = CORAL / "mobilenet_v2_1.0_224_quant.tflite"
    assert embedded_labels(without.read_bytes(), without.name) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"x.txt": b"a\nb"}, ("a", "b")),
        ({"vocabulary.txt": b"no", "my_labels.txt": b"a\nb"}, ("a", "b")),
        ({"labels_a.txt": b"a", "labels_b.txt": b"b"}, None),
        ({"photo.jpg": b"a"}, None),
    ],
)
def test_which_embedded_file_is_taken(files: dict[str, bytes], expected: tuple[str, ...] | None) -> None:
    """The only text, else the only one that is called labels; else there are none."""
    labels = embedded_labels(MODEL + zip_bytes(files), "model.tflite")
    assert expected == (None if labels is None else labels.names)


def test_an_embedded_bomb_is_refused() -> None:
    """A model's appendix is held to the same caps as any zip."""
    bomb = MODEL + zip_bytes({"labels.txt": bytes(MAX_LABELS_BYTES * 2)})
    with pytest.raises(LabelsError, match=r"embedded in model\.tflite.*zip bomb"):
        embedded_labels(bomb, "model.tflite")


def test_damaged_embedded_labels_are_told() -> None:
    """A model whose appendix is damaged is damaged."""
    content = zip_bytes({"labels.txt": b"apple"}, zipfile.ZIP_STORED).replace(b"apple", b"apply")
    with pytest.raises(LabelsError, match="damaged"):
        embedded_labels(MODEL + content, "model.tflite")


@pytest.mark.parametrize("shape", [(1, 2), (2,)])
def test_labels_that_fit(shape: tuple[int, ...]) -> None:
    """One name for each class, with or without a batch axis."""
    labels = Labels(("a", "b"), "labels.txt")
    assert labels is fit_labels(labels, TensorSpec("scores", shape, "float32"))


def test_labels_that_do_not_fit_name_both_places() -> None:
    """The error says how many there are where, for either may be the wrong file."""
    with pytest.raises(LabelsError) as caught:
        fit_labels(Labels(("a", "b"), "labels.txt"), TensorSpec("scores", (1, 3), "float32"))
    assert (
        "labels.txt has 2 labels, but the model's output 'scores' [1, 3] has 3 classes" == caught.value.what
    )


def test_without_labels_the_index_is_the_name() -> None:
    """A model without labels can be tried, and says what is missing."""
    labels = fit_labels(None, TensorSpec("scores", (1, 3), "float32"))
    assert ("0", "1", "2") == labels.names
    assert len(labels.warnings) == 1


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_labels_or_refused(content: bytes) -> None:
    """What is let through is non-empty, printable as one line, and can be encoded again."""
    try:
        labels = parse_labels(content, "labels.txt")
    except LabelsError:
        return
    assert labels.names
    for name in labels.names:
        assert 1 == len(f"{name}".splitlines())
        assert name.encode()


@given(st.lists(st.integers(0, 50), min_size=1, unique=True).map(sorted))
@settings(deadline=None)
def test_indices_are_kept(indices: list[int]) -> None:
    """In the indexed form a name stands at its index."""
    content = "\n".join(f"{index}  name of {index}" for index in [-1 + 1, *[i for i in indices if i]])
    labels = names(content.encode())
    for index in indices:
        assert f"name of {index}" == labels[index]


@given(st.data())
@settings(deadline=None)
def test_any_appendix_is_labels_or_refused(data: st.DataObject) -> None:
    """A damaged appendix is never a traceback."""
    content = bytearray(MODEL + zip_bytes({"labels.txt": b"apple\norange"}))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        embedded_labels(bytes(content), "model.tflite")
    except EdgeAgentError:
        return


def test_an_appendix_of_nothing_is_none() -> None:
    """A zip without entries holds no labels."""
    stream = io.BytesIO()
    zipfile.ZipFile(stream, "w").close()
    assert embedded_labels(MODEL + stream.getvalue(), "model.tflite") is None
