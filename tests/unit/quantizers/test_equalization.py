"""Cross-layer equalization: the network computes the same, and its channels have like ranges."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import generated_networks
import numpy as np
import pytest
import separable_networks
from hypothesis import HealthCheck, example, given, settings
from onnx_files import save, sqnr_db, with_weights

from int8gate.engine.cache import ArtifactCache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.registry import zoo
from int8gate.quantizers import steps
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.remedies.equalization import equalize
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.steps import run_steps
from int8gate.quantizers.toolchains import registry
from int8gate.quantizers.toolchains.onnx import weighted_network as onnx_network
from int8gate.quantizers.toolchains.tflite import collector, convert
from int8gate.quantizers.toolchains.tflite import remedies as tflite_remedies
from int8gate.quantizers.toolchains.tflite import weighted_network as tflite_network
from int8gate.runtimes.litert import LiteRTSession

TOLERANCE = 1e-4  # of the largest output
NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] image) => (float[1, 4, 8, 8] out) {{ {nodes} }}
"""


def outputs(network, samples: Path) -> list[np.ndarray]:
    rows = list(network.run(samples, network.outputs))
    return [np.concatenate([row[name] for row in rows]) for name in network.outputs]


def check_equal(before: list[np.ndarray], after: list[np.ndarray]) -> None:
    for one, other in zip(before, after, strict=True):
        assert np.abs(other - one).max() <= TOLERANCE * np.abs(one).max()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Far from 0, so that RELU6 cuts many."""
    path = tmp_path_factory.mktemp("samples") / "samples.npy"
    side = generated_networks.SIDE
    np.save(path, np.random.default_rng(0).normal(0, 4, (4, side, side, 3)).astype(np.float32))
    return path


def check_plan(plan, write, read, folder: Path, samples: Path) -> None:
    network = read(write(plan, folder / "generated"))
    before = outputs(network, samples)
    weights = {layer.name: layer.weights.copy() for layer in network.layers}
    (note,) = equalize(network, per_channel=False)
    network.save(folder / "equalized")
    check_equal(before, outputs(read(folder / "equalized"), samples))
    changed = [layer for layer in network.layers if (layer.weights != weights[layer.name]).any()]
    done = int(note.removeprefix("cross-layer equalization: ").split()[0])
    assert bool(done) == bool(changed), note


@given(generated_networks.PLANS)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_onnx_network_of_any_kind_computes_the_same(tmp_path, samples, plan):
    check_plan(plan, generated_networks.write_onnx, onnx_network.read, tmp_path, samples)


@given(generated_networks.PLANS)
@example(([("residual", "relu6"), ("gate", "relu6"), ("shared", "prelu")], "flatten", 1))
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_tflite_network_of_any_kind_computes_the_same(tmp_path, samples, plan):
    check_plan(plan, generated_networks.write_tflite, tflite_network.read, tmp_path, samples)


def net(nodes: str, folder: Path, **arrays: np.ndarray):
    text = NET.format(nodes=nodes)
    return onnx_network.read(save(with_weights(text, arrays), folder / "net.onnx"))


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights (outputs, inputs, ...) whose outputs have ranges of 1 to 1000."""
    values = np.random.default_rng(seed).normal(size=shape)
    spread = np.logspace(0, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (values * spread).astype(np.float32)


def test_a_pair_of_layers_gets_equal_ranges_channel_by_channel(tmp_path):
    """Equation 10 of the paper."""
    nodes = "a = Conv (image, w1, b1) r = Relu (a) out = Conv (r, w2)"
    arrays = {"w1": drawn(5, 3, 1, 1), "b1": drawn(5), "w2": drawn(4, 5, 1, 1)}
    network = net(nodes, tmp_path, **arrays)
    equalize(network, per_channel=False)
    first, second = (layer.weights for layer in network.layers)
    made, read = np.abs(first).max(axis=(1, 2, 3)), np.abs(second).max(axis=(0, 2, 3))
    np.testing.assert_allclose(made / made.max(), read / read.max(), rtol=0.01)
    products = [
        np.abs(w).max(axis=axes)
        for w, axes in zip((arrays["w1"], arrays["w2"]), ((1, 2, 3), (0, 2, 3)), strict=True)
    ]
    wanted = np.sqrt(products[0] * products[1])
    np.testing.assert_allclose(made / made.max(), wanted / wanted.max(), rtol=0.01)


def test_a_chain_converges(tmp_path):
    """Equalized again, nothing is left to do."""
    nodes = """
    a = Conv (image, w1, b1) r = Relu (a)
    d = Conv <group = 6> (r, w2, b2) s = LeakyRelu (d)
    out = Conv (s, w3)
    """
    weights = {"w1": drawn(6, 3, 1, 1), "w2": drawn(6, 1, 1, 1)[::-1], "w3": drawn(4, 6, 1, 1)}
    network = net(nodes, tmp_path, **weights, b1=drawn(6), b2=drawn(6))
    assert equalize(network, per_channel=False) == [
        "cross-layer equalization: 2 of 2 pairs of layers"
    ]
    (note,) = equalize(network, per_channel=False)
    assert note == "cross-layer equalization: 0 of 2 pairs of layers; 2 were alike already"


def test_a_dead_channel_is_left_alone(tmp_path):
    nodes = "a = Conv (image, w1, b1) r = Relu (a) out = Conv (r, w2)"
    first, second = drawn(5, 3, 1, 1), drawn(4, 5, 1, 1)
    first[1], second[:, 2] = 0, 0
    network = net(nodes, tmp_path, w1=first, b1=drawn(5), w2=second)
    equalize(network, per_channel=False)
    made, read = (layer.weights for layer in network.layers)
    np.testing.assert_array_equal(made[1:3], first[1:3])
    np.testing.assert_array_equal(read[:, 1:3], second[:, 1:3])
    assert np.isfinite(made).all()
    assert (made[3:] != first[3:]).any()


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        ("r = Sigmoid (a)", r"sigmoid_1 \(Sigmoid\) takes no factors"),
        ("s = Softmax <axis = 1> (a) r = Mul (a, s)", r"softmax_1 \(Softmax\) takes no factors"),
        ("r = Transpose <perm = [0, 1, 3, 2]> (a)", r"transpose_1 \(transpose\) takes no"),
        ("r = Clip (a, low, high)", r"clip_1 \(clip\) takes no factors"),
        ("r = Add (a, low)", r"add_1 \(add\) takes no factors"),
    ],
)
def test_what_takes_no_factors_is_left_alone_with_the_reason(tmp_path, between, reason):
    weights = {"w1": drawn(5, 3, 1, 1), "w2": drawn(4, 5, 1, 1), "b1": drawn(5)}
    bounds = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    network = net(
        f"a = Conv (image, w1, b1) {between} out = Conv (r, w2)", tmp_path, **weights, **bounds
    )
    (note,) = equalize(network, per_channel=False)
    assert [layer.weights.tolist() for layer in network.layers] == [
        weights["w1"].tolist(),
        weights["w2"].tolist(),
    ]
    assert re.search(reason, note), note


def test_a_relu6_is_left_alone_where_its_caps_would_be_computed_on_floats(tmp_path):
    weights = {"w1": drawn(5, 3, 1, 1), "w2": drawn(4, 5, 1, 1), "b1": drawn(5)}
    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    nodes = "a = Conv (image, w1, b1) r = Clip (a, low, high) out = Conv (r, w2)"
    network = net(nodes, tmp_path, **weights, **bounds)
    (note,) = equalize(network, per_channel=False, caps=False)
    assert note.startswith("cross-layer equalization: 0 of 1 pairs of layers; left alone: conv_0 (")
    (note,) = equalize(network, per_channel=False, caps=True)
    assert note == "cross-layer equalization: 1 of 1 pairs of layers"


def quantized(model: Path, name: str, samples: Path, folder: Path) -> LiteRTSession:
    chosen = recipe(name)
    if chosen.remedies:
        folder.mkdir()
        tflite_remedies.equalize(model, samples, samples, replace(chosen, remedies=()), folder)
        model = folder / "model.tflite"
    found = collector.collect(model, samples)
    collector.close()
    ranges = thresholds.ranges(found, chosen.calibration)
    (folder / name).mkdir(parents=True)
    convert.quantize(model, chosen, ranges, None, folder / name)
    return LiteRTSession(folder / name / "model.tflite")


@pytest.mark.parametrize(("activation", "spread"), [("relu", 30), ("relu6", 30), ("relu6", 100)])
def test_a_separable_network_gets_back_what_one_scale_costs(activation, spread, tmp_path):
    """At least 90% of what lies between one scale for a tensor and one for each channel."""
    samples = tmp_path / "samples.npy"
    np.save(samples, separable_networks.pictures(32))
    layers = separable_networks.drawn(spread)
    model = separable_networks.write_tflite(layers, activation, tmp_path / "float.tflite")
    fed = separable_networks.pictures(50, seed=2)
    (real,) = LiteRTSession(model).predict(fed)
    found = {
        name: sqnr_db(real, quantized(model, name, samples, tmp_path / name).predict(fed)[0])
        for name in ("tflite_int8", "tflite_int8_per_tensor", "tflite_int8_per_tensor+cle")
    }
    per_channel, per_tensor, equalized = found.values()
    assert per_channel - per_tensor > 3
    assert equalized - per_tensor >= 0.9 * (per_channel - per_tensor), found


def test_where_channels_have_scales_of_their_own_only_unlike_ones_are_changed(tmp_path):
    """The values between have one scale still, which a spread of 30 times costs 15 dB."""
    samples = tmp_path / "samples.npy"
    np.save(samples, separable_networks.pictures(32))
    fed, found = separable_networks.pictures(50, seed=2), {}
    for spread in (1, 30):
        folder = tmp_path / str(spread)
        folder.mkdir()
        layers = separable_networks.drawn(spread)
        model = separable_networks.write_tflite(layers, "relu", folder / "float.tflite")
        (real,) = LiteRTSession(model).predict(fed)
        found[spread] = [
            sqnr_db(real, quantized(model, name, samples, folder / name).predict(fed)[0])
            for name in ("tflite_int8", "tflite_int8+cle")
        ]
    assert found[1][1] == found[1][0]
    assert found[30][1] > found[30][0] + 10


ROUTES = [
    (name, toolchain)
    for name, spec in zoo().items()
    for toolchain in ("tflite", "onnx")
    if any(recipe(each).toolchain == toolchain for each in spec.recipes)
]


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "toolchain"), ROUTES)
def test_every_model_of_the_zoo_computes_the_same(name, toolchain, tmp_path):
    chosen, behind = recipe(f"{toolchain}_int8+cle"), steps.after(steps.FLOAT, ("cle",))
    with Worker() as worker:
        pipeline = Pipeline(Settings(), ArtifactCache(tmp_path), worker)
        listed = pipeline.steps(zoo()[name], chosen)
        last = next(number for number, step in enumerate(listed) if step.name == behind)
        done = run_steps(listed[: last + 1], pipeline.runner)
    file = registry.find(toolchain).file
    files = [done[steps.after(steps.FLOAT, names)].path / file for names in ((), ("cle",))]
    inputs = steps.arrays_of(done[steps.INPUTS])
    reader = {"tflite": tflite_network, "onnx": onnx_network}[toolchain]
    before, after = (
        list(network.run(inputs, network.outputs, 4)) for network in map(reader.read, files)
    )
    for one, other in zip(before, after, strict=True):
        check_equal([*one.values()], [*other.values()])
