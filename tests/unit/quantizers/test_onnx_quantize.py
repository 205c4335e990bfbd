"""Static and dynamic INT8 of ONNX models with ranges of our own, by what the artifact computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from data_folders import refused
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_files import cnn, pictures, ranges_of, save, sqnr_db, weights, with_weights

from int8gate.quantizers.calibration.thresholds import widened
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.runtimes import onnx_graph
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

STATIC = RECIPES["onnx_int8"]
DYNAMIC = RECIPES["onnx_dynamic_int8"]


def prepared(model, directory):
    target = directory / "float.onnx"
    prepare(save(model, directory / "raw.onnx"), target)
    return target


def quantized(path, directory, samples=None, recipe=STATIC):
    """The session of the artifact, with the ranges of `samples`."""
    samples = pictures() if samples is None else samples
    quantize(path, recipe, ranges_of(path, tensors_to_quantize(path), samples), directory)
    return OnnxSession(directory / ONNX)


def test_a_network_is_integer_from_end_to_end(tmp_path):
    path = prepared(cnn(), tmp_path)
    session = quantized(path, tmp_path)
    operators = onnx_graph.read_operators(tmp_path / ONNX)
    assert onnx_graph.integer_fraction(operators) == 1
    assert not onnx_graph.float_operators(operators)
    assert not onnx_graph.float_leftovers(operators)
    assert sqnr_db(OnnxSession(path).predict(pictures())[0], session.predict(pictures())[0]) > 25


def test_every_quantizer_has_the_scale_of_its_range(tmp_path):
    path = prepared(cnn(), tmp_path)
    wanted = tensors_to_quantize(path)
    quantize(path, STATIC, dict.fromkeys(wanted, (-1.0, 4.1)), tmp_path)
    graph = onnx.load(str(tmp_path / ONNX)).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantizers) == len(wanted) + 1, "a reshape takes the scale of what it reshapes"
    for node in quantizers:
        np.testing.assert_allclose(constants[node.input[1]], 5.1 / 255, rtol=1e-6)
        assert constants[node.input[2]] == np.uint8(50)


@pytest.mark.parametrize("scales", ["symmetric", "power_of_two"])
def test_activations_have_the_scales_that_silicon_asks_for(tmp_path, scales):
    path, samples = prepared(cnn(), tmp_path), pictures()
    found = {
        name: widened(each, scales, is_unsigned=True)
        for name, each in ranges_of(path, tensors_to_quantize(path), samples).items()
    }
    recipe = RECIPES[f"onnx_int8_{scales}"]
    assert recipe.scales == scales
    quantize(path, recipe, found, tmp_path)
    graph = onnx.load(str(tmp_path / ONNX)).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        scale, zero_point = (constants[name] for name in node.input[1:3])
        assert zero_point in (0, 128)
        assert scales == "symmetric" or np.frexp(scale)[0] == 0.5
    for node in graph.node:  # weights, biases, and a constant that is added
        if node.op_type == "DequantizeLinear":
            scale, zero_point = (constants[name] for name in node.input[1:3])
            assert np.isin(zero_point, (0, 128)).all(), node.name
            assert scales == "symmetric" or (np.frexp(scale)[0] == 0.5).all(), node.name
    session = OnnxSession(tmp_path / ONNX)
    assert sqnr_db(OnnxSession(path).predict(samples)[0], session.predict(samples)[0]) > 15


def test_weights_are_int8_with_a_scale_for_each_channel(tmp_path):
    path = prepared(cnn(), tmp_path)
    quantized(path, tmp_path)
    graph = onnx.load(str(tmp_path / ONNX)).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    axes = {"w1": 0, "w2": 0, "w3": 0}
    stored = {
        node.output[0].removesuffix("_DequantizeLinear_Output"): node
        for node in graph.node
        if node.op_type == "DequantizeLinear"
    }
    for name, axis in axes.items():
        values, scales = (constants[part] for part in stored[name].input[:2])
        assert values.dtype == np.int8
        shape = [-1 if place == axis else 1 for place in range(values.ndim)]
        error = np.abs(values * scales.reshape(shape) - weights()[name])
        assert (error <= scales.reshape(shape) * 0.5001).all()


@pytest.mark.parametrize("missing", [0, -1])
def test_a_tensor_without_a_range_is_named(tmp_path, missing):
    path = prepared(cnn(), tmp_path)
    ranges = dict.fromkeys(tensors_to_quantize(path), (0.0, 1.0))
    name = list(ranges)[missing]
    del ranges[name]
    refused(lambda: quantize(path, STATIC, ranges, tmp_path), f"tensor {name}", "calibrat")


@pytest.mark.parametrize("found", [(0.0, float("nan")), (-float("inf"), 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_refused(tmp_path, found):
    path = prepared(cnn(), tmp_path)
    ranges = dict.fromkeys(tensors_to_quantize(path), (0.0, 1.0)) | {"image": found}
    refused(lambda: quantize(path, STATIC, ranges, tmp_path), "tensor image")


TOKENS = """
<ir_version: 8, opset_import: ["" : 17]>
block (float[1, 4, 8] tokens) => (float[1, 4, 8] out) {
    normal = LayerNormalization (tokens, one, none)
    q = MatMul (normal, wq)
    k = MatMul (normal, wk)
    kt = Transpose <perm = [0, 2, 1]> (k)
    s = MatMul (q, kt)
    p = Softmax (s)
    v = MatMul (normal, wv)
    a = MatMul (p, v)
    y = MatMul (a, wo)
    r = Add (tokens, y)
    n2 = LayerNormalization (r, one, none)
    h = MatMul (n2, w1)
    hb = Add (h, b1)
    g = Relu (hb)
    m = MatMul (g, w2)
    out = Add (r, m)
}
"""


def transformer(seed: int = 0):
    random = np.random.default_rng(seed)
    shapes = dict.fromkeys(("wq", "wk", "wv", "wo"), (8, 8)) | {"w1": (8, 16), "w2": (16, 8)}
    arrays = {name: random.normal(0, 0.3, shape) for name, shape in shapes.items()}
    arrays |= {"one": np.ones(8), "none": np.zeros(8), "b1": random.normal(0, 0.3, 16)}
    return with_weights(TOKENS, {name: array.astype(np.float32) for name, array in arrays.items()})


def test_the_token_stream_of_a_transformer_stays_float(tmp_path):
    path = prepared(transformer(), tmp_path)
    samples = np.random.default_rng(2).normal(0, 1, (8, 4, 8)).astype(np.float32)
    samples[:, 0, 3] = 60  # an outlier that would take the whole range of a residual sum
    session = quantized(path, tmp_path, samples)
    operators = onnx_graph.read_operators(tmp_path / ONNX)
    left = {found.op for found in onnx_graph.float_leftovers(operators)}
    assert {"Softmax", "Add"} <= left
    products = [found for found in operators if found.role == "product"]
    assert sum(found.is_integer for found in products) == len(products) == 8
    assert sqnr_db(OnnxSession(path).predict(samples)[0], session.predict(samples)[0]) > 40


WRITTEN_OUT = """
<ir_version: 8, opset_import: ["" : 17]>
normalized (float[1, 4, 8] tokens) => (float[1, 4, 8] out) {
    x = MatMul (tokens, w1)
    sum = ReduceSum <keepdims = 1> (x, last)
    mean = Mul (sum, eighth)
    centred = Sub (x, mean)
    squares = Mul (centred, centred)
    total = ReduceSum <keepdims = 1> (squares, last)
    variance = Mul (total, eighth)
    some = Add (variance, little)
    deviation = Sqrt (some)
    factor = Reciprocal (deviation)
    normal = Mul (centred, factor)
    out = MatMul (normal, w2)
}
"""


def test_a_normalization_that_is_written_out_stays_float(tmp_path):
    random = np.random.default_rng(4)
    arrays = {name: random.normal(0, 0.3, (8, 8)) for name in ("w1", "w2")}
    arrays |= {"eighth": np.array(1 / 8), "little": np.array(1e-5)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    path = prepared(with_weights(WRITTEN_OUT, arrays | {"last": np.array([-1])}), tmp_path)
    samples = random.normal(0, 1, (8, 4, 8)).astype(np.float32)
    samples[1:] *= 1e-3  # their deviation is zero in the 8 bits of the first sample's
    found = quantized(path, tmp_path, samples).predict(samples[:1])[0]
    assert sqnr_db(OnnxSession(path).predict(samples[:1])[0], found) > 25
    assert np.isfinite(OnnxSession(tmp_path / ONNX).predict(samples)[0]).all()


BOXES = """
    last = LayerNormalization (out, one, none)
    classes = MatMul (last, w3)
    first = MatMul (last, w4)
    bent = Relu (first)
    boxes = MatMul (bent, w5)
}
"""
HEADED = TOKENS.replace("4, 8] out)", "4, 3] classes, float[1, 4, 2] boxes)").rstrip("}\n") + BOXES


def headed(hidden: int):
    """`transformer` with a class layer, and boxes from two products in a row."""
    random = np.random.default_rng(3)
    model = with_weights(HEADED, {})
    model.graph.initializer.extend(transformer().graph.initializer)
    for name, shape in {"w3": (8, 3), "w4": (8, hidden), "w5": (hidden, 2)}.items():
        array = random.normal(0, 0.3, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


PERIODIC = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1, 1] image) => (float[1, 5] scores) {{
    argument = Mul (image, frequencies)
    sine = Sin (argument)
    cosine = Cos (argument)
    {between}
    hidden = Gemm <transB = 1> ({read}, w1, b1)
    positive = Relu (hidden)
    scores = Gemm <transB = 1> (positive, w2, b2)
}}
"""


@pytest.mark.parametrize("largest", [1.0, 100.0, 1000.0])
@pytest.mark.parametrize(
    ("between", "read"),
    [
        ("both = Concat <axis = 1> (sine, cosine)", "both"),
        ("sum = Add (sine, cosine)\n    both = Concat <axis = 1> (sum, sine)", "both"),
    ],
)
def test_the_argument_of_a_periodic_function_stays_float(tmp_path, largest, between, read):
    """Time steps and places: a step of 8 bits over a wide range is many turns."""
    rng = np.random.default_rng(0)
    constants = {
        "frequencies": (10000.0 ** -(np.arange(8) / 8)).astype(np.float32)[None],
        "w1": rng.normal(0, 0.25, (12, 16)).astype(np.float32),
        "b1": rng.normal(0, 0.1, 12).astype(np.float32),
        "w2": rng.normal(0, 0.3, (5, 12)).astype(np.float32),
        "b2": rng.normal(0, 0.1, 5).astype(np.float32),
    }
    path = prepared(with_weights(PERIODIC.format(between=between, read=read), constants), tmp_path)
    times = np.linspace(0, largest, 200, dtype=np.float32)[:, None]
    session = quantized(path, tmp_path, times)
    assert sqnr_db(OnnxSession(path).predict(times)[0], session.predict(times)[0]) > 30
    operators = onnx_graph.read_operators(tmp_path / ONNX)
    assert onnx_graph.integer_fraction(operators) == 1, "of the products"


def test_a_row_of_products_behind_a_token_stream_stays_float_and_is_said_to(tmp_path):
    path = prepared(headed(1), tmp_path)
    samples = np.random.default_rng(2).normal(0, 1, (8, 4, 8)).astype(np.float32)
    quantized(path, tmp_path, samples)
    operators = onnx_graph.read_operators(tmp_path / ONNX)
    left = onnx_graph.float_operators(operators)
    assert sum(found.macs for found in left) == 4 * (8 * 1 + 1 * 2), "the two of the boxes"
    products = [found for found in operators if found.role == "product"]
    assert len(products) == 8 + 3, "the class layer is integer"


@pytest.mark.parametrize(("hidden", "is_accepted"), [(1, False), (1, True), (64, False)])
def test_what_is_kept_float_is_accepted_while_little(tmp_path, monkeypatch, hidden, is_accepted):
    path = prepared(headed(hidden), tmp_path)
    quantized(path, tmp_path, np.random.default_rng(2).normal(0, 1, (8, 4, 8)).astype(np.float32))
    if is_accepted:
        monkeypatch.setattr(onnx_graph, "KEPT_AT_MOST", 0.05)  # so small a network has no 1%
    found = onnx_graph.what_ran_as_integer(tmp_path / ONNX)
    assert len(found.get("kept_float", [])) == (2 if is_accepted else 0)
    assert len(found["float_ops"]) == (0 if is_accepted else 2)
    assert 0 < found["fraction"] < 1


MIXED = """
<ir_version: 8, opset_import: ["" : 17]>
csp (float[1, 3, 16, 16] image) => (float[1, 4, 8, 8] head, float[1, 4, 16, 16] fine) {
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w1, b1)
    a = LeakyRelu <alpha = 0.1> (c)
    one, two = Split <axis = 1> (a, parts)
    d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (two, w2, b2)
    e = LeakyRelu <alpha = 0.1> (d)
    both = Concat <axis = 1> (e, two, one)
    down = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (both)
    head = Conv (down, w3, b3)
    up = Resize <mode = "nearest"> (head, , scales)
    wide = Concat <axis = 1> (up, both)
    fine = Conv (wide, w4, b4)
}
"""


def csp(seed: int = 0):
    """Groups of a split, leaky ReLUs, concatenations of several scales, an upsampling."""
    random = np.random.default_rng(seed)
    shapes = {"w1": (8, 3, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 12, 1, 1), "w4": (4, 16, 1, 1)}
    arrays = {
        name: random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
        for name, shape in shapes.items()
    }
    arrays |= {f"b{name[1]}": random.normal(0, 0.1, len(w)) for name, w in arrays.items()}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    arrays |= {"parts": np.array([4, 4]), "scales": np.array([1, 1, 2, 2], np.float32)}
    return with_weights(MIXED, arrays)


def test_splits_concatenations_and_upsamplings_are_integer(tmp_path):
    path = prepared(csp(), tmp_path)
    session = quantized(path, tmp_path)
    operators = onnx_graph.read_operators(tmp_path / ONNX)
    assert not [*onnx_graph.float_operators(operators), *onnx_graph.float_leftovers(operators)]
    for real, found in zip(
        OnnxSession(path).predict(pictures()), session.predict(pictures()), strict=True
    ):
        assert sqnr_db(real, found) > 25


HEADS = """
<ir_version: 8, opset_import: ["" : 17]>
heads (float[1, 3, 16, 16] image) => (float[1, 512, 4] out, float[1, 4, 16, 16] seen) {
    a = Conv (image, w1)
    at = Transpose <perm = [0, 2, 3, 1]> (a)
    ar = Reshape (at, row)
    seen = Conv (image, w2)
    bt = Transpose <perm = [0, 2, 3, 1]> (seen)
    br = Reshape (bt, row)
    out = Concat <axis = 1> (ar, br)
}
"""


def test_what_is_concatenated_and_nothing_else_is_rounded_once(tmp_path):
    random = np.random.default_rng(0)
    arrays = {name: random.normal(0, size, (4, 3, 1, 1)) for name, size in (("w1", 0.1), ("w2", 1))}
    arrays = {name: w.astype(np.float32) for name, w in arrays.items()}
    model = with_weights(HEADS, arrays | {"row": np.array([1, 256, 4])})
    path = prepared(model, tmp_path)
    wanted = tensors_to_quantize(path)
    assert "a" not in wanted, "it takes the scale of what is concatenated"
    assert {"image", "seen", "out"} <= set(wanted), "the caller reads the other one, too"
    quantize(path, STATIC, {name: (-1.0, 1.0 + i) for i, name in enumerate(wanted)}, tmp_path)
    graph = onnx.load(str(tmp_path / ONNX)).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    scales = {
        node.input[0]: float(constants[node.input[1]])
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }
    of_out = next(scale for name, scale in scales.items() if name.startswith("out"))
    assert scales["a"] == scales["ar"] == of_out != scales["br"]


def test_dynamic_products_have_int8_weights(tmp_path):
    path = prepared(transformer(), tmp_path)
    quantize(path, DYNAMIC, None, tmp_path)
    operators = onnx_graph.read_operators(tmp_path / ONNX)
    assert sum(found.is_integer for found in operators if found.role == "product") == 6
    samples = np.random.default_rng(2).normal(0, 1, (8, 4, 8)).astype(np.float32)
    pair = (OnnxSession(file).predict(samples)[0] for file in (path, tmp_path / ONNX))
    assert sqnr_db(*pair) > 30


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["1", "2", "3"]),
    st.floats(-30, 0),
    st.floats(-2, 8),
    st.sampled_from([1, 1e-4]),
)
@example("3", -12.0, 1.0, 1e-4)
def test_a_dead_channel_with_a_bias_does_not_overflow(
    tmp_path_factory, layer, magnitude, bias, size
):
    """int32 holds bias / (input scale x weight scale): tiny weights must not make it overflow.

    The third layer's input has the scale of what a reshape got.
    """
    tmp_path = tmp_path_factory.mktemp("dead")
    model, arrays = cnn(), weights()
    for name in ("w1", "b1", "b2"):
        arrays[name] *= np.float32(size)  # of the activations
    arrays[f"w{layer}"][2] *= np.float32(10.0**magnitude)
    arrays[f"b{layer}"][2] = bias
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    path = prepared(model, tmp_path)
    session = quantized(path, tmp_path)
    assert sqnr_db(OnnxSession(path).predict(pictures())[0], session.predict(pictures())[0]) > 20


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_whatever_the_weights_the_artifact_follows_the_float_model(tmp_path_factory, seed):
    tmp_path = tmp_path_factory.mktemp("seed")
    path = prepared(cnn(seed=seed), tmp_path)
    session = quantized(path, tmp_path)
    assert sqnr_db(OnnxSession(path).predict(pictures())[0], session.predict(pictures())[0]) > 20


def test_the_same_ranges_give_the_same_bytes(tmp_path):
    path = prepared(cnn(), tmp_path)
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        quantized(path, tmp_path / name)
        written.append((tmp_path / name / ONNX).read_bytes())
    assert written[0] == written[1]
