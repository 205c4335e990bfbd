"""GPTQ: what a layer gives is nearer to float's than by rounding to the nearest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import outlier_networks
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_process import InProcess
from onnx import TensorProto, helper, numpy_helper
from onnx_files import save

from int8gate.engine.cache import ArtifactCache
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.toolchains.onnx import gptq_rounding, weight_only
from int8gate.quantizers.toolchains.onnx.gptq_rounding import rounded
from int8gate.quantizers.toolchains.onnx.quantize import quantize
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession
from int8gate.validation.case_run import CaseRun

GPTQ, NEAREST = RECIPES["onnx_weight_int4_gptq"], RECIPES["onnx_weight_int4"]
BLOCK = 32
TABLE = """
[models.gadget]
file = "gadget.onnx"
task = "classification"
data = "pictures"
range = [0, 1]
recipes = ["{}"]
"""


def correlated(rng: np.random.Generator, count: int, inputs: int) -> np.ndarray:
    """What a layer reads: few directions of large variance, as token streams have."""
    mix = rng.standard_normal((inputs, inputs)) * np.exp(rng.normal(0, 1, inputs))
    return (rng.standard_normal((count, inputs)) @ mix).astype(np.float32)


def restored(levels, scales, zeros) -> np.ndarray:
    of_row = np.arange(len(levels)) // BLOCK
    return (levels.astype(np.float64) - zeros[of_row]) * scales[of_row].astype(np.float64)


def error(x: np.ndarray, weights: np.ndarray, found: np.ndarray) -> float:
    return float(np.square(x.astype(np.float64) @ (weights - found)).mean())


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.integers(1, 100),
    outputs=st.integers(1, 24),
    is_correlated=st.booleans(),
)
@example(seed=1, inputs=4, outputs=1, is_correlated=True)
def test_no_output_is_farther_than_by_rounding_to_the_nearest(seed, inputs, outputs, is_correlated):
    """On what it was made for; without correlations it is that rounding."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_t(4, (inputs, outputs)).astype(np.float32)
    count = 4 * inputs
    x = correlated(rng, count, inputs) if is_correlated else rng.standard_normal((count, inputs))
    moments = x.T.astype(np.float64) @ x
    nearest = restored(*rounded(weights, np.eye(inputs), BLOCK))
    found = restored(*rounded(weights, moments, BLOCK))
    for column in range(outputs):
        one, other = (error(x, weights[:, column], each[:, column]) for each in (found, nearest))
        assert one <= other * (1 + 1e-6) + 1e-12
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


@given(
    seed=st.integers(0, 2**32 - 1), inputs=st.integers(1, 100), offset=st.sampled_from([0, 0.5, -4])
)
@settings(max_examples=25, deadline=None)
def test_without_correlations_the_numbers_are_those_of_onnx_runtimes_quantizer(
    seed, inputs, offset
):
    """Scales to the last bit: of the two recipes the one is the other's where nothing is told."""
    rng = np.random.default_rng(seed)
    weights = (rng.standard_t(4, (inputs, 6)) + offset).astype(np.float32)
    weights[:, 0] = 0
    levels, scales, zeros = rounded(weights, np.eye(inputs), BLOCK)
    packed, stock_scales, stock_zeros = weight_only.quantize_rows(weights.T, 4, BLOCK)
    np.testing.assert_array_equal(scales.T, stock_scales)
    for own, stock in ((levels, packed.reshape(6, -1)), (zeros, stock_zeros)):
        unpacked = np.stack([stock & 15, stock >> 4], axis=-1).reshape(6, -1)
        np.testing.assert_array_equal(own.T, unpacked[:, : len(own)])


def test_a_layer_that_reads_zeros_alone_is_rounded_to_the_nearest_and_noted(tmp_path):
    rng = np.random.default_rng(5)
    weights = {n: rng.standard_normal((32, 32)).astype(np.float32) for n in ("nothing", "w")}
    weights["nothing"][:] = 0
    weights |= {"unseen": rng.standard_normal((32, 32)).astype(np.float32)}
    products = [("x", "nothing", "a"), ("a", "unseen", "b"), ("x", "w", "y")]
    path = save(network(weights, products, 32), tmp_path / "float.onnx")
    np.save(tmp_path / "samples.npy", correlated(rng, 160, 32).reshape(10, 16, 32))
    model, notes = weight_only.quantize(path, GPTQ, tmp_path / "samples.npy")
    (note,) = notes
    assert note.startswith("GPTQ rounded 2 of 3 weights; left alone: unseen (it is multiplied by")
    nearest, none = weight_only.quantize(path, NEAREST)
    assert not none
    for suffix in gptq_rounding.SUFFIXES:
        one, other = (
            next(t for t in each.graph.initializer if t.name == f"unseen{suffix}")
            for each in (model, nearest)
        )
        np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
    assert quantize(path, GPTQ, None, tmp_path, tmp_path / "samples.npy")["notes"] == notes


def test_moments_that_no_damping_makes_positive_definite(tmp_path, monkeypatch):
    rng = np.random.default_rng(6)
    weights = rng.standard_normal((32, 8)).astype(np.float32)
    indefinite = np.ones((32, 32)) * 100 + np.eye(32) - 50 * np.diag(np.arange(32) % 2)
    nearest = rounded(weights, np.eye(32), BLOCK)
    for one, other in zip(rounded(weights, -indefinite, BLOCK), nearest, strict=True):
        np.testing.assert_array_equal(one, other)
    path = save(network({"w": weights}, [("x", "w", "y")], 32), tmp_path / "float.onnx")
    np.save(tmp_path / "samples.npy", correlated(rng, 160, 32).reshape(10, 16, 32))
    monkeypatch.setattr(gptq_rounding, "_factor", lambda _: None)
    _, notes = weight_only.quantize(path, GPTQ, tmp_path / "samples.npy")
    assert "0 of 1 weights; left alone: w (its moments are not positive definite)" in notes[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_is_refused_by_the_name_of_the_tensor(tmp_path, value):
    rng = np.random.default_rng(7)
    w = rng.standard_normal((32, 8)).astype(np.float32)
    path = save(network({"w": w}, [("x", "w", "y")], 32), tmp_path / "float.onnx")
    x = correlated(rng, 160, 32).reshape(10, 16, 32)
    x[3, 2, 1] = value
    np.save(tmp_path / "samples.npy", x)
    with pytest.raises(ValueError, match=r"tensor x is multiplied .* holds NaN or infinity"):
        quantize(path, GPTQ, None, tmp_path, tmp_path / "samples.npy")


@pytest.mark.parametrize(
    ("recipe", "samples", "said"),
    [
        (GPTQ, None, "found int4 weights and no samples"),
        (
            replace(GPTQ, rules=RECIPES["onnx_weight_int8"].rules),
            "absent.npy",
            "found int8 weights",
        ),
    ],
)
def test_what_gptq_cannot_round_is_refused(tmp_path, recipe, samples, said):
    path = save(network({"w": np.ones((32, 4), np.float32)}, [("x", "w", "y")], 32), tmp_path / "f")
    with pytest.raises(ValueError, match=f"{said}.*choose an int4 recipe without samples"):
        quantize(path, recipe, None, tmp_path, samples and tmp_path / samples)


def test_a_file_of_a_users_takes_the_recipe_by_name(tmp_path):
    """Rounded by the samples of calibration, pictures of theirs."""
    outlier_networks.write_all(tmp_path)
    (tmp_path / "zoo.toml").write_text(TABLE.format(GPTQ.name))
    (own,) = read_zoo(tmp_path / "zoo.toml")
    spec = declared_spec(own)
    assert spec.recipes == (GPTQ.name,)
    cache = ArtifactCache(tmp_path / "cache")
    pipeline = Pipeline(Settings(min_calibration_samples=50), cache, InProcess())
    built = CaseRun(spec, GPTQ, pipeline).built
    model = onnx.load(str(built.artifact.path))
    assert "MatMulNBits" in {node.op_type for node in model.graph.node}
    nearest = CaseRun(spec, NEAREST, pipeline).built
    assert built.artifact.path.read_bytes() != nearest.artifact.path.read_bytes()
