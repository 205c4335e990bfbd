"""An ONNX file as a TFLite file: what ONNX Runtime computes, in the same order and layout."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import save, with_weights

from int8gate.quantizers.toolchains.tflite.from_onnx import to_tflite
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.tflite_graph import read_graph

SHAPE = (1, 3, 12, 16)


def write(path, nodes, outputs, shape=SHAPE, constants=None) -> None:
    """Outputs are names with shapes."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, side) for name, side in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opset = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A file whose outputs are a map, scores and boxes, not in the order of their names."""
    folder = tmp_path_factory.mktemp("onnx")
    rng = np.random.default_rng(0)
    constants = {
        "first": rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "second": rng.normal(0, 0.3, (6, 8, 1, 1)).astype(np.float32),
        "rows": np.array([1, -1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["zoomed"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["mean"]),
        helper.make_node("Transpose", ["zoomed"], ["d"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["d", "rows"], ["boxes"]),
    ]
    outputs = [("zoomed", (1, 6, 6, 8)), ("mean", (1, 8)), ("boxes", (1, 144, 2))]
    write(folder / "model.onnx", nodes, outputs, constants=constants)
    return folder, to_tflite(folder, folder)


def test_outputs_are_those_of_onnx_runtime(case):
    folder, described = case
    picture = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    expected = session.run(None, {"image": picture})
    assert [spec["shape"] for spec in described["outputs"]] == [x.shape for x in expected]
    turned = np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
    for wanted, found in zip(
        expected, LiteRTSession(folder / "model.tflite").run([turned]), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_the_file_and_its_data_are_as_they_were(tmp_path):
    """onnx2tf saves the graph that it simplified over the file that it is given."""
    weights = np.random.default_rng(0).normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["a"]),
        helper.make_node("Relu", ["a"], ["maps"]),
    ]
    outputs = [("maps", (1, 8, 10, 14))]
    write(tmp_path / "plain.onnx", nodes, outputs, constants={"weights": weights})
    model = onnx.load(tmp_path / "plain.onnx")
    (tmp_path / "in").mkdir()
    options = {"save_as_external_data": True, "location": "odd.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "in" / "odd.onnx", **options)
    before = {file: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    (tmp_path / "out").mkdir()
    to_tflite(tmp_path / "in" / "odd.onnx", tmp_path / "out")
    assert {file: file.read_bytes() for file in (tmp_path / "in").iterdir()} == before
    assert len(before) == 2


def test_inputs_are_channels_last(case):
    assert [spec["shape"] for spec in case[1]["inputs"]] == [(1, 12, 16, 3)]


def rounded(path, common: float) -> None:
    """Features that share a summand of about `common`, which the next layer takes out again.

    What is left of them is about 10; 1e4 has a last digit of 0.001.
    """
    rng, signs = np.random.default_rng(0), np.tile([1, -1], 64)
    shared, own = rng.normal(0, 0.3, (1, 3, 3, 3)), rng.normal(0, 0.3, (128, 3, 3, 3))
    constants = {
        "first": (common * shared + own).astype(np.float32),
        "second": np.broadcast_to(signs[:, None, None], (8, 128, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"]),
        helper.make_node("Conv", ["a", "second"], ["maps"]),
    ]
    write(path, nodes, [("maps", (1, 8, 10, 14))], constants=constants)


def test_rounding_is_no_mistake(tmp_path):
    rounded(tmp_path / "odd.onnx", common=1e4)
    to_tflite(tmp_path / "odd.onnx", tmp_path)


def test_outputs_that_are_rounding_alone_are_refused(tmp_path):
    rounded(tmp_path / "odd.onnx", common=1e8)
    with pytest.raises(ValueError, match=r"odd\.onnx: output 0 .* does not compute"):
        to_tflite(tmp_path / "odd.onnx", tmp_path)


def test_an_operator_that_cannot_be_converted_is_one_sentence(tmp_path):
    node = helper.make_node("QuickGelu", ["image"], ["out"], domain="com.microsoft")
    write(tmp_path / "odd.onnx", [node], [("out", SHAPE)])
    with pytest.raises(
        ValueError, match=r"odd\.onnx: onnx2tf stops at QuickGelu \(.*\), which it cannot"
    ):
        to_tflite(tmp_path / "odd.onnx", tmp_path)


ODD = """
<ir_version: 8, opset_import: ["" : 17]>
odd (float[1, 3, 8, 8] image) => (float[1, 8, 8, 8] out) {
    a = Conv <kernel_shape = [1, 1]> (image, first)
    sides = Shape (a)
    place = Constant <value_int = 1> ()
    channels = Gather (sides, place)
    one = Constant <value_ints = [1]> ()
    row = Unsqueeze (channels, start)
    parts = Concat <axis = 0> (one, two, four, rest)
    split = Reshape (a, parts)
    turned = Transpose <perm = [0, 2, 1, 3, 4]> (split)
    shuffled = Reshape (turned, sides)
    grouped = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 4> (shuffled, second, bias)
    active = Relu (grouped)
    mixed = Einsum <equation = "nchw,dc->ndhw"> (active, matrix)
    patch = Slice (mixed, low, high, axes)
    twice = Add (patch, patch)
    set = ScatterND (mixed, where, twice)
    last = Div (set, number)
    out = Conv <kernel_shape = [1, 1]> (last, third)
}
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Everything that onnx2tf did not take or got wrong, with as many channels as rows."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("odd")
    where = np.stack(np.meshgrid([0], range(8), [2, 3], [2, 3], indexing="ij"), axis=-1)
    arrays = {
        "first": rng.normal(0, 0.5, (8, 3, 1, 1)),
        "second": rng.normal(0, 0.3, (8, 2, 3, 3)),
        "bias": rng.normal(0, 0.3, 8),
        "matrix": rng.normal(0, 0.4, (8, 8)),
        "third": rng.normal(0, 0.4, (8, 8, 1, 1)),
        "number": np.array(3.0),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    arrays |= {"start": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    arrays |= {"rest": np.array([8, 8]), "low": np.array([0, 0]), "high": np.array([2, 2])}
    arrays |= {"axes": np.array([2, 3]), "where": where}
    model = with_weights(ODD, arrays)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "/head/out 0"
    save(model, folder / "model.onnx")
    return folder, to_tflite(folder, folder)


def test_a_graph_is_folded_and_its_odd_operators_converted(odd):
    folder, described = odd
    assert [spec["name"] for spec in described["inputs"]] == ["image"]
    assert [spec["name"] for spec in described["outputs"]] == ["/head/out 0"]
    opcodes = [operator.opcode for operator in read_graph(folder / "model.tflite").operators]
    assert opcodes.count("CONV_2D") == 1 + 4 + 1 + 1, "four groups, a sum over channels"


def test_an_operator_that_is_converted_wrongly_is_named(odd, tmp_path, monkeypatch):
    """It is looked for by halving: here a Sigmoid for which onnx2tf is given another operator."""
    from int8gate.quantizers.toolchains.tflite import from_onnx as onnx_to_tflite

    real = onnx_to_tflite.converted

    def spoiled(source, as_they_are):
        model = onnx.load(str(source))
        for node in model.graph.node:
            if node.op_type == "Sigmoid":
                node.op_type = "Tanh"
        other = source.parent / "spoiled"
        other.mkdir()
        return real(save(model, other / source.name), as_they_are)

    monkeypatch.setattr(onnx_to_tflite, "converted", spoiled)
    nodes = "a = Relu (image) b = Exp (a) c = Sigmoid (b) d = Abs (c) out = Sqrt (d)"
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        wrong (float[1, 3, 4, 5] image) => (float[1, 3, 4, 5] out) {{ {nodes} }}"""
    save(with_weights(text, {}), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"output 0 .*: onnx2tf converts Sigmoid \(sigmoid_2\)"):
        to_tflite(tmp_path, tmp_path)


def test_where_onnx2tf_stops_is_named(tmp_path):
    """By operator and node, and of control flow what to do about it."""
    inner = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "inside")],
        "body",
        [],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["z"], "or")],
        "other",
        [],
        [helper.make_tensor_value_info("z", 1, None)],
    )
    nodes = [
        helper.make_node("Relu", ["image"], ["x"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mean"], ["is"], to=TensorProto.BOOL),
        helper.make_node("If", ["is"], ["out"], "/choice", then_branch=inner, else_branch=other),
    ]
    weights = np.ones((3, 3, 1, 1), np.float32)
    write(tmp_path / "odd.onnx", nodes, [("out", SHAPE)], constants={"w": weights})
    with pytest.raises(ValueError, match=r"stops at If \(/choice\), control flow .* constant"):
        to_tflite(tmp_path / "odd.onnx", tmp_path)


def test_a_file_that_does_not_load_is_one_sentence(tmp_path):
    node = helper.make_node("Fold", ["image"], ["out"], domain="elsewhere")
    write(tmp_path / "odd.onnx", [node], [("out", SHAPE)])
    with pytest.raises(ValueError, match=r"odd\.onnx cannot be run by ONNX Runtime: .*Fold"):
        to_tflite(tmp_path / "odd.onnx", tmp_path)


def test_a_free_side_is_refused(tmp_path):
    node = helper.make_node("Relu", ["image"], ["out"])
    free = (1, 3, "height", 16)
    write(tmp_path / "free.onnx", [node], [("out", free)], free)
    with pytest.raises(ValueError, match=r"input image has shape .*height.*, expected static"):
        to_tflite(tmp_path / "free.onnx", tmp_path)


def test_tensorflow_may_still_draw_without_a_seed(tmp_path):
    """onnx2tf forbids it to the whole process."""
    import tensorflow as tf

    from int8gate.quantizers.toolchains.tflite.onnx2tf_runner import _environment_kept

    with _environment_kept():
        tf.config.experimental.enable_op_determinism()
    assert tf.random.uniform((2,)).shape == (2,)


def test_the_limit_of_recursion_is_what_it_was(tmp_path):
    """onnx2tf lifts it when it is imported: JSON that is nested too deeply was a crash then."""
    node = helper.make_node("Relu", ["image"], ["out"])
    write(tmp_path / "plain.onnx", [node], [("out", SHAPE)])
    kept = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(3000)
        to_tflite(tmp_path / "plain.onnx", tmp_path)
        assert sys.getrecursionlimit() == 3000
    finally:
        sys.setrecursionlimit(kept)
