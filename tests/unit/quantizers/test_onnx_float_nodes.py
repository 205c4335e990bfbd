"""Nodes that a recipe's rules leave float: they are, in ONNX Runtime too, and no others are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from data_folders import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_files import cnn, pictures, ranges_of, save, sqnr_db, weights, with_weights
from test_onnx_quantize import csp, prepared, transformer

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import Rule
from int8gate.quantizers.toolchains.onnx.half_nodes import as_half
from int8gate.quantizers.toolchains.onnx.int4_nodes import as_int4
from int8gate.quantizers.toolchains.onnx.layer_list import layers
from int8gate.quantizers.toolchains.onnx.placement import PRODUCTS
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.runtimes import onnx_graph, ort
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

NETWORKS = {"cnn": cnn(), "csp": csp(), "transformer": transformer()}
TOKENS = np.random.default_rng(2).normal(0, 1, (8, 4, 8)).astype(np.float32)
FLAT = """
<ir_version: 8, opset_import: ["" : 17]>
shared (float[1, 4, 8, 8] image) => (float[1, 4, 8, 8] out) {
    x = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w, b1)
    a = LeakyRelu <alpha = 0.1> (x)
    y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a, w, b2)
    b = Sigmoid (y)
    out = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, w, b3)
}
"""


def mixed(*names: str):
    """Static INT8 but for the nodes of these names."""
    static = RECIPES["onnx_int8"]
    rules = [Rule(name, "float32", "float32") for name in names]
    return replace(static, name="mixed", rules=(*static.rules, *rules))


def quantized(path, directory, names, samples):
    """The session of the artifact with these nodes left float, and what ran of it."""
    directory.mkdir(exist_ok=True)
    ranges = ranges_of(path, tensors_to_quantize(path), samples)
    quantize(path, mixed(*names), ranges, directory)
    return OnnxSession(directory / ONNX), onnx_graph.what_ran_as_integer(directory / ONNX)


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """Prepared networks by name."""
    folder = tmp_path_factory.mktemp("floats")
    found = {}
    for name, model in NETWORKS.items():
        (folder / name).mkdir()
        found[name] = prepared(model, folder / name)
    return found


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(NETWORKS)), st.data())
def test_whatever_is_left_float_is_float_and_all_else_as_before(
    floats, tmp_path_factory, name, data
):
    path = floats[name]
    samples = TOKENS if name == "transformer" else pictures()
    nodes = [node.name for node in onnx.load(str(path)).graph.node]
    products = {node.name for node in onnx.load(str(path)).graph.node if node.op_type in PRODUCTS}
    kept = data.draw(st.lists(st.sampled_from(nodes), unique=True, max_size=len(nodes)))
    if products <= set(kept):
        kept.remove(sorted(products)[0])
    session, told = quantized(path, tmp_path_factory.mktemp("mixed"), kept, samples)
    assert not told["float_ops"]
    ran = onnx_graph.read_operators(session.path)
    left = {found.name.removeprefix("fused ") for found in onnx_graph.float_operators(ran)}
    assert len(left) == len(products & set(kept)), "products that are float, and no others"
    assert all(found.is_kept for found in onnx_graph.float_operators(ran))
    real = OnnxSession(path).predict(samples)
    for one, other in zip(real, session.predict(samples), strict=True):
        assert sqnr_db(one, other) > 20


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(NETWORKS)), st.data())
def test_each_node_has_the_width_that_the_rules_say(floats, tmp_path_factory, name, data):
    model = onnx.load(str(floats[name]))
    samples = TOKENS if name == "transformer" else pictures()
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    four = [n.name for n in model.graph.node if n.op_type in ("MatMul", "Gemm")]
    four = [n.name for n in model.graph.node if n.name in four and n.input[1] in constants]
    products = [n.name for n in model.graph.node if n.op_type in PRODUCTS]
    half = data.draw(st.lists(st.sampled_from(products), unique=True, max_size=len(products) - 1))
    four = data.draw(st.lists(st.sampled_from(four), unique=True)) if four else []
    four = [node for node in four if node not in half][: len(products) - 1 - len(half)]
    chosen = RECIPES["onnx_int8"].with_widths("mixed", {"float16": half, "int4": four})
    directory = tmp_path_factory.mktemp("widths")
    quantize(
        floats[name],
        chosen,
        ranges_of(floats[name], tensors_to_quantize(floats[name]), samples),
        directory,
    )
    stored = onnx.load(str(directory / ONNX))
    onnx.checker.check_model(stored)
    made = {name: node for node in stored.graph.node for name in node.output}
    kinds = {tensor.name: tensor.data_type for tensor in stored.graph.initializer}
    nodes = {node.name: node for node in stored.graph.node}
    for each in half:
        weights = [kinds[n] for n in nodes[each].input if n in kinds]
        assert set(weights) <= {onnx.TensorProto.FLOAT16}
        before = made.get(nodes[each].input[0])
        assert before is None or before.op_type == "Cast" or before.name in half
    for each in four:
        assert kinds[made[nodes[each].input[1]].input[0]] == onnx.TensorProto.INT4
    told = onnx_graph.what_ran_as_integer(directory / ONNX)
    assert not told["float_ops"]
    assert len(told.get("int4_ops", [])) == len(four)
    one, other = (
        OnnxSession(path).predict(samples)[0] for path in (floats[name], directory / ONNX)
    )
    assert sqnr_db(one, other) > (5 if four else 20)


@pytest.mark.parametrize(("opset", "block"), [(17, 0), (21, 32)])
@pytest.mark.parametrize("transposed", [0, 1])
def test_int4_weights_have_a_scale_for_each_column_and_in_opset_21_for_each_block(
    opset, block, transposed, tmp_path
):
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (64, 5)).astype(np.float32)
    weights[:32] *= 100
    text = f"""
    <ir_version: 8, opset_import: ["" : {opset}]>
    net (float[1, 64] x) => (float[1, 5] y) {{ y = Gemm <transB = {transposed}> (x, w) }}
    """
    model = with_weights(text, {"w": weights.T.copy() if transposed else weights})
    model.graph.node[0].name = "dense"
    as_int4(model, ["dense"])
    onnx.checker.check_model(model)
    path = save(model, tmp_path / "int4.onnx")
    x = rng.normal(0, 1, (4, 64)).astype(np.float32)
    x[:, :32] = 0  # what reads the small weights
    error = np.abs(OnnxSession(path).predict(x)[0] - x @ weights)
    step = np.abs(weights[32:] if block else weights).max() / 7
    assert error.max() <= step / 2 * np.abs(x).sum(axis=1).max() * 1.01
    is_near = error.max() < 0.5 * np.abs(x @ weights).max()
    assert bool(is_near) is bool(block), "one scale for all rows rounds the small ones to zero"


@pytest.mark.parametrize("give", [as_int4, as_half])
@pytest.mark.parametrize("flag", [True, False])
def test_what_a_branch_reads_of_a_node_stays(give, flag, tmp_path):
    """Its weights, and its result, which no node of the graph itself reads."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    branching (bool flag, float[1, 32] x) => (float[1, 32] out) {
        h = MatMul (x, w)
        out = If (flag) <
            then_branch = yes () => (float[1, 32] a) { a = MatMul (h, w) },
            else_branch = no () => (float[1, 32] b) { b = Identity (x) }
        >
    }
    """
    rng = np.random.default_rng(0)
    model = with_weights(text, {"w": rng.normal(0, 0.2, (32, 32)).astype(np.float32)})
    model.graph.node[0].name = "dense"
    feeds = [np.array(flag), rng.normal(0, 1, (1, 32)).astype(np.float32)]
    wanted = ort_outputs(model, feeds, tmp_path / "float.onnx")
    give(model, ["dense"])
    onnx.checker.check_model(model)
    assert sqnr_db(wanted, ort_outputs(model, feeds, tmp_path / "changed.onnx")) > 15


def ort_outputs(model, feeds: list[np.ndarray], path: Path) -> np.ndarray:
    session = ort.open_model(save(model, path), ort.options())
    names = [given.name for given in session.get_inputs()]
    return ort.run(session, dict(zip(names, feeds, strict=True)))[0]


def test_what_a_node_cannot_have_is_refused_by_its_name(floats, tmp_path):
    path, base = floats["cnn"], RECIPES["onnx_int8"]
    ranges = ranges_of(path, tensors_to_quantize(path), pictures())
    huge = {name: (low * 1e6, high * 1e6) for name, (low, high) in ranges.items()}
    four = base.with_widths("mixed", {"int4": ["conv_0"]})
    half = base.with_widths("mixed", {"float16": ["conv_0"]})
    told = "mixed: Conv (conv_0) has no int4 form in ONNX Runtime"
    refused(lambda: quantize(path, four, ranges, tmp_path), told)
    refused(lambda: quantize(path, half, huge, tmp_path), "mixed: Conv (conv_0)", "ends at 65504")
    four_bits = [layer.name for layer in layers(path) if "int4" in layer.widths]
    assert four_bits == [layer.name for layer in layers(path) if layer.kind == "Gemm"] != []
    assert all(layer.widths[-2:] == ("float16", "float32") for layer in layers(path))


@pytest.mark.parametrize("name", ["conv_0", "conv_2", "gemm_7"])
def test_float_weights_stay_float_when_the_file_is_loaded(floats, tmp_path, name):
    """Else ONNX Runtime gives them 8 bits with a single scale (`WeightBiasQuantization`).

    With a weight that takes the whole of such a scale, nothing of the others would be left.
    """
    model = onnx.load(str(floats["cnn"]))
    node = next(node for node in model.graph.node if node.name == name)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    array = numpy_helper.to_array(tensor).copy()
    array[0] *= 1000
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    path = save(model, tmp_path / "outlier.onnx")
    session, _ = quantized(path, tmp_path / "mixed", [name], pictures())
    (kept,) = onnx_graph.float_operators(onnx_graph.read_operators(session.path))
    assert kept.name.removeprefix("fused ") == name
    stored = onnx.load(str(session.path)).graph
    (found,) = (node for node in stored.node if node.name == name)
    (weight,) = (tensor for tensor in stored.initializer if tensor.name == found.input[1])
    np.testing.assert_array_equal(numpy_helper.to_array(weight), array)


def test_weights_that_others_share_are_those_of_the_float_node(tmp_path):
    random = np.random.default_rng(0)
    arrays = {name: random.normal(0, 0.1, 4) for name in ("b1", "b2", "b3")}
    arrays["w"] = random.normal(0, 1 / 6, (4, 4, 3, 3))
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    path = prepared(with_weights(FLAT, arrays), tmp_path)
    session, told = quantized(path, tmp_path / "mixed", ["conv_2"], pictures(8, (1, 4, 8, 8)))
    assert told["float_by_recipe"] == ["Conv (conv_2, float)"]
    graph = onnx.load(str(session.path)).graph
    (kept,) = (node for node in graph.node if node.name == "conv_2")
    (weight,) = (tensor for tensor in graph.initializer if tensor.name == kept.input[1])
    np.testing.assert_array_equal(numpy_helper.to_array(weight), arrays["w"])


def test_what_loses_nothing_goes_with_the_integer_node_before_it(floats, tmp_path):
    _, told = quantized(floats["cnn"], tmp_path, ["relu_1", "flatten_6"], pictures())
    assert told == {"fraction": 1.0, "float_ops": []}
    _, told = quantized(floats["cnn"], tmp_path, ["conv_0"], pictures())
    assert not told["float_ops"]
    assert told["float_by_recipe"] == ["Conv (conv_0, float)"]


def test_the_first_and_the_last_layer_may_be_float(floats, tmp_path):
    """Input and output of the file are float32 anyway: they are read and given unrounded."""
    session, told = quantized(floats["cnn"], tmp_path, ["conv_0", "gemm_7"], pictures())
    assert not told["float_ops"]
    graph = onnx.load(str(session.path)).graph
    (first,) = (node for node in graph.node if node.name == "conv_0")
    (last,) = (node for node in graph.node if node.name == "gemm_7")
    assert (first.input[0], last.output[0]) == ("image", "scores")
    assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {"float32"}


def test_behind_a_float_node_moved_values_have_a_scale(floats, tmp_path):
    """Calibration watches what a Flatten moves, not what it gives."""
    kept = ["globalaveragepool_5", "flatten_6"]
    session, told = quantized(floats["cnn"], tmp_path, kept, pictures())
    assert not told["float_ops"]
    real = OnnxSession(floats["cnn"]).predict(pictures())[0]
    assert sqnr_db(real, session.predict(pictures())[0]) > 25


def test_others_that_stay_float_still_fail(floats, tmp_path):
    """A node that no rule names, left float in the file all the same."""
    session, _ = quantized(floats["cnn"], tmp_path, ["conv_0"], pictures())
    model = onnx.load(str(session.path))
    (other,) = (node for node in model.graph.node if node.name == "conv_2")
    other.input[1] = "float_weights"
    model.graph.initializer.append(numpy_helper.from_array(weights()["w2"], "float_weights"))
    (reader,) = (node for node in model.graph.node if other.output[0] in node.input)
    assert reader.op_type == "QuantizeLinear"
    following = next(node for node in model.graph.node if reader.output[0] in node.input)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == following.output[0]:
                node.input[place] = other.output[0]
    told = onnx_graph.what_ran_as_integer(save(model, tmp_path / "broken.onnx"))
    assert any("conv_2" in name for name in told["float_ops"])
    assert told["float_by_recipe"] == ["Conv (conv_0, float)"]
