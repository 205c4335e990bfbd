"""Weights in blocks: how far they may be from float's, and what else stays as it was."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_files import cnn, save

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.quantize import quantize
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

BITS = {"onnx_weight_int8": 8, "onnx_weight_int4": 4}


def product(weights: np.ndarray) -> onnx.ModelProto:
    """x (1, rows, inputs) @ weights (inputs, outputs), and the same x @ x transposed."""
    inputs, outputs = weights.shape
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "t"], ["z"], name="of_activations"),
    ]
    ends = {"x": (1, inputs, inputs), "y": (1, inputs, outputs), "z": (1, inputs, inputs)}
    x, y, z = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends.items())
    graph = helper.make_graph(nodes, "g", [x], [y, z], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("name", BITS)
@given(
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 20),
    spread=st.floats(0.01, 100),
    offset=st.floats(-3, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_no_weight_moves_by_more_than_a_step_of_its_block(
    tmp_path_factory, name, inputs, outputs, spread, offset, seed
):
    rng = np.random.default_rng(seed)
    weights = (spread * (rng.standard_normal((inputs, outputs)) + offset)).astype(np.float32)
    folder = tmp_path_factory.mktemp("blocks")
    quantize(save(product(weights), folder / "float.onnx"), RECIPES[name], None, folder)
    eye = np.eye(inputs, dtype=np.float32)[None]
    stored, of_activations = OnnxSession(folder / ONNX).predict(eye)
    np.testing.assert_array_equal(of_activations, eye)
    for start in range(0, inputs, RECIPES[name].block):
        block = weights[start : start + RECIPES[name].block]
        low, high = np.minimum(block.min(axis=0), 0), np.maximum(block.max(axis=0), 0)
        step = (high - low) / (2 ** BITS[name] - 1)
        error = np.abs(stored[0, start : start + len(block)] - block)
        assert (error <= 1.01 * step + 1e-6 * spread).all()


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_a_gemm_is_a_matrix_product(tmp_path, turned, biased):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((64, 9)).astype(np.float32)
    stored = {"w": np.ascontiguousarray(weights.T) if turned else weights}
    stored |= {"b": rng.standard_normal(9).astype(np.float32)} if biased else {}
    nodes = [
        helper.make_node("Gemm", ["x", *stored], ["y"], name="first", transB=turned),
        helper.make_node("Gemm", ["x", *stored], ["z"], name="shared", transB=turned),
        helper.make_node("Gemm", ["x", *stored], ["u"], name="scaled", transB=turned, alpha=0.5),
    ]
    ends = {"x": (3, 64), "y": (3, 9), "z": (3, 9), "u": (3, 9)}
    x, *others = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends.items())
    constants = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", [x], others, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = save(model, tmp_path / "float.onnx")
    samples = rng.standard_normal((3, 64)).astype(np.float32)
    wanted = OnnxSession(path).run([samples])
    quantize(path, RECIPES["onnx_weight_int8"], None, tmp_path)
    found = OnnxSession(tmp_path / ONNX).run([samples])
    operators = [node.op_type for node in onnx.load(str(tmp_path / ONNX)).graph.node]
    assert operators.count("MatMulNBits") == 2
    assert operators.count("Gemm") == 1, "scaled: it is left as it is"
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(one, other, atol=0.2)
    np.testing.assert_array_equal(wanted[2], found[2])


def test_fewer_bits_are_fewer_bytes(tmp_path):
    weights = np.random.default_rng(0).standard_normal((512, 256)).astype(np.float32)
    path, sizes = save(product(weights), tmp_path / "float.onnx"), {}
    for name in BITS:
        (tmp_path / name).mkdir()
        quantize(path, RECIPES[name], None, tmp_path / name)
        sizes[name] = (tmp_path / name / ONNX).stat().st_size / path.stat().st_size
    assert sizes["onnx_weight_int4"] < 0.17 < sizes["onnx_weight_int8"] < 0.3


@pytest.mark.parametrize("name", BITS)
def test_a_network_without_matrix_products_is_refused_in_a_sentence(tmp_path, name):
    model = cnn()
    kept = [node for node in model.graph.node if node.op_type not in ("MatMul", "Gemm")]
    if len(kept) < len(model.graph.node):
        output = kept[-1].output[0]
        del model.graph.node[:], model.graph.output[:]
        model.graph.node.extend(kept)
        model.graph.output.append(helper.make_empty_tensor_value_info(output))
    path = save(model, tmp_path / "convolutions.onnx")
    with pytest.raises(ValueError, match=rf"^convolutions.onnx holds no matrix product .*{name}"):
        quantize(path, RECIPES[name], None, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_half_quadratic_rounding_leaves_outputs_nearer(tmp_path, seed):
    """Of weights with heavy tails, as trained ones are; a layer's output is what counts."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_t(4, (256, 64)).astype(np.float32)
    path, errors = save(product(weights), tmp_path / "float.onnx"), {}
    samples = rng.standard_normal((1, 256, 256)).astype(np.float32)
    wanted = OnnxSession(path).predict(samples)[0]
    for name in ("onnx_weight_int4", "onnx_weight_int4_hqq"):
        (tmp_path / name).mkdir()
        quantize(path, RECIPES[name], None, tmp_path / name)
        found = OnnxSession(tmp_path / name / ONNX).predict(samples)[0]
        errors[name] = float(np.square(found - wanted).mean())
    assert 0 < errors["onnx_weight_int4_hqq"] < errors["onnx_weight_int4"]
