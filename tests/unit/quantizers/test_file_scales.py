"""A network that was trained quantization-aware ships its own scales, in ONNX and in TFLite."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import qat_networks
import qdq_files
from onnx import numpy_helper

from int8gate.model_zoo.user_models import qat_network
from int8gate.quantizers import file_scales
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.shipped_scales import shipped_scales as of_onnx
from int8gate.quantizers.toolchains.tflite.given_scales import shipped_scales as of_tflite
from int8gate.runtimes.sessions import open_session

AGREEING = 0.995
SAMPLES = 400


class Shipped:
    """The trained network in both runtimes."""

    def __init__(self, folder, engine: str, function: str) -> None:
        self.folder, self.trained = folder, qat_networks.trained(engine)
        checkpoint = qat_networks.store(self.trained, folder / "qat.pt")
        module = qat_network.load(f"qat_networks:{function}", checkpoint)
        self.file = folder / "qdq.onnx"
        qat_network.to_qdq(module, qat_networks.SHAPE, self.file)
        self.samples, _ = qat_networks.pictures(60, seed=5)
        self._made: dict = {}

    def artifact(self, toolchain: str, recipe: str | None = None):
        key = toolchain, recipe
        if key not in self._made:
            given = self.file, qat_networks.SHAPE, toolchain, self.folder, recipe, self.samples
            self._made[key] = qdq_files.shipped(*given)
        return self._made[key]

    def scales(self, toolchain: str, recipe: str | None = None) -> file_scales.Shipped:
        path, _ = self.artifact(toolchain, recipe)
        if toolchain == "tflite":
            return of_tflite(path)
        return of_onnx(path, self.folder / "onnx_float" / "model.onnx")


@pytest.fixture(scope="module", params=[("qnnpack", "prepared"), ("x86", "per_channel")])
def shipped(request, tmp_path_factory):
    return Shipped(tmp_path_factory.mktemp("qat"), *request.param)


def of_modules(network) -> tuple[dict, dict]:
    """(scale, zero point of int8) of activations and scales of weights, by module.

    NaN stands for that of a channel with a zero point, which TFLite has none for: the fused
    observer gives one to channels whose weights are of one sign.
    """
    activations, weights = {}, {}
    for name, (scale, zero_point) in qat_networks.scales_of(network).items():
        if name.endswith("weight_fake_quant"):
            weights[name] = np.where(zero_point == 0, scale, np.nan)
        else:
            activations[name] = float(scale[0]), int(zero_point[0]) - 128
    return activations, weights


def is_among(wanted: tuple[float, int], given) -> bool:
    return any(
        np.isclose(wanted[0], scale, rtol=1e-6, atol=0) and wanted[1] == point
        for scale, point in given
    )


def has_all_scales(found: file_scales.Shipped, network) -> bool:
    activations, weights = of_modules(network)
    one = all(is_among(each, found.activations.values()) for each in activations.values())
    other = all(
        any(
            scale.size in (1, given.size) and is_same(scale, given)
            for given in found.weights.values()
        )
        for scale in weights.values()
    )
    return one and other


def is_same(wanted: np.ndarray, given: np.ndarray) -> bool:
    return bool((np.isclose(wanted, given, rtol=1e-6, atol=0) | np.isnan(wanted)).all())


@pytest.mark.parametrize(
    ("toolchain", "recipe"), [("onnx", None), ("tflite", None), ("tflite", "tflite_uint8")]
)
def test_every_trained_scale_is_in_the_artifact(shipped, toolchain, recipe):
    found = shipped.scales(toolchain, recipe)
    assert has_all_scales(found, shipped.trained), (found, of_modules(shipped.trained))
    assert len(found.weights) == qat_networks.LAYERS


@pytest.mark.parametrize("toolchain", ["onnx", "tflite"])
def test_calibrating_again_would_be_noticed(shipped, toolchain, tmp_path):
    shipped.artifact(toolchain)
    name, _, stages = qdq_files.STAGES[toolchain]
    float_model = shipped.folder / f"{toolchain}_float" / name
    alone = tmp_path / name
    alone.write_bytes(float_model.read_bytes())  # without file_scales.json beside it
    statistics = shipped.folder / f"{toolchain}_table" / "statistics.npz"
    (tmp_path / "out").mkdir()
    recipe = RECIPES[f"{toolchain}_int8"]
    stages.quantize(alone, recipe, statistics, None, tmp_path / "out")
    path = tmp_path / "out" / name
    found = of_tflite(path) if toolchain == "tflite" else of_onnx(path, alone)
    assert not has_all_scales(found, shipped.trained)


@pytest.mark.parametrize("toolchain", ["onnx", "tflite"])
def test_the_runtimes_predict_what_the_trained_module_does(shipped, toolchain):
    values, labels = qat_networks.pictures(SAMPLES, seed=7)
    wanted = qat_networks.outputs(shipped.trained, values)
    path, _ = shipped.artifact(toolchain)
    session = open_session(path)
    (found,) = session.predict(values)
    agreeing = np.mean(found.argmax(1) == wanted.argmax(1))
    assert agreeing >= AGREEING
    assert np.mean(wanted.argmax(1) == labels) > 0.9  # it was trained


@pytest.mark.parametrize("toolchain", ["onnx", "tflite"])
def test_the_record_says_how_many_scales_came_with_the_file(shipped, toolchain):
    _, described = shipped.artifact(toolchain)
    told = " ".join(described["notes"])
    asymmetric = sum(np.isnan(scale).any() for scale in of_modules(shipped.trained)[1].values())
    same = qat_networks.LAYERS - (asymmetric if toolchain == "tflite" else 0)
    assert f"the weights of {same} of {qat_networks.LAYERS} layers" in told
    assert ("had a zero point" in told) == (same < qat_networks.LAYERS)
    assert "1 was calibrated" in told  # of the mean: PyTorch has no observer behind it
    assert "another scale than" not in told


def test_the_reference_computes_what_was_trained(shipped):
    shipped.artifact("onnx")
    values, _ = qat_networks.pictures(60, seed=9)
    session = open_session(shipped.folder / "onnx_export" / "trained.onnx")
    (found,) = session.predict(values)
    wanted = qat_networks.outputs(shipped.trained, values)
    step = float(shipped.trained.linear.activation_post_process.scale)
    assert np.abs(found - wanted).max() <= 1.01 * step
    assert np.mean(np.isclose(found, wanted, atol=step / 100)) > 0.98


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("onnx_int8_symmetric", "symmetric"),
        ("onnx_dynamic_int8", "float32 activations"),
        ("tflite_int8x4", "int4 weights"),
        ("tflite_qat_int8", "trains scales of its own"),
        ("onnx_smoothquant_int8", "+smooth"),
    ],
)
def test_recipes_that_would_ship_other_scales_are_refused(recipe, why):
    with pytest.raises(ValueError, match="choose onnx_int8") as error:
        file_scales.check_recipe("gadget", RECIPES[recipe])
    assert why in str(error.value)


@pytest.mark.parametrize("recipe", ["onnx_int8", "onnx_fp32", "tflite_int8_percentile"])
def test_recipes_that_ship_them_are_not(recipe):
    file_scales.check_recipe("gadget", RECIPES[recipe])


@pytest.mark.parametrize("factor", [1.0, -2.0], ids=["alone", "a_negative_normalization_folded"])
@pytest.mark.parametrize("points", [[0, 0, 0], [-128, 127, 5], [0, -128, -3]])
def test_weights_with_zero_points_stay_what_they_are(tmp_path, points, factor):
    """Of each channel, as PyTorch's fused observer has them where weights are of one sign."""
    rng, points = np.random.default_rng(0), np.array(points, np.int8)
    stored = rng.integers(-127, 128, (3, 3, 3, 3)).astype(np.int8)
    scales = np.array([0.01, 0.02, 0.005], np.float32)
    made = qdq_files.Builder()
    image = made.pair("image", 1 / 255, -128, "int8")
    for name, values in (("w", stored), ("w_scale", scales), ("w_zero", points)):
        made.constant(name, values)
    given = ["w", "w_scale", "w_zero"]
    made.node("DequantizeLinear", given, "w_real", axis=0)
    made.node("Conv", [image, "w_real"], "maps", pads=[1] * 4)
    for name, value in (("gamma", factor), ("beta", 0.5), ("mean", 0.0), ("variance", 1.0)):
        made.constant(name, np.full(3, value, np.float32))
    normalized = ["maps", "gamma", "beta", "mean", "variance"]
    made.node("BatchNormalization", normalized, "normal", epsilon=0.0)
    onnx.save(made.model(made.pair("normal", 0.1, 0, "int8")), str(tmp_path / "qdq.onnx"))
    path, _ = qdq_files.shipped(tmp_path / "qdq.onnx", (1, 3, 8, 8), "onnx", tmp_path)
    graph = onnx.load(str(path)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (found,) = (
        [arrays[name] for name in node.input]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and arrays.get(node.input[0], points).ndim == 4
    )
    np.testing.assert_allclose(real(*found), factor * real(stored, scales, points), atol=1e-6)
    np.testing.assert_allclose(found[1], scales * abs(factor), rtol=1e-6)


def real(integers: np.ndarray, scales: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Weights (outputs, ...) of int8, in float64."""
    rows = integers.reshape(len(integers), -1).astype(np.float64)
    return ((rows - points[:, None]) * scales[:, None].astype(np.float64)).reshape(integers.shape)
