"""What the Edge TPU would run: what the published table says, and nothing surer than that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.workbench.edgetpu_mapping import CACHE_BYTES, Mapping, Verdict, predict
from edge_agent.workbench.graph import Graph, Operator, Tensor, read_graph
from tests.places import CORAL, CUSTOM_VISION, need_data


def picture(shape: tuple[int, ...] = (1, 8, 8, 4), dtype: str = "int8") -> Tensor:
    """A computed tensor."""
    return Tensor("moving", shape, dtype, (0.1,))


def constant(*values: int) -> Tensor:
    """A constant of int32."""
    return Tensor("constant", (len(values),), "int32", constant_bytes=4 * len(values), values=values)


WEIGHTS = Tensor("weights", (4, 3, 3, 4), "int8", (0.1,), constant_bytes=144)


def graph_of(*steps: tuple[str, list[Tensor], Tensor] | tuple[str, list[Tensor], Tensor, Operator]) -> Graph:
    """A chain: each step takes the one before's output, then its further inputs."""
    tensors, operators = [picture()], []
    for name, further, output, *options in steps:
        taken = [len(tensors) - 1, *range(len(tensors), len(tensors) + len(further))]
        tensors += [*further, output]
        pattern = options[0] if options else Operator("", (), ())
        operators.append(replace(pattern, name=name, inputs=tuple(taken), outputs=(len(tensors) - 1,)))
    return Graph(tuple(tensors), tuple(operators), (0,), (len(tensors) - 1,), 0)


def options(activation: str = "", **numbers: int) -> Operator:
    """What an operator has beside its name and tensors."""
    return Operator("", (), (), activation, tuple(numbers.items()))


def only(mapping: Mapping) -> tuple[Verdict, str]:
    """Verdict and reason of the one row."""
    (row,) = mapping.rows
    return row.verdict, row.reason


PAIRS = ["mobilenet_v1_0.25_128_quant", "mobilenet_v2_1.0_224_quant"]


@need_data
@pytest.mark.parametrize("name", PAIRS)
def test_what_coral_compiled_whole_is_predicted_whole(name: str) -> None:
    """Their compiled twins are one operator: the compiler mapped all of them."""
    compiled = read_graph((CORAL / f"{name}_edgetpu.tflite").read_bytes())
    assert ["edgetpu-custom-op"] == [operator.name for operator in compiled.operators]
    mapping = predict(read_graph((CORAL / f"{name}.tflite").read_bytes()))
    assert {Verdict.MAPS} == {row.verdict for row in mapping.rows}
    assert mapping.fits


@need_data
def test_of_a_float_export_it_is_said_what_would_map() -> None:
    """Apple_orange as exported, in float16: the channel shuffles are unproven, all else would map."""
    graph = read_graph((CUSTOM_VISION / "apple_orange" / "model.tflite").read_bytes())
    mapping = predict(graph)
    assert mapping.supposed
    assert {"RESHAPE", "TRANSPOSE"} == {
        row.operator for row in mapping.rows if row.verdict is Verdict.UNPROVEN
    }
    assert (125, 48, 0) == tuple(map(mapping.count, Verdict))
    assert graph.parameters / 2 == pytest.approx(mapping.parameters, rel=0.01)


def test_what_is_left_in_float_stays_on_the_cpu() -> None:
    """One operator that works in float, in a network that is in 8 bits otherwise."""
    mapping = predict(
        graph_of(("CONV_2D", [WEIGHTS], picture()), ("CONV_2D", [WEIGHTS], picture(dtype="float32")))
    )
    assert not mapping.supposed
    assert (Verdict.CPU, "it works on float32") == (mapping.rows[1].verdict, mapping.rows[1].reason)


def test_a_channel_shuffle_is_unproven() -> None:
    """RESHAPE, TRANSPOSE, RESHAPE: the table has them, with limits that nobody published."""
    mapping = predict(
        graph_of(
            ("RESHAPE", [constant(1, 64, 2, 2)], picture((1, 64, 2, 2))),
            ("TRANSPOSE", [constant(0, 1, 3, 2)], picture((1, 64, 2, 2))),
            ("RESHAPE", [constant(1, 8, 8, 4)], picture()),
        )
    )
    assert (0, 3, 0) == tuple(map(mapping.count, Verdict))
    assert "0 of 3 operators map, 3 are unproven" == mapping.summary


def test_a_reshape_that_flattens_maps() -> None:
    """One that only drops sides of 1, or makes one row, is in every compiled classifier."""
    step = ("RESHAPE", [constant(1, 256)], picture((1, 256)))
    assert (Verdict.MAPS, "") == only(predict(graph_of(step)))


def test_what_lies_behind_an_operator_on_the_cpu_stays_there() -> None:
    """The compiler takes one stretch. The operator itself is named with the fix."""
    mapping = predict(
        graph_of(
            ("CONV_2D", [WEIGHTS], picture()),
            ("LEAKY_RELU", [], picture()),
            ("CONV_2D", [WEIGHTS], picture()),
        )
    )
    first, leaky, second = mapping.rows
    assert (Verdict.MAPS, Verdict.CPU, Verdict.CPU) == (first.verdict, leaky.verdict, second.verdict)
    assert leaky.fix.startswith("use ReLU or ReLU6 instead of LeakyReLU")
    assert "behind one that stays on the CPU" == second.reason
    assert 144 == mapping.parameters


def test_what_stays_on_the_cpu_at_the_beginning_keeps_nothing_off() -> None:
    """A float input is quantised on the CPU, and the rest maps."""
    mapping = predict(graph_of(("CAST", [], picture()), ("CONV_2D", [WEIGHTS], picture())))
    assert [Verdict.CPU, Verdict.MAPS] == [row.verdict for row in mapping.rows]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (("MAX_POOL_2D", [], picture(), options("RELU")), "RELU is fused into it"),
        (("CONV_2D", [WEIGHTS], picture(), options(dilationHFactor=2, dilationWFactor=1)), "dilation 2 x 1"),
        (("CONV_2D", [WEIGHTS], picture(dtype="float32")), "it works on float32"),
        (("SOFTMAX", [], picture()), "is not one row"),
        (("PAD", [constant(1, 0, 0, 0, 0, 0, 0, 0)], picture((2, 8, 8, 4))), "more than 3 sides"),
        (("PAD", [constant(1, 0, 0, 0, 0, 0, 0, 0)], picture()), "it pads the batch"),
        (("PACK", [], picture(), options(axis=0)), "it works on the batch"),
        (("STRIDED_SLICE", [constant(0), constant(1), constant(2)], picture()), "only strides of 1 map"),
        (("NOBODY_KNOWS", [], picture()), "the Edge TPU has no such operator"),
    ],
)
def test_the_tables_limits(step: tuple[str, list[Tensor], Tensor], reason: str) -> None:
    """Each keeps an operator on the CPU that would map otherwise."""
    verdict, told = only(predict(graph_of(step)))
    assert Verdict.CPU == verdict
    assert reason in told


def test_a_mean_over_an_odd_number_of_channels_stays_off() -> None:
    """Over height and width it maps; over channels, only a multiple of 4."""
    over_place = graph_of(("MEAN", [constant(1, 2)], picture((1, 4))))
    assert (Verdict.MAPS, "") == only(predict(over_place))
    odd = graph_of(("MEAN", [constant(-1)], picture((1, 8, 8))))
    odd = replace(odd, tensors=(picture((1, 8, 8, 3)), *odd.tensors[1:]))
    assert (Verdict.CPU, "it reduces 3 channels") == only(predict(odd))


def test_parameters_are_held_against_the_cache() -> None:
    """One byte more than 8 MB does not fit."""
    assert Mapping((), CACHE_BYTES).fits
    assert not Mapping((), CACHE_BYTES + 1).fits
