"""GPTQ: what a layer gives is nearer to float's than by rounding to the nearest."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_files import save

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx import gptq_rounding, weight_only
from int8gate.quantizers.toolchains.onnx.gptq_rounding import rounded
from int8gate.quantizers.toolchains.onnx.quantize import quantize
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

GPTQ, NEAREST = RECIPES["onnx_weight_int4_gptq"], RECIPES["onnx_weight_int4"]
BLOCK = 32


def correlated(rng: np.random.Generator, count: int, inputs: int) -> np.ndarray:
    """What a layer reads: few directions of large variance, as token streams have."""
    mix = rng.standard_normal((inputs, inputs)) * np.exp(rng.normal(0, 1, inputs))
    return (rng.standard_normal((count, inputs)) @ mix).astype(np.float32)


def restored(levels, scales, zeros) -> np.ndarray:
    of_row = np.arange(len(levels)) // BLOCK
    return (levels.astype(np.float64) - zeros[of_row]) * scales[of_row].astype(np.float64)


def error(x: np.ndarray, weights: np.ndarray, found: np.ndarray) -> float:
    return float(np.square(x.astype(np.float64) @ (weights - found)).mean())


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.integers(2, 100),
    outputs=st.integers(1, 24),
)
def test_no_layer_is_farther_than_by_rounding_to_the_nearest(seed, inputs, outputs):
    """On what it was made for; without correlations it is that rounding."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_t(4, (inputs, outputs)).astype(np.float32)
    x = correlated(rng, 4 * inputs, inputs)
    moments = x.T.astype(np.float64) @ x
    nearest = restored(*rounded(weights, np.eye(inputs), BLOCK))
    found = restored(*rounded(weights, moments, BLOCK))
    assert error(x, weights, found) <= 1.05 * error(x, weights, nearest)
    levels, scales, zeros = rounded(weights, np.eye(inputs), BLOCK)
    off = np.abs(weights - nearest) / scales[np.arange(inputs) // BLOCK]
    assert off.max() <= 1.0, "half a step, and the zero point's rounding at either end"
    assert levels.max() <= 15
    assert zeros.max() <= 15


@pytest.mark.parametrize("seed", range(3))
def test_correlated_inputs_halve_the_error_or_nearly(seed):
    rng = np.random.default_rng(seed)
    weights = rng.standard_t(4, (128, 64)).astype(np.float32)
    x, unseen = np.split(correlated(rng, 1200, 128), [800])
    nearest = restored(*rounded(weights, np.eye(128), BLOCK))
    found = restored(*rounded(weights, x.T.astype(np.float64) @ x, BLOCK))
    assert error(unseen, weights, found) < 0.75 * error(unseen, weights, nearest)


def test_inputs_that_were_never_seen_and_moments_of_few_samples():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((40, 8)).astype(np.float32)
    x = correlated(rng, 5, 40)  # fewer than inputs: the moments have no inverse
    x[:, ::3] = 0
    found = restored(*rounded(weights, x.T.astype(np.float64) @ x, BLOCK))
    nearest = restored(*rounded(weights, np.eye(40), BLOCK))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], nearest[0], err_msg="a dead input takes no errors")
    assert error(x, weights, found) <= error(x, weights, nearest)
    silent = restored(*rounded(weights, np.zeros((40, 40)), BLOCK))
    np.testing.assert_array_equal(silent, nearest)


def network(weights: dict[str, np.ndarray], products: list[tuple[str, str, str]], size: int):
    """MatMul nodes (what, by which weight, to what) over x (1, rows, size)."""
    nodes = [helper.make_node("MatMul", [a, w], [y], name=f"of_{y}") for a, w, y in products]
    ends = [("x", size), *((y, weights[w].shape[1]) for _, w, y in products)]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 16, k)) for n, k in ends]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def of_recipe(path, recipe, directory, samples):
    directory.mkdir(exist_ok=True)
    quantize(path, recipe, None, directory, samples)
    return OnnxSession(directory / ONNX)


@pytest.mark.parametrize("inputs", [32, 50, 96])
def test_the_file_computes_what_was_rounded(tmp_path, inputs):
    """Packed as MatMulNBits reads it, whole blocks or not, an odd number of them or an even one."""
    rng = np.random.default_rng(inputs)
    w = rng.standard_normal((inputs, 12)).astype(np.float32)
    path = save(network({"w": w}, [("x", "w", "y")], inputs), tmp_path / "float.onnx")
    x = correlated(rng, 16 * 20, inputs).reshape(20, 16, inputs)
    np.save(tmp_path / "samples.npy", x)
    session = of_recipe(path, GPTQ, tmp_path / "gptq", tmp_path / "samples.npy")
    rows = x.reshape(-1, inputs).astype(np.float64)
    wanted = x[:1].astype(np.float64) @ restored(*rounded(w, rows.T @ rows, BLOCK))
    np.testing.assert_allclose(session.predict(x[:1])[0], wanted, rtol=1e-4, atol=1e-3)


def test_layers_in_a_row_and_a_shared_weight(tmp_path):
    rng = np.random.default_rng(3)
    weights = {n: rng.standard_t(4, (64, 64)).astype(np.float32) / 8 for n in ("v", "w")}
    products = [("x", "w", "h"), ("h", "v", "g"), ("g", "w", "y")]
    path = save(network(weights, products, 64), tmp_path / "float.onnx")
    x = correlated(rng, 16 * 40, 64).reshape(40, 16, 64)
    np.save(tmp_path / "samples.npy", x[:30])
    wanted = OnnxSession(path).predict(x[30:])
    errors = {}
    for recipe in (GPTQ, NEAREST):
        samples = tmp_path / "samples.npy" if recipe is GPTQ else None
        session = of_recipe(path, recipe, tmp_path / recipe.name, samples)
        errors[recipe.name] = [
            float(np.square(one - other).mean())
            for one, other in zip(session.predict(x[30:]), wanted, strict=True)
        ]
    for better, worse in zip(errors[GPTQ.name], errors[NEAREST.name], strict=True):
        assert better < worse
    first = (tmp_path / GPTQ.name / ONNX).read_bytes()
    of_recipe(path, GPTQ, tmp_path / "again", tmp_path / "samples.npy")
    assert (tmp_path / "again" / ONNX).read_bytes() == first


def test_moments_are_collected_in_parts_where_they_are_large(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    weights = {n: rng.standard_normal((32, 32)).astype(np.float32) for n in ("u", "v", "w")}
    products = [("x", "u", "a"), ("a", "v", "b"), ("b", "w", "y")]
    path = save(network(weights, products, 32), tmp_path / "float.onnx")
    np.save(tmp_path / "samples.npy", correlated(rng, 160, 32).reshape(10, 16, 32))
    files = []
    for most in (2**30, 1):
        monkeypatch.setattr(gptq_rounding, "MOST_BYTES", most)
        of_recipe(path, GPTQ, tmp_path / str(most), tmp_path / "samples.npy")
        files.append((tmp_path / str(most) / ONNX).read_bytes())
    assert files[0] == files[1]


def test_a_network_beyond_one_file_is_refused(tmp_path, monkeypatch):
    w = np.ones((32, 4), np.float32)
    path = save(network({"w": w}, [("x", "w", "y")], 32), tmp_path / "float.onnx")
    monkeypatch.setattr(weight_only.onnx_file, "LARGEST_INSIDE", 10)
    with pytest.raises(ValueError, match="2 GiB: choose another int4 recipe"):
        quantize(path, GPTQ, None, tmp_path, tmp_path / "absent.npy")
    assert onnx.load(path).graph.node[0].op_type == "MatMul"
