"""SmoothQuant: the network computes the same, and the token stream has channels of like ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_files import save, sqnr_db, with_weights

from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.remedies.smoothing import smooth
from int8gate.quantizers.toolchains.onnx import collector
from int8gate.quantizers.toolchains.onnx import weighted_network as onnx_network
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize
from int8gate.quantizers.toolchains.tflite import weighted_network as tflite_network
from int8gate.runtimes import ort

TOKENS, WIDTH = 6, 16
TEXT = f"""
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, {TOKENS}, {WIDTH}] x) => (float[1, {TOKENS}, 8] out) {{
    n = LayerNormalization <axis = -1> (x, scale, bias)
    {{products}}
}}
"""
TWO = "q = MatMul (n, wq) k = MatMul (n, wk) qb = Add (q, b) s = Sigmoid (k) out = Mul (qb, s)"
OUTLIERS = (3, 11)  # channels


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """A normalization whose scale makes two channels 60 times as large as the others."""
    random = np.random.default_rng(seed)
    scale = random.uniform(0.5, 1.5, WIDTH)
    scale[list(OUTLIERS)] *= 60
    found = {
        "scale": scale,
        "bias": random.normal(0, 0.3, WIDTH),
        "wq": random.normal(0, 0.3, (WIDTH, 8)),
        "wk": random.normal(0, 0.3, (WIDTH, 8)),
        "b": random.normal(0, 0.1, 8),
    }
    found["wq"][list(OUTLIERS)] /= 60
    found["wk"][list(OUTLIERS)] /= 60
    return {name: values.astype(np.float32) for name, values in found.items()}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.npy"
    np.save(path, np.random.default_rng(1).normal(size=(16, TOKENS, WIDTH)).astype(np.float32))
    return path


def network(folder: Path, products: str = TWO, **more: np.ndarray):
    model = with_weights(TEXT.replace("{products}", products), arrays() | more)
    prepare(save(model, folder / "raw.onnx"), folder / "float.onnx")
    return onnx_network.read(folder / "float.onnx")


def outputs(net, samples: Path) -> np.ndarray:
    return np.concatenate([row[net.outputs[0]] for row in net.run(samples, net.outputs)])


def test_channels_are_shared_between_the_stream_and_the_weights(tmp_path, samples):
    """Equation 4 of the paper: with a = 0.5, both end with the same range in each channel."""
    net = network(tmp_path)
    before = outputs(net, samples)
    assert smooth(net, samples) == [
        "SmoothQuant: 1 of 1 normalizations in front of matrix products"
    ]
    net.save(tmp_path / "smooth.onnx")
    again = onnx_network.read(tmp_path / "smooth.onnx")
    after = outputs(again, samples)
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    stream = np.concatenate([row["n"] for row in again.run(samples, ["n"])])
    weights = np.max([np.abs(layer.weights).max(axis=0) for layer in again.layers], axis=0)
    np.testing.assert_allclose(np.abs(stream).max(axis=(0, 1)), weights, rtol=1e-4)


def test_outliers_cost_less_of_a_stream_with_one_scale(tmp_path, samples):
    net = network(tmp_path)
    real = outputs(net, samples)
    smooth(net, samples)
    net.save(tmp_path / "smooth.onnx")
    found = []
    for name in ("float", "smooth"):
        path, folder = tmp_path / f"{name}.onnx", tmp_path / name
        folder.mkdir()
        statistics = collector.collect(path, samples)
        collector.close()
        ranges = thresholds.ranges(statistics, "min_max")
        quantize(path, RECIPES["onnx_int8"], ranges, folder)
        # As the file says: the kernels of hosts without VNNI saturate sums of two products, which
        # left 16 dB of 36.
        session = ort.open_model(folder / "model.onnx", ort.options("DISABLE_ALL"))
        rows = [ort.run(session, {"x": row[None]})[0] for row in np.load(samples)]
        found.append(sqnr_db(real, np.concatenate(rows)))
    plain, smoothed = found
    assert smoothed > plain + 10


@pytest.mark.parametrize(
    ("products", "more", "note"),
    [
        (
            "q = MatMul (n, wq) t = Sigmoid (n) k = MatMul (t, wk) out = Add (q, k)",
            {},
            "matmul_1 (other than matrix products with constant weights read it too)",
        ),
        (
            "s = MatMul (n, square) out = MatMul (s, wq) r = MatMul (n, wk) z = Add (r, out)",
            {"square": np.eye(WIDTH, dtype=np.float32)},
            None,
        ),
    ],
)
def test_what_others_read_too_is_left_alone(tmp_path, samples, products, more, note):
    net = network(tmp_path, products, **more)
    before = {layer.name: layer.weights for layer in net.layers}
    (found,) = smooth(net, samples)
    changed = [layer.name for layer in net.layers if (layer.weights != before[layer.name]).any()]
    if note is None:
        assert found == "SmoothQuant: 1 of 1 normalizations in front of matrix products"
        assert len(changed) >= 1
    else:
        assert found.endswith(
            f"0 of 1 normalizations in front of matrix products; left alone: {note}"
        )
        assert not changed


def written_out(folder: Path, is_whole: bool):
    """A normalization of TensorFlow's operators; without its vectors unless `is_whole`."""
    import tensorflow as tf

    found = arrays()

    @tf.function(input_signature=[tf.TensorSpec((1, TOKENS, WIDTH), name="x")])
    def run(x):
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(centred * centred, -1, keepdims=True)
        n = centred * tf.math.rsqrt(variance + 1e-5)
        if is_whole:
            n = n * found["scale"] + found["bias"]
        q = tf.matmul(n, found["wq"][None]) + found["b"]  # one of rank 2 takes the vectors in
        return {"out": tf.sigmoid(q) + tf.matmul(n, found["wk"][None])}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()])
    path = folder / "float.tflite"
    path.write_bytes(converter.convert())
    return tflite_network.read(path)


def test_a_normalization_that_is_written_out_is_smoothed_in_tflite(tmp_path, samples):
    net = written_out(tmp_path, is_whole=True)
    before, weights = outputs(net, samples), [layer.weights.copy() for layer in net.layers]
    assert smooth(net, samples) == [
        "SmoothQuant: 1 of 1 normalizations in front of matrix products"
    ]
    net.save(tmp_path / "smooth.tflite")
    again = tflite_network.read(tmp_path / "smooth.tflite")
    after = outputs(again, samples)
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    for layer, old in zip(again.layers, weights, strict=True):
        grown = (np.abs(layer.weights) / np.abs(old)).max(axis=0)
        assert grown[list(OUTLIERS)].min() > 5 * np.delete(grown, OUTLIERS).max()


def test_a_normalization_without_vectors_is_left_alone(tmp_path, samples):
    (note,) = smooth(written_out(tmp_path, is_whole=False), samples)
    assert "0 of 1 normalizations" in note
    assert "its normalization ends in no constant vectors" in note
