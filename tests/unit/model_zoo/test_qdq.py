"""Files in QDQ form: what is read of their pairs, what is left, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from qdq_files import Builder, shipped

from int8gate.model_zoo.importers.onnx.importer import import_onnx
from int8gate.model_zoo.importers.onnx.qdq import stripping
from int8gate.model_zoo.importers.onnx.qdq.fake_quantization import with_fake_quantization
from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import read_scales
from int8gate.quantizers.toolchains.onnx.shipped_scales import shipped_scales

SHAPE = (1, 3, 8, 8)
PAIRS = ("QuantizeLinear", "DequantizeLinear")
LOW = {"int8": -128, "uint8": 0}


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def two_layers(
    activations: str = "uint8", weight: str = "int8", points=(3, 0), axis: int | None = 0, seed=0
) -> Builder:
    """conv, relu and a Gemm behind a pooling, with a pair around every tensor of the first."""
    made, rng = Builder(SHAPE), np.random.default_rng(seed)
    scales = rng.uniform(0.003, 0.03, 4 if axis is not None else ()).astype(np.float32)
    picture = made.pair("image", 0.01, points[0], activations)
    made.constant("w", weights(4, 3, 3, 3, seed=seed))
    rounded = made.pair("w", scales, np.full(scales.shape, points[1]), weight, axis)
    made.constant("b", weights(4, seed=seed + 1))
    made.node("Conv", [picture, rounded, "b"], "conv", kernel_shape=[3, 3])
    made.node("Relu", ["conv"], "relu")
    made.node("GlobalAveragePool", [made.pair("relu", 0.02, LOW[activations], activations)], "mean")
    made.node("Flatten", ["mean"], "flat")
    made.constant("w2", weights(5, 4, seed=seed + 2))
    rest = made.pair("w2", 0.011, LOW[weight] + 128, weight)
    made.node("Gemm", ["flat", rest], "scores", transB=1)
    return made


def run(model: onnx.ModelProto, picture: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: picture})[0]


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 2, SHAPE).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["int8", "uint8"]),
    st.sampled_from(["int8", "uint8"]),
    st.tuples(st.integers(0, 255), st.integers(0, 255)),
    st.sampled_from([None, 0]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_no_scale_is_lost_on_the_way_through_a_float_network(
    tmp_path_factory, activations, weight, points, axis, is_symmetric, seed
):
    points = (points[0], 128 if is_symmetric else points[1])
    signed = tuple(
        point + LOW[kind] for point, kind in zip(points, (activations, weight), strict=True)
    )
    folder = tmp_path_factory.mktemp("made")
    made = two_layers(activations, weight, signed, axis, seed)
    model = made.model("scores")
    onnx.save(model, str(folder / "made.onnx"))
    path, _ = shipped(folder / "made.onnx", SHAPE, "onnx", folder)
    found = shipped_scales(path, folder / "onnx_float" / "model.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name in ("image", "relu"):
        scale, point = found.activations[name]
        assert np.isclose(scale, stored[f"{name}_scale"], rtol=1e-6, atol=0)
        assert point == int(stored[f"{name}_zero"]) - LOW[activations] - 128
    first, last = found.weights.values()
    assert np.allclose(first, stored["w_scale"], rtol=1e-6, atol=0)
    assert np.allclose(last, stored["w2_scale"], rtol=1e-6, atol=0)
    graph = onnx.load(str(path)).graph
    integers = [numpy_helper.to_array(t) for t in graph.initializer if t.name.startswith("w_dq")]
    made_points = [each for each in integers if each.dtype == np.int8 and each.ndim < 2]
    assert any((each == points[1] - 128).all() for each in made_points)
    trained = onnx.load(str(folder / "onnx_export" / "trained.onnx"))
    given_picture = picture(seed)
    assert np.allclose(run(trained, given_picture), run(model, given_picture), atol=1e-5)


def test_the_float_network_has_the_rounded_weights_and_no_pairs(tmp_path):
    model = two_layers().model("scores")
    wanted = run(model, picture())
    scales = stripping.strip(model)
    assert not {node.op_type for node in model.graph.node} & set(PAIRS)
    assert set(scales.activations) == {"image", "relu"}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    steps = stored["w_dq"] / np.reshape(scales.weights["w_dq"].scales, (-1, 1, 1, 1))
    assert np.allclose(steps, np.round(steps), atol=1e-3)
    assert not np.allclose(run(model, picture()), wanted, atol=1e-6)
    with_fake_quantization(model, scales)
    assert np.allclose(run(model, picture()), wanted, atol=1e-6)


def test_an_output_behind_a_pair_keeps_its_name():
    made = two_layers()
    model = made.model(made.pair("scores", 0.1, 128, "uint8"))
    wanted = run(model, picture())
    scales = stripping.strip(model)
    onnx.checker.check_model(model)
    assert "scores_dq" in scales.activations
    with_fake_quantization(model, scales)
    assert [info.name for info in model.graph.output] == ["scores_dq"]
    assert np.allclose(run(model, picture()), wanted, atol=1e-6)


def test_integers_may_be_moved_and_clipped_between_q_and_dq():
    made = Builder(SHAPE)
    made.constant("s", np.float32(0.01))
    made.constant("z", np.uint8(7))
    made.constant("low", np.uint8(0))
    made.constant("high", np.uint8(127))
    made.node("QuantizeLinear", ["image", "s", "z"], "q")
    made.node("Clip", ["q", "low", "high"], "clipped")
    made.node("Transpose", ["clipped"], "turned", perm=[0, 2, 3, 1])
    made.node("DequantizeLinear", ["turned", "s", "z"], "real")
    made.node("Relu", ["real"], "result")
    model = made.model("result")
    wanted = run(model, picture())
    scales = stripping.strip(model)
    assert scales.activations["image"].bounds == (0, 127)
    assert "fewer than 256 steps" in scales.notes[0]
    with_fake_quantization(model, scales)
    assert np.allclose(run(model, picture()), wanted, atol=1e-6)


def test_a_bias_of_int32_is_folded():
    made = two_layers()
    made.stored = [each for each in made.stored if each.name != "b"]
    made.constant("b_q", np.int32([100, -20, 3, 0]))
    made.constant("b_s", np.float32([1e-4, 2e-4, 3e-4, 1e-4]))
    made.nodes.insert(0, helper.make_node("DequantizeLinear", ["b_q", "b_s"], ["b"], "b_", axis=0))
    model = made.model("scores")
    wanted = run(model, picture())
    scales = stripping.strip(model)
    assert "b" not in scales.weights
    with_fake_quantization(model, scales)
    assert np.allclose(run(model, picture()), wanted, atol=1e-6)


def with_normalization(made: Builder, output: str) -> str:
    for name, values in (
        ("gamma", [1.5, -0.5, 2.0, 0.7]),
        ("beta", [0.1, 0.2, -0.3, 0.0]),
        ("mu", [0.5, -0.1, 0.0, 0.2]),
        ("var", [1.2, 0.4, 2.0, 0.9]),
    ):
        made.constant(name, np.float32(values))
    return made.node("BatchNormalization", ["conv", "gamma", "beta", "mu", "var"], output)


def test_a_folded_normalization_keeps_the_integers(tmp_path):
    """Brevitas leaves it behind the convolution: the scale takes its factor on."""
    made = Builder(SHAPE)
    picture_ = made.pair("image", 0.01, 3, "uint8")
    made.constant("w", weights(4, 3, 3, 3))
    rounded = made.pair("w", np.float32([0.01, 0.02, 0.007, 0.012]), 0, "int8", axis=0)
    made.node("Conv", [picture_, rounded], "conv", kernel_shape=[3, 3])
    model = made.model(with_normalization(made, "result"))
    onnx.save(model, str(tmp_path / "made.onnx"))
    path, described = shipped(tmp_path / "made.onnx", SHAPE, "onnx", tmp_path)
    (found,) = shipped_scales(path, tmp_path / "onnx_float" / "model.onnx").weights.values()
    factor = np.abs([1.5, -0.5, 2.0, 0.7]) / np.sqrt(np.add([1.2, 0.4, 2.0, 0.9], 1e-5))
    assert np.allclose(found, [0.01, 0.02, 0.007, 0.012] * factor, rtol=1e-5, atol=0)
    assert "the weights of 1 of 1 layers" in " ".join(described["notes"])
    graph = onnx.load(str(path)).graph
    stored = [numpy_helper.to_array(t) for t in graph.initializer]
    (integers,) = (each for each in stored if each.dtype == np.int8 and each.ndim == 4)
    scale = np.reshape([0.01, 0.02, 0.007, 0.012], (-1, 1, 1, 1))
    wanted = np.clip(np.round(weights(4, 3, 3, 3) / scale), -128, 127)
    assert (integers[1] == -wanted[1]).all()
    assert (integers[0] == wanted[0]).all()


@pytest.mark.parametrize("toolchain", ["onnx", "tflite"])
def test_weights_that_are_turned_behind_their_pair_are_recognized(tmp_path, toolchain):
    """ModelOpt writes a linear layer so."""
    made = Builder((1, 3, 4, 4))
    made.node("Flatten", [made.pair("image", 0.01, 0, "int8")], "flat")
    made.constant("w", weights(6, 48))
    scales = np.linspace(0.005, 0.02, 6).astype(np.float32)
    made.node("Transpose", [made.pair("w", scales, 0, "int8", axis=0)], "turned", perm=[1, 0])
    made.node("MatMul", ["flat", "turned"], "product")
    made.node("Relu", ["product"], "scores")
    result = made.pair("scores", 0.05, -128, "int8")
    onnx.save(made.model(result), str(tmp_path / "made.onnx"))
    path, described = shipped(tmp_path / "made.onnx", (1, 3, 4, 4), toolchain, tmp_path)
    told = " ".join(described["notes"])
    assert "the weights of 1 of 1 layers" in told
    if toolchain == "onnx":
        (found,) = shipped_scales(path, tmp_path / "onnx_float" / "model.onnx").weights.values()
        assert np.allclose(found, scales, rtol=1e-6, atol=0)


def test_readers_with_other_scales_share_the_widest_and_the_record_says_so():
    made = Builder(SHAPE)
    one = made.pair("image", 0.01, 0, "int8")
    made.constant("s2", np.float32(0.03))
    made.constant("z2", np.int8(0))
    made.node("QuantizeLinear", ["image", "s2", "z2"], "other_q")
    made.node("DequantizeLinear", ["other_q", "s2", "z2"], "other")
    made.node("Add", [one, "other"], "sum")
    scales = stripping.strip(made.model("sum"))
    assert scales.activations["image"].scale == pytest.approx(0.03)
    assert "image had pairs of different scales" in scales.notes[0]


def refused(model: onnx.ModelProto, tmp_path, *parts: str) -> None:
    onnx.save(model, str(tmp_path / "made.onnx"))
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        import_onnx(tmp_path / "made.onnx", SHAPE, tmp_path / "out")
    told = str(error.value)
    assert "made.onnx" in told
    assert "\n" not in told
    for part in parts[1:]:
        assert part in told


def test_what_is_no_fake_quantization_to_8_bits_is_refused(tmp_path):
    made = Builder(SHAPE)
    result = made.pair("image", 0.0, 0, "int8")
    refused(made.model(result), tmp_path, "image_q_node (QuantizeLinear)", "scale 0", "train")
    made = Builder(SHAPE)
    result = made.pair("image", float("nan"), 0, "int8")
    refused(made.model(result), tmp_path, "image_scale", "NaN")
    made = Builder(SHAPE)
    result = made.pair("image", np.float32([0.1, 0.2, 0.1]), 0, "int8", axis=1)
    refused(made.model(result), tmp_path, "3 scales, expected one", "per tensor")
    made = Builder(SHAPE)
    result = made.pair("image", 0.1, 0, "int16")
    refused(made.model(result, opset=21), tmp_path, "int16", "expected int8 or uint8")


def test_a_scale_that_is_computed_is_refused(tmp_path):
    made = Builder(SHAPE)
    made.node("ReduceMax", ["image"], "scale", keepdims=0)
    made.constant("z", np.int8(0))
    made.node("QuantizeLinear", ["image", "scale", "z"], "q")
    made.node("DequantizeLinear", ["q", "scale", "z"], "result")
    refused(made.model("result"), tmp_path, "q_node", "computed", "observers frozen")


def test_integers_that_are_computed_with_are_refused(tmp_path):
    made = Builder(SHAPE)
    made.constant("s", np.float32(0.01))
    made.constant("z", np.int8(0))
    made.node("QuantizeLinear", ["image", "s", "z"], "q")
    made.node("Cast", ["q"], "result", to=TensorProto.FLOAT)
    refused(made.model("result"), tmp_path, "result_node (Cast)", "computes on integers")


def test_an_integer_input_is_refused(tmp_path):
    made = Builder(SHAPE)
    made.input = helper.make_tensor_value_info("image", TensorProto.UINT8, SHAPE)
    made.constant("s", np.float32(0.01))
    made.constant("z", np.uint8(0))
    made.node("DequantizeLinear", ["image", "s", "z"], "result")
    refused(made.model("result"), tmp_path, "an input of the file", "float inputs")


def test_an_import_says_what_it_read(tmp_path):
    onnx.save(two_layers().model("scores"), str(tmp_path / "made.onnx"))
    report = import_onnx(tmp_path / "made.onnx", SHAPE, tmp_path / "out")
    assert "scales of 2 activations and 2 weights" in report["repairs"][0]
    assert report["largest_difference"] < 1e-5
    scales = read_scales(tmp_path / "out")
    assert scales is not None
    assert scales.activations["relu"].dtype == "uint8"
