"""Where a quantized network leaves the float one: a fault put into one tensor is found there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import cnn, pictures, ranges_of, save, with_weights

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.reporting import html
from int8gate.runtimes.artifact import ONNX
from int8gate.validation.error_origin import LEAST_FALL_DB, find, origin, sentence
from int8gate.validation.error_trace import CEILING_DB, Step, trace
from int8gate.validation.gates.result import UNKNOWN_CAUSE, GateResult, failed, with_origin

STATIC = RECIPES["onnx_int8"]
MASK = """
<ir_version: 8, opset_import: ["" : 17]>
masked (float[1, 3, 16, 16] image) => (float[1, 16] scores) {
    pooled = ReduceMean <axes = [1, 3], keepdims = 0> (image)
    spread = Mul (pooled, gain)
    masked = Add (spread, mask)
    scores = Softmax (masked)
}
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A float network, its ranges, and the tensors that get one."""
    folder = tmp_path_factory.mktemp("origin")
    path = folder / "float.onnx"
    prepare(save(cnn(), folder / "raw.onnx"), path)
    wanted = sorted(tensors_to_quantize(path))
    return path, ranges_of(path, wanted, pictures()), wanted


@pytest.fixture(scope="module")
def inputs():
    return [pictures(8)]


def quantized(path, ranges, folder):
    quantize(path, STATIC, ranges, folder)
    return folder / ONNX


def test_an_honest_network_has_no_origin_but_its_sum(network, inputs, tmp_path):
    path, ranges, _ = network
    found = find(path, quantized(path, ranges, tmp_path), inputs)
    assert found["sentence"].startswith("no single operator: the error adds up")
    assert all(row["fall_db"] < LEAST_FALL_DB for row in found["operators"])


@settings(max_examples=12, deadline=None)
@given(data=st.data(), width=st.floats(60, 2000))
def test_a_range_that_is_too_wide_is_found_where_it_is(
    network, inputs, tmp_path_factory, data, width
):
    path, ranges, wanted = network
    name = data.draw(st.sampled_from(wanted))
    spoiled = ranges | {name: tuple(width * end for end in ranges[name])}
    file = quantized(path, spoiled, tmp_path_factory.mktemp("wide"))
    found = find(path, file, inputs)
    assert f"({name})" in found["sentence"]
    assert "makes one level" in found["sentence"]


def test_a_mask_is_named_as_one():
    steps = [
        Step("Add", "masked", 40.0, -0.9, -1e9, 25.3, 5.2, 3.9e6),
        Step("Softmax", "scores", -0.9, 0.5, 0.0, 1.0, 0.1, 1 / 256),
    ]
    found = origin(steps, 16)["sentence"]
    assert "Add (masked)" in found
    assert "those of a mask" in found


def test_masked_values_do_not_hide_what_the_others_lose(tmp_path):
    """The mask's own values are kept well: pooled, the sum would have an excellent ratio."""
    arrays = {
        "gain": np.full(16, 8, np.float32),
        "mask": np.where(np.arange(16) < 8, 0, -1e9).astype(np.float32),
    }
    path = save(with_weights(MASK, arrays), tmp_path / "float.onnx")
    coarse = arrays | {"gain": np.zeros(16, np.float32)}  # what one level of 4e6 leaves of them
    other = save(with_weights(MASK, coarse), tmp_path / "coarse.onnx")
    by_tensor = {step.tensor: step for step in trace(path, other, [pictures(8)])}
    assert by_tensor["masked"].sqnr_db < 0


def test_the_same_network_has_no_error(network, inputs):
    path, *_ = network
    steps = trace(path, path, inputs)
    assert len(steps) > 5
    assert {step.sqnr_db for step in steps} == {CEILING_DB}


def test_networks_without_common_names_have_no_origin(network, inputs, tmp_path):
    path, *_ = network
    other = cnn()
    for node in other.graph.node:
        node.output[:] = [f"renamed_{name}" for name in node.output]
        node.input[:] = [
            f"renamed_{name}" if not name.startswith(("w", "b1", "b2", "b3", "image")) else name
            for name in node.input
        ]
    other.graph.output[0].name = "renamed_scores"
    assert find(path, save(other, tmp_path / "other.onnx"), inputs) is None
    assert origin([], 8) is None


def step_of(tensor, inputs, sqnr_db, kind="Conv", before_db=40.0, high=1.0, level=0.004):
    return Step(kind, tensor, before_db, sqnr_db, 0.0, high, high / 4, level, tuple(inputs))


def test_an_error_that_is_over_before_the_output_is_not_its_origin():
    """A branch that adds nearly nothing to the sum may be all noise."""
    branch = step_of("branch", ["image"], -2.0)
    spoiled = step_of("spoiled", ["sum"], 12.0, "Exp", before_db=38.0)
    steps = [
        step_of("image", [], 48.0, "input"),
        branch,
        step_of("sum", ["image", "branch"], 38.0, "Add", before_db=-2.0),
        spoiled,
        step_of("scores", ["spoiled"], 11.0, "Gemm", before_db=12.0),
    ]
    assert "Exp (spoiled)" in origin(steps, 16)["sentence"]
    assert branch.tensor not in [row["tensor"] for row in origin(steps, 16)["operators"]]
    steps[2] = step_of("sum", ["image", "branch"], 14.0, "Add", before_db=-2.0)
    assert "(branch)" in origin(steps, 16)["sentence"]


def test_a_level_that_another_tensor_needs_is_told_as_shared():
    small = step_of("small", ["image"], 2.0, "CONV_2D", high=0.05, level=0.06)
    steps = [
        small,
        step_of("part", ["small"], 2.0, "SLICE", before_db=2.0, high=0.05, level=0.06),
        step_of("joined", ["part"], 2.0, "CONCATENATION", before_db=2.0, high=15.0, level=0.06),
    ]
    told = origin(steps, 16)["sentence"]
    assert "CONCATENATION (joined) puts them on one scale with others, from 0 to 15" in told


def test_a_tensor_of_one_file_alone_passes_on_what_it_was_made_from(network, inputs, tmp_path):
    """Else what reads it would seem to begin from a perfect input."""
    import onnx

    path, ranges, _ = network
    loaded = onnx.load(str(quantized(path, ranges, tmp_path)))
    within = "sum"
    for node in loaded.graph.node:
        node.output[:] = [f"{name}_2" if name == within else name for name in node.output]
        node.input[:] = [f"{name}_2" if name == within else name for name in node.input]
    known = {step.tensor: step for step in trace(path, tmp_path / ONNX, inputs)}
    hidden = {
        step.tensor: step for step in trace(path, save(loaded, tmp_path / "hidden.onnx"), inputs)
    }
    readers = [step for step in known.values() if within in step.inputs]
    assert readers
    for step in readers:
        assert hidden[step.tensor].inputs == known[within].inputs
        assert hidden[step.tensor].before_db == known[within].before_db


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step("LOG", "t", 20.6, 8.1, 0.003, 5.2, 0.5, 0.02), "magnifies the rounding"),
        (Step("SOFTMAX", "t", 39, 9, 0, 0.01, 0.001, 1 / 256), "most round to zero"),
        (Step("CONCATENATION", "t", 39, -2, 0, 640, 0.3, 2.5), "values of unlike sizes"),
        (Step("MUL", "t", 45, -0.2, 0, 9.7, 0.77, 0.039), "weights or constants"),
        (Step("RELU", "t", 40, 12, 0, 900, 2.0, 3.5), "outliers of 450 standard deviations"),
        (
            Step("ADD", "t", 39, -10, 289, 290, 0.13, 1.14),
            "lie far from 0, which every range holds",
        ),
        (Step("ADD", "t", 39, -10, -290, -289, 0.13, 1.14), "lie far from 0"),
    ],
)
def test_a_cause_is_named_by_its_figures(step, told):
    assert told in sentence([step], step, 16)


class TestInAMessage:
    """The measured place takes the place of a cause that nobody knows, and no other's."""

    def test_an_unknown_cause_is_replaced(self):
        result = with_origin(failed("a", "b", UNKNOWN_CAUSE, "pytest -k m"), "it arises at LOG (t)")
        assert result.message.splitlines()[2:] == [
            "likely cause: it arises at LOG (t)",
            "next: pytest -k m",
        ]

    def test_a_known_cause_stays_and_the_place_stands_beside_it(self):
        result = with_origin(failed("a", "b", "per tensor", "pytest -k m"), "it arises at LOG (t)")
        assert result.message.splitlines()[2:] == [
            "likely cause: per tensor",
            "where: it arises at LOG (t)",
            "next: pytest -k m",
        ]

    @pytest.mark.parametrize("status", ["passed", "inconclusive", "invalid"])
    def test_only_a_failure_has_one(self, status):
        result = GateResult(status, "m")
        assert with_origin(result, "it arises at LOG (t)") == result

    def test_the_report_shows_it_with_the_operators(self):
        step = Step("LOG", "t", 20.6, 8.1, 0.003, 5.2, 0.5, 0.02)
        record = {"model": "m", "recipe": "r", "error_origin": origin([step], 16)}
        page = html.render({"environment": {}, "cases": [record]})
        assert "Where the error arises" in page
        assert "LOG (t): SQNR 20.6 dB before, 8.1 dB behind" in page
