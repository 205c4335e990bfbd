"""Forms of QDQ files that tools really write, each as a small graph, and what is read of them.

`tests/real/test_qat_exports.py` has the files themselves.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from export_checks import answers
from onnx import TensorProto, helper, numpy_helper
from qdq_files import Builder, shipped

from int8gate.model_zoo.importers.onnx.importer import import_onnx
from int8gate.model_zoo.importers.onnx.qdq import stripping
from int8gate.model_zoo.importers.onnx.qdq.fake_quantization import with_fake_quantization
from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import QdqScales, read_scales
from int8gate.quantizers.toolchains.onnx.shipped_scales import shipped_scales
from int8gate.quantizers.toolchains.tflite.given_scales import shipped_scales as of_tflite
from int8gate.runtimes.onnx_graph import what_ran_as_integer
from int8gate.runtimes.sessions import open_session

SHAPE = (1, 3, 8, 8)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def pictures(count: int = 40, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, *SHAPE[1:])).astype(np.float32)


def convolution(made: Builder, given: str, result: str, inputs: int = 3, seed: int = 0) -> str:
    """Of int8 weights with a scale each, 6 outputs."""
    made.constant(f"{result}_w", weights(6, inputs, 3, 3, seed=seed))
    scales = np.linspace(0.006, 0.01, 6).astype(np.float32)
    rounded = made.pair(f"{result}_w", scales, 0, "int8", axis=0)
    return made.node("Conv", [given, rounded], result, pads=[1] * 4, kernel_shape=[3, 3])


def stripped(model: onnx.ModelProto) -> QdqScales:
    """What the pairs said; the float network with them put back computes what the file did."""
    wanted = run(model)
    scales = stripping.strip(model)
    with_fake_quantization(model, scales)
    assert np.allclose(run(model), wanted, atol=1e-5)
    return scales


def run(model: onnx.ModelProto) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    return session.run(None, {"image": pictures(1)})[0]


def test_constants_that_are_listed_as_inputs_are_none(tmp_path):
    """Brevitas 0.13.4, `export_onnx_qcdq(dynamo=True)`: scales of weights are listed as well."""
    made = Builder(SHAPE)
    model = made.model(convolution(made, made.pair("image", 0.01, 0, "int8"), "result"))
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    onnx.save(model, str(tmp_path / "made.onnx"))
    report = import_onnx(tmp_path / "made.onnx", SHAPE, tmp_path / "out")
    assert report["input"] == ["image", *SHAPE]
    scales = read_scales(tmp_path / "out")
    assert scales is not None
    assert list(scales.activations) == ["image"]


def test_integers_may_be_cast_to_what_they_are():
    """PyTorch 2.13, `convert` and `torch.onnx.export(dynamo=False)`: a Cast to uint8 between Q and
    DQ, constants of each node as nodes, the zero points of the bias a Cast of ConstantOfShape.
    """
    made = Builder(SHAPE)
    made.constant("s", np.float32(0.01))
    made.constant("z", np.uint8(100))
    made.node("QuantizeLinear", ["image", "s", "z"], "q")
    made.node("Cast", ["q"], "same", to=TensorProto.UINT8)
    for name, value in (("s2", np.float32(0.01)), ("z2", np.uint8(100)), ("sides", np.int64([1]))):
        made.node("Constant", [], name, value=numpy_helper.from_array(value))
    made.node("DequantizeLinear", ["same", "s2", "z2"], "real")
    made.constant("w", np.int8([[[[3]], [[-7]], [[90]]]]))
    made.constant("w_s", np.float32([0.02]))
    made.constant("w_z", np.int8([0]))
    made.node("DequantizeLinear", ["w", "w_s", "w_z"], "w_real")
    made.constant("b", np.int32([1200]))
    made.constant("b_s", np.float32([0.0002]))
    zero = numpy_helper.from_array(np.int32([0]))
    made.node("ConstantOfShape", ["sides"], "zeros", value=zero)
    made.node("Cast", ["zeros"], "b_z", to=TensorProto.INT32)
    made.node("DequantizeLinear", ["b", "b_s", "b_z"], "b_real")
    made.node("Conv", ["real", "w_real", "b_real"], "result", kernel_shape=[1, 1])
    scales = stripped(made.model("result"))
    assert (scales.activations["image"].zero_point, list(scales.weights)) == (100, ["w_real"])


def test_a_clip_to_all_that_8_bits_hold_is_none():
    """torchao 0.18 behind Neural Compressor 3.10, and Brevitas: its bounds are those of int8."""
    made = Builder(SHAPE)
    for name, value in (("s", np.float32(0.01)), ("z", np.int8(3))):
        made.constant(name, value)
    for name, value in (("low", np.int8(-128)), ("high", np.int8(127))):
        made.constant(name, value)
    made.node("QuantizeLinear", ["image", "s", "z"], "q")
    made.node("Clip", ["q", "low", "high"], "clipped")
    made.node("DequantizeLinear", ["clipped", "s", "z"], "real")
    made.node("Relu", ["real"], "result")
    scales = stripped(made.model("result"))
    assert scales.notes == []
    assert scales.activations["image"].bounds is None


def test_a_cast_of_float32_to_float32_is_no_tensor_of_its_own():
    """NVIDIA ModelOpt 0.47, `torch.onnx.export` of a network with a residual: a Cast before Q."""
    made = Builder(SHAPE)
    maps = made.node("Relu", [convolution(made, "image", "conv")], "relu")
    made.node("Cast", [maps], "cast", to=TensorProto.FLOAT)
    one = convolution(made, made.pair("cast", 0.02, 0, "int8"), "left", inputs=6)
    other = convolution(made, made.pair("relu", 0.02, 0, "int8"), "right", inputs=6)
    scales = stripped(made.model(made.node("Add", [one, other], "sum")))
    assert set(scales.activations) == {"relu"}
    assert scales.notes == []


@pytest.mark.parametrize("reads_too", [False, True])
def test_a_pair_behind_a_maxpool_counts_before_it(reads_too):
    """NVIDIA ModelOpt 0.47 and NNCF 3.4 put it before the convolution that reads the MaxPool."""
    made = Builder(SHAPE)
    maps = made.node("Relu", [convolution(made, "image", "conv")], "relu")
    made.node("MaxPool", [maps], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    result = convolution(made, made.pair("pooled", 0.02, 0, "int8"), "result", inputs=6)
    if reads_too:
        made.node("GlobalAveragePool", ["relu"], "mean")
        result = made.node("Add", [result, "mean"], "sum")
    scales = stripped(made.model(result))
    assert set(scales.activations) == ({"pooled"} if reads_too else {"pooled", "relu"})


def test_a_pair_behind_a_concatenation_counts_before_it_and_one_before_a_relu_behind_it():
    """Neural Compressor and torchao give a concatenation a pair; Brevitas' QuantIdentity stands
    before a Relu.
    """
    made = Builder(SHAPE)
    one, other = (convolution(made, "image", name, seed=len(name)) for name in ("a", "other"))
    made.node("Concat", [one, other], "both", axis=1)
    relu = made.node("Relu", [made.pair("both", 0.03, 5, "int8")], "relu")
    made.node("Flatten", [relu], "flat")
    scales = stripped(made.model(made.node("Neg", [made.pair("flat", 0.03, 5, "int8")], "result")))
    assert set(scales.activations) == {"relu"}
    made = Builder(SHAPE)
    one, other = (convolution(made, "image", name, seed=len(name)) for name in ("a", "other"))
    made.node("Concat", [one, other], "both", axis=1)
    scales = stripped(made.model(made.node("Neg", [made.pair("both", 0.03, 5, "int8")], "result")))
    assert set(scales.activations) == {"a", "other", "both"}


@pytest.mark.parametrize("factor", [None, -1.7])
def test_weights_whose_pair_was_computed_are_known_by_their_grid(factor):
    """tf2onnx 1.17 folds what follows from constants, and a normalization into the weights."""
    rng, made = np.random.default_rng(0), Builder(SHAPE)
    steps = np.array([0.01, 0.02, 0.005], np.float32)
    integers = rng.integers(-90, 91, (3, 3, 3, 3))
    real = (integers * steps[:, None, None, None]).astype(np.float32) * np.float32(factor or 1)
    made.constant("w", real)
    made.constant("dense", weights(3, 5))  # on no grid
    picture = made.pair("image", 0.01, 0, "int8")
    made.node("Conv", [picture, "w"], "conv", kernel_shape=[3, 3])
    made.node("Flatten", [made.node("GlobalAveragePool", ["conv"], "mean")], "flat")
    scales = stripped(made.model(made.node("MatMul", ["flat", "dense"], "result")))
    assert list(scales.weights) == ["w"]
    assert np.allclose(scales.weights["w"].scales, steps * abs(factor or 1), rtol=1e-6)
    assert "came without a pair and lie on a grid" in scales.notes[0]


@pytest.mark.parametrize("has_bias", [False, True])
def test_what_a_qat_convolution_divides_by_goes_into_its_normalization(has_bias):
    """PyTorch 2.13, `torch.onnx.export(dynamo=False)` of a prepared network that is not converted:
    weights times the factor of the normalization, their pair, Conv, Div by it, (Add,) and the
    normalization.
    """
    made, rng = Builder(SHAPE), np.random.default_rng(1)
    maps = convolution(made, made.pair("image", 0.01, 0, "int8"), "conv")
    made.constant("factor", rng.uniform(0.3, 2, (1, 6, 1, 1)).astype(np.float32))
    made.node("Div", [maps, "factor"], "divided")
    if has_bias:
        made.constant("bias", rng.normal(size=(1, 6, 1, 1)).astype(np.float32))
        made.node("Add", ["divided", "bias"], "with_bias")
    for name in ("gain", "offset", "mean", "variance"):
        made.constant(name, rng.uniform(0.5, 2, 6).astype(np.float32))
    given = ["with_bias" if has_bias else "divided", "gain", "offset", "mean", "variance"]
    model = made.model(made.node("BatchNormalization", given, "result"))
    stripped(model)
    assert not {node.op_type for node in model.graph.node} & {"Add"}
    assert sum(node.op_type == "Div" for node in model.graph.node) == 1  # of the picture's rounding


def with_openvino(levels: int, low: float = -1.0) -> onnx.ModelProto:
    """A FakeQuantize of the picture and one of the weights, 255 levels."""
    made, domain = Builder(SHAPE), "org.openvinotoolkit"
    made.constant("low", np.float32([low]))
    made.constant("high", np.float32([low * -127 / 128]))
    made.constant("w", weights(6, 3, 3, 3))
    largest = np.linspace(0.8, 1.2, 6).astype(np.float32).reshape(-1, 1, 1, 1)
    made.constant("w_low", -largest)
    made.constant("w_high", largest)
    for tensor, bounds, count in (
        ("image", ["low", "high"], levels),
        ("w", ["w_low", "w_high"], 255),
    ):
        given = [tensor, *bounds, *bounds]
        made.node("FakeQuantize", given, f"{tensor}_fq", domain=domain, levels=count)
    made.node("Conv", ["image_fq", "w_fq"], "result", kernel_shape=[3, 3])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, (1, 6, 6, 6))
    graph = helper.make_graph(made.nodes, "made", [made.input], [result], made.stored)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def test_fake_quantization_of_openvino_is_read_as_pairs(tmp_path):
    """NNCF 3.4, `torch.onnx.export` of what `nncf.quantize` gives of a PyTorch network."""
    onnx.save(with_openvino(256), str(tmp_path / "made.onnx"))
    assert stripping.is_qdq(with_openvino(256)), "so that what changes scales is refused"
    import_onnx(tmp_path / "made.onnx", SHAPE, tmp_path / "out")
    scales = read_scales(tmp_path / "out")
    assert scales is not None
    assert scales.activations["image"].scale == pytest.approx(1 / 128, rel=1e-6)
    assert scales.activations["image"].zero_point == 0
    (found,) = scales.weights.values()
    assert np.allclose(found.scales, np.linspace(0.8, 1.2, 6) / 127, rtol=1e-6)
    assert (found.zero_points, found.axis) == ((0,) * 6, 0)


@pytest.mark.parametrize(
    ("levels", "low", "why"),
    [(16, -1.0, "has 16 levels, expected 256"), (255, -1.0, "leaves zero out of its steps")],
)
def test_other_fake_quantization_of_openvino_is_refused(tmp_path, levels, low, why):
    onnx.save(with_openvino(levels, low), str(tmp_path / "made.onnx"))
    with pytest.raises(ValueError, match=why):
        import_onnx(tmp_path / "made.onnx", SHAPE, tmp_path / "out")


def symmetric_network() -> onnx.ModelProto:
    """As ModelOpt writes it: int8 with zero point 0 behind a ReLU, a ReLU6 and a pooling."""
    made = Builder(SHAPE)
    first = convolution(made, made.pair("image", 1 / 127, 0, "int8"), "conv")
    relu = made.node("Relu", [first], "relu")
    second = convolution(made, made.pair(relu, 0.02, 0, "int8"), "second", inputs=6, seed=1)
    for name, value in (("zero", 0.0), ("six", 6.0)):
        made.constant(name, np.float32(value))
    made.node("Clip", [second, "zero", "six"], "relu6")
    pooled = made.node(
        "AveragePool", [made.pair("relu6", 0.0625, 0, "int8")], "pooled", kernel_shape=[4, 4]
    )
    made.node("Flatten", [made.pair(pooled, 0.02, 0, "int8")], "flat")
    made.constant("dense", weights(10, 150, seed=2))
    rounded = made.pair("dense", 0.01, 0, "int8")
    made.node("Gemm", ["flat", rounded], "scores", transB=1)
    return made.model(made.pair("scores", 0.1, 0, "int8"))


@pytest.fixture(scope="module")
def symmetric(tmp_path_factory):
    folder = tmp_path_factory.mktemp("symmetric")
    onnx.save(symmetric_network(), str(folder / "made.onnx"))
    return folder


def test_a_relu_stays_where_its_range_goes_below_zero(symmetric):
    """ModelOpt 0.47: ONNX Runtime's quantizer takes the Relu out, and negative values passed."""
    values = pictures()
    path, described = shipped(
        symmetric / "made.onnx", SHAPE, "onnx", symmetric, samples=values.transpose(0, 2, 3, 1)
    )
    wanted, found = answers(symmetric / "made.onnx", values), answers(path, values)
    assert np.abs(wanted - found).max() <= 0.21  # two steps of the output
    assert what_ran_as_integer(path) == {"fraction": 1.0, "float_ops": []}
    scales = shipped_scales(path, symmetric / "onnx_float" / "model.onnx").activations
    for name, scale in (("relu", 0.02), ("relu6", 0.0625), ("pooled", 0.02)):
        assert scales[name] == (pytest.approx(scale, rel=1e-6), 0)
    assert "none was calibrated" in " ".join(described["notes"])


def test_a_mean_of_arrays_is_rescaled_behind_it_in_tflite(symmetric):
    """Its terms lie outside of its own range; and arrays of four sides are no picture."""
    values = pictures()
    path, described = shipped(
        *(symmetric / "made.onnx", SHAPE, "tflite", symmetric),
        samples=values,
        inputs={"image": SHAPE},
    )
    (found,) = open_session(path).predict(values)
    assert np.abs(answers(symmetric / "made.onnx", values) - found).max() <= 0.21
    pairs = list(of_tflite(path).activations.values())
    assert any(np.isclose(scale, 0.0625) and point == 0 for scale, point in pairs)
    assert "1 QUANTIZE were put beside" in " ".join(described["notes"])
