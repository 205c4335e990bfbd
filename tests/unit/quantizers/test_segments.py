"""Networks in segments compute what the whole file does, float and quantized, whatever is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from branching_graphs import SHAPE, networks
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import cnn, pictures, ranges_of
from test_onnx_quantize import prepared
from test_tflite_float_operators import PICTURES, floats  # noqa: F401 (a fixture)

from int8gate.analysis.chain import FLOAT, INTEGER, Chain
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.segmented import Operator, cut
from int8gate.quantizers.toolchains import registry
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.quantizers.toolchains.onnx.segments import opened
from int8gate.quantizers.toolchains.tflite import convert
from int8gate.quantizers.toolchains.tflite import segments as tflite_segments
from int8gate.runtimes.artifact import ONNX, TFLITE
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.onnx_session import OnnxSession
from int8gate.runtimes.tflite_graph import read_graph
from int8gate.runtimes.tflite_integers import what_is_integer_in

STATIC, TFLITE_INT8 = RECIPES["onnx_int8"], RECIPES["tflite_int8"]
MAPS = np.random.default_rng(3).normal(0, 1, (3, *SHAPE[1:])).astype(np.float32)


# Kernels for floats differ in the last digit between files, so that a rounding behind may flip:
# a few values by one of 255 levels. Another scale would move most of them by a quarter of it.
FLIPPED = 0.1 / 255
STEP = 1 / 256  # of the outputs, which a softmax gives


def with_rules(recipe, *names: str):
    """The recipe, which leaves the operators of these names float."""
    rules = tuple(
        replace(recipe.rules[0], match=n, weights="float32", activations="float32") for n in names
    )
    return replace(recipe, name="mixed", rules=(*recipe.rules, *rules))


def same(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


def near(some: list[np.ndarray], others: list[np.ndarray], mean: float = 1e-6) -> bool:
    """Whether outputs differ by no more than that on average, of the largest value."""
    pairs = zip(some, others, strict=True)
    return all(np.abs(one - other).mean() <= mean * np.abs(other).max() for one, other in pairs)


@settings(max_examples=25, deadline=None)
@given(networks(), st.data())
def test_a_chain_of_segments_is_the_whole_onnx_file(tmp_path_factory, model, data):
    """The float one, and the one of the recipe: that bit for bit, and nearly with float nodes."""
    folder = tmp_path_factory.mktemp("graph")
    path = prepared(model, folder)
    ranges = ranges_of(path, tensors_to_quantize(path), MAPS)
    network = opened(path, ranges, STATIC)
    chain = Chain(network, [MAPS])
    assert near(chain.outputs(FLOAT), OnnxSession(path).predict(MAPS))
    names = [operator.name for operator in network.operators]
    kept = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=3))
    if len(network.layers) > len(set(kept)):
        (folder / "quantized").mkdir()
        quantize(path, with_rules(STATIC, *kept), ranges, folder / "quantized")
        whole = OnnxSession(folder / "quantized" / ONNX).predict(MAPS)
        found = chain.outputs(INTEGER, frozenset(kept))
        assert near(found, whole, FLIPPED) if kept else same(found, whole)
    layer = data.draw(st.sampled_from(network.layers))
    one_piece = opened(path, ranges, STATIC)
    one_piece.segments = cut(
        one_piece.operators, ["image"], one_piece.outputs, {layer.name}, {}, pieces=1
    )
    assert len(one_piece.segments) == 1
    alone = Chain(one_piece, [MAPS]).outputs(FLOAT, one_piece.alone(layer))
    assert near(chain.outputs(FLOAT, network.alone(layer)), alone, FLIPPED)


def test_a_chain_of_segments_is_the_whole_tflite_file(floats, tmp_path):  # noqa: F811
    """And a rule with a layer's name leaves just that float which `wide` leaves float."""
    path, ranges = floats
    network = tflite_segments.opened(path, ranges, TFLITE_INT8)
    assert len(network.segments) > 1
    chain = Chain(network, [PICTURES])
    assert same(chain.outputs(FLOAT), LiteRTSession(path).predict(PICTURES))
    convert.quantize(path, TFLITE_INT8, ranges, None, tmp_path)
    assert same(chain.outputs(INTEGER), LiteRTSession(tmp_path / TFLITE).predict(PICTURES))
    for layer in network.layers:
        chosen = with_rules(TFLITE_INT8, layer.name)
        assert chosen.left_float(o.name for o in network.operators) == list(layer.operators)
        convert.quantize(path, chosen, ranges, None, tmp_path)
        whole = LiteRTSession(tmp_path / TFLITE).predict(PICTURES)
        (found,) = chain.outputs(INTEGER, network.wide(layer))
        assert np.abs(found - whole[0]).max() <= 2 * STEP, layer
        assert np.mean(found == whole[0]) > 0.9, layer
        left = what_is_integer_in(tmp_path / TFLITE).get("float_by_recipe", [])
        # Behind an integer operator TensorFlow's quantizer averages integers all the same.
        assert any(layer.kind in each for each in left) or layer.kind == "AVERAGE_POOL_2D"


def test_a_rule_with_a_layers_name_leaves_it_float_in_onnx(tmp_path):
    path = prepared(cnn(), tmp_path)
    ranges = ranges_of(path, tensors_to_quantize(path), pictures())
    network = opened(path, ranges, STATIC)
    chain = Chain(network, [pictures()])
    plain = chain.outputs(INTEGER)
    for layer in network.layers:
        (tmp_path / layer.name).mkdir()
        quantize(path, with_rules(STATIC, layer.name), ranges, tmp_path / layer.name)
        session = OnnxSession(tmp_path / layer.name / ONNX)
        assert same(chain.outputs(INTEGER, network.wide(layer)), session.predict(pictures()))
        told = registry.find("onnx").integer_operators(session.path).get("float_by_recipe", [])
        # Of a sum between integers ONNX Runtime makes an integer sum again: of the same values.
        assert any(layer.name in each for each in told) or not layer.weights, layer
        assert not same(chain.outputs(FLOAT, network.alone(layer)), chain.outputs(FLOAT)), layer
    first = network.layers[0]
    assert first.operators == ("conv_0", "relu_1"), "an activation goes with its convolution"
    assert not same(chain.outputs(INTEGER, network.wide(first)), plain)


def test_layers_are_what_does_arithmetic(tmp_path, floats):  # noqa: F811
    """Named alike by both toolchains' doors, with weights and their share of the arithmetic."""
    path = prepared(cnn(), tmp_path)
    found = registry.find("onnx").layers(path)
    kinds = [layer.kind for layer in found]
    assert kinds == ["Conv", "Conv", "LeakyRelu", "Add", "GlobalAveragePool", "Gemm"]
    assert [layer.weights for layer in found] == [8 * 27 + 8, 8 * 72 + 8, 0, 0, 0, 45]
    assert sum(layer.share for layer in found) == pytest.approx(1)
    assert found[0].macs == 8 * 8 * 8 * 27
    assert found[0].outputs == ("a",)
    others = registry.find("tflite").layers(floats[0])
    moves = {"MAX_POOL_2D", "SPLIT", "RESHAPE"}
    kinds = [each.opcode for each in read_graph(floats[0]).operators if each.opcode not in moves]
    assert [layer.kind for layer in others] == kinds
    assert sum(layer.share for layer in others) == pytest.approx(1)


def test_little_memory_changes_no_figure(tmp_path):
    """Then samples go through in parts, and tensors are computed again."""
    path = prepared(cnn(), tmp_path)
    network = opened(path, ranges_of(path, tensors_to_quantize(path), pictures()), STATIC)
    ample, scant = Chain(network, [pictures()]), Chain(network, [pictures()], kept_bytes=10_000)
    for layer in reversed(network.layers):
        for base, kept in ((FLOAT, network.alone(layer)), (INTEGER, network.wide(layer))):
            assert same(ample.outputs(base, kept), scant.outputs(base, kept))


@given(st.lists(st.sets(st.integers(0, 11), min_size=1, max_size=3), min_size=1, max_size=12))
def test_cuts_lose_no_operator_and_no_tensor(reads):
    """Whatever reads what: a segment takes only what stands before it, and outputs arrive."""
    operators = [
        Operator(f"n{n}", tuple(f"t{r % (n + 1)}" for r in sorted(each)), (f"t{n + 1}",))
        for n, each in enumerate(reads)
    ]
    outputs, sizes = (f"t{len(reads)}", "t1"), {f"t{n}": 1 + n for n in range(13)}
    names = {operator.name for operator in operators}
    segments = cut(operators, ["t0"], outputs, names, sizes, tied={"t2"}, pieces=5)
    assert [each.start for each in segments[1:]] == [each.stop for each in segments[:-1]]
    assert (segments[0].start, segments[-1].stop) == (0, len(operators))
    standing = {"t0"}
    for segment in segments:
        assert set(segment.takes) <= standing
        standing = (standing | set(segment.gives)) & segment.live
        assert standing == segment.live
        last = max((n for n, each in enumerate(operators) if "t2" in each.reads), default=-1)
        assert "t2" not in standing or last < segment.stop
    assert set(outputs) <= standing
