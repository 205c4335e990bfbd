"""What ONNX Runtime ran as integer, by kernels that are known and counts that can be worked out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import cnn, pictures, ranges_of, save, sqnr_db, with_weights

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.runtimes import onnx_graph
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

STATIC = RECIPES["onnx_int8"]
CNN_MACS = 8 * 8 * 8 * 27 + 8 * 8 * 8 * 72 + 5 * 8  # two convolutions at 8x8, a Gemm


def ops(found) -> list[str]:
    return sorted(operator.op for operator in found)


def quantized(model, tmp_path):
    prepare(save(model, tmp_path / "raw.onnx"), tmp_path / "float.onnx")
    path = tmp_path / "float.onnx"
    quantize(path, STATIC, ranges_of(path, tensors_to_quantize(path), pictures()), tmp_path)
    return tmp_path / ONNX


def test_a_float_model_is_float(tmp_path):
    operators = onnx_graph.read_operators(save(cnn(), tmp_path / "float.onnx"))
    assert onnx_graph.integer_fraction(operators) == 0
    assert not any(found.is_integer for found in operators)
    assert len(onnx_graph.float_operators(operators)) == 3
    assert sum(operator.macs for operator in operators) == CNN_MACS


def test_an_integer_model_is_integer(tmp_path):
    path = quantized(cnn(), tmp_path)
    operators = onnx_graph.read_operators(path)
    assert onnx_graph.what_ran_as_integer(path) == {"fraction": 1.0, "float_ops": []}
    assert sum(operator.macs for operator in operators) == CNN_MACS
    products = [found for found in operators if found.role == "product"]
    assert ops(products) == ["QGemm", "QLinearConv", "QLinearConv"]
    conversions = [found for found in operators if found.role == "conversion"]
    assert ops(conversions) == ["DequantizeLinear", "QuantizeLinear"], "at the ends only"
    assert {operator.provider for operator in operators} == {"CPUExecutionProvider"}


def test_a_pair_that_could_not_be_fused_shows(tmp_path):
    """A convolution with no quantizer behind it runs on floats, and so does the one it feeds."""
    path = quantized(cnn(), tmp_path)
    model = onnx.load(str(path))
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    pair = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == convolution.output[0]:
            pair["quantizer"] = node
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == pair["quantizer"].output[0]:
            pair["dequantizer"] = node
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == pair["dequantizer"].output[0]:
                node.input[place] = convolution.output[0]
    for node in pair.values():
        model.graph.node.remove(node)
    broken = save(model, tmp_path / "broken.onnx")
    told = onnx_graph.what_ran_as_integer(broken)
    assert told["fraction"] == pytest.approx(5 * 8 / CNN_MACS)
    assert sum("Conv (" in said for said in told["float_ops"]) == 2


TRANSPOSED = """
<ir_version: 8, opset_import: ["" : 17]>
up (float[1, 3, 16, 16] image) => (float[1, 12, 32, 17] out) {{
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w)
    out = ConvTranspose <kernel_shape = [2, 2], strides = [2, 1], group = {groups}> (c, u, b)
}}
"""


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_transposed_convolution_that_stays_is_counted_and_said_to_be_float(tmp_path, groups):
    """Of two strides there is no other form. Weights have a scale each of outputs of a group."""
    random = np.random.default_rng(0)
    outputs = 12 // groups
    arrays = {
        "w": random.normal(0, 0.2, (6, 3, 3, 3)),
        "u": random.normal(0, 0.4, (6, outputs, 2, 2)) * np.arange(1, outputs + 1)[:, None, None],
        "b": random.normal(0, 0.1, 12),
    }
    model = with_weights(
        TRANSPOSED.format(groups=groups), {k: v.astype(np.float32) for k, v in arrays.items()}
    )
    path = quantized(model, tmp_path)
    operators = onnx_graph.read_operators(path)
    macs = {operator.op: operator.macs for operator in operators if operator.macs}
    assert macs == {"QLinearConv": 16 * 16 * 6 * 27, "ConvTranspose": 16 * 16 * 6 * outputs * 4}
    (said,) = onnx_graph.what_ran_as_integer(path)["float_ops"]
    assert said.startswith("ConvTranspose (")
    stored = {tensor.name: tensor for tensor in onnx.load(str(path)).graph.initializer}
    assert stored["u_scale"].dims == [6 if groups == 6 else outputs]
    real, found = (
        OnnxSession(file).predict(pictures(4))[0] for file in (tmp_path / "float.onnx", path)
    )
    assert sqnr_db(real, found) > 30


GROUPED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, {channels}, {side}, {side}] image) => (float[1, c, h, w] out) {{
    out = Conv <kernel_shape = [{kernel}, {kernel}], group = {groups}> (image, w)
}}
"""


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(3, 9), st.integers(1, 3)
)
def test_multiply_accumulates_of_convolutions(tmp_path_factory, groups, inner, outer, side, kernel):
    text = GROUPED.format(channels=groups * inner, side=side, kernel=kernel, groups=groups)
    weights = np.ones((groups * outer, inner, kernel, kernel), np.float32)
    path = save(with_weights(text, {"w": weights}), tmp_path_factory.mktemp("g") / "g.onnx")
    (found,) = [o for o in onnx_graph.read_operators(path) if o.role == "product"]
    assert found.macs == (side - kernel + 1) ** 2 * weights.size


def test_a_file_that_does_not_run_is_named(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(cnn().SerializeToString()[:600])
    with pytest.raises(ValueError, match=r"cannot run .*broken\.onnx"):
        onnx_graph.read_operators(path)


TOKENS = """
<ir_version: 8, opset_import: ["" : 17]>
tokens (float[1, 3, 16, 16] image) => (float[1, 16, 8] out) {
    c = Conv <kernel_shape = [4, 4], strides = [4, 4]> (image, w)
    flat = Reshape (c, sides)
    x = Transpose <perm = [0, 2, 1]> (flat)
    placed = Add (x, position)
    q = MatMul (placed, wq)
    sum = Add (q, x)
    out = LayerNormalization (sum, ones, zeros)
}
"""


def test_a_sum_of_a_token_stream_is_float_where_a_scale_stands_before_its_transposition(tmp_path):
    """ONNX Runtime moves the DQ behind the Transpose, once for each reader: they stay joined."""
    random = np.random.default_rng(0)
    arrays = {"w": random.normal(0, 0.2, (8, 3, 4, 4)), "wq": random.normal(0, 0.3, (8, 8))}
    arrays |= {"position": random.normal(size=(1, 16, 8)), "ones": np.ones(8), "zeros": np.zeros(8)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    model = with_weights(TOKENS, arrays | {"sides": np.array([1, 8, 16])})
    told = onnx_graph.what_ran_as_integer(quantized(model, tmp_path))
    assert told["float_ops"] == []
    assert any("Add (" in said for said in told["float_by_kernel"])
