"""Where a layer's patches lie, which way weights are rounded, and mean errors of channels: laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import weighted_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import save, with_weights

from int8gate.quantizers.remedies import adaptive_rounding, rounding
from int8gate.quantizers.remedies.bias_correction import Means, mean_errors, sure_means
from int8gate.quantizers.remedies.float_network import DENSE, RELU, RELU6
from int8gate.quantizers.remedies.patches import patches_of
from int8gate.quantizers.toolchains.onnx import weighted_network as onnx_network
from int8gate.quantizers.toolchains.tflite import weighted_network as tflite_network

SIDE = weighted_networks.SIDE
CLIPPED = {None: (-np.inf, np.inf), RELU: (0, np.inf), RELU6: (0, 6)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    shapes = {"onnx": (1, 3, SIDE, SIDE), "tflite": (1, SIDE, SIDE, 3)}
    written = {
        "onnx": weighted_networks.write_onnx(folder / "net.onnx"),
        "tflite": weighted_networks.write_tflite(folder / "net.tflite"),
    }
    readers = {"onnx": onnx_network, "tflite": tflite_network}
    found = {}
    for form, path in written.items():
        samples = folder / f"{form}.npy"
        np.save(samples, np.random.default_rng(0).normal(size=shapes[form]).astype(np.float32))
        found[form] = readers[form].read(path), samples
    return found


def outputs_by_patches(layer, patches, values) -> np.ndarray:
    """What the layer's product gives (n, outputs), by its patches."""
    rows = patches.rows(values, 10**6, np.random.default_rng(0))
    weights = layer.weights.reshape(layer.groups, layer.outputs // layer.groups, -1)
    sums = np.einsum("gok,gnk->ngo", weights, rows).reshape(rows.shape[1], -1)
    has_own_bias = layer.bias is not None and len(layer.operators) == 1
    return sums + (layer.bias if has_own_bias else 0)


def rows_of(network, layer, values: np.ndarray) -> np.ndarray:
    axis = -1 if layer.kind == DENSE else network.channel_axis
    return np.moveaxis(values, axis, -1).reshape(-1, layer.outputs)


def check_patches(network, samples, layer) -> None:
    patches = patches_of(network, layer)
    (values,) = network.run(samples, [layer.input, layer.product.output])
    expected = rows_of(network, layer, values[layer.product.output])
    found = outputs_by_patches(layer, patches, values[layer.input])
    clipped = np.clip(found, *CLIPPED[layer.activation])
    np.testing.assert_allclose(clipped, expected, atol=2e-5)
    weights = layer.weights.reshape(layer.groups, layer.outputs // layer.groups, -1)
    means = np.einsum("gok,gk->go", weights, patches.means(values[layer.input])).reshape(-1)
    has_own_bias = layer.bias is not None and len(layer.operators) == 1
    means += layer.bias if has_own_bias else 0
    np.testing.assert_allclose(means, found.mean(axis=0), atol=2e-5)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_a_layers_output_follows_from_its_patches(networks, form):
    network, samples = networks[form]
    assert len(network.layers) >= 7
    for layer in network.layers:
        check_patches(network, samples, layer)


FORM = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 4, {height}, {width}] image) => (float[1, {outputs}, ?, ?] out) {{
    out = {kind} <kernel_shape = {kernel}, strides = {strides}, dilations = {dilations},
                  pads = {pads}, group = {groups}> (image, w)
}}
"""


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["Conv", "ConvTranspose"]),
    kernel=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    strides=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    dilations=st.lists(st.integers(1, 2), min_size=2, max_size=2),
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    groups=st.sampled_from([1, 2, 4]),
    sides=st.tuples(st.integers(6, 9), st.integers(6, 9)),
)
def test_patches_of_every_form(
    tmp_path_factory, kind, kernel, strides, dilations, pads, groups, sides
):
    folder = tmp_path_factory.mktemp("form")
    random = np.random.default_rng(1)
    shape = (8, 4 // groups, *kernel) if kind == "Conv" else (4, 8 // groups, *kernel)
    text = FORM.format(
        kind=kind,
        height=sides[0],
        width=sides[1],
        outputs=8,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        groups=groups,
    )
    weights = {"w": random.normal(size=shape).astype(np.float32)}
    model = with_weights(text, weights)
    path = save(model, folder / "net.onnx")
    onnx_network.read(path).save(path)  # which writes shapes
    network = onnx_network.read(path)
    samples = folder / "samples.npy"
    np.save(samples, random.normal(size=(1, 4, *sides)).astype(np.float32))
    (layer,) = network.layers
    check_patches(network, samples, layer)


def a_grid(seed: int, groups: int, outputs: int, size: int, per_output: bool):
    """Rows of unlike and correlated inputs, and weights on the grid of rounding to nearest."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(groups * outputs, size)) * 10.0 ** random.uniform(-2, 1)
    mixed = random.normal(size=(groups, size, size))
    rows = (random.normal(size=(groups, 40, size)) + random.normal(size=size)) @ mixed
    largest = np.abs(weights).max(axis=1, keepdims=True) if per_output else np.abs(weights).max()
    scale = largest / 127
    rounded = np.rint(weights / scale) * scale
    return rows.astype(np.float32), rounding.grid_of(weights, rounded, groups)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    groups=st.integers(1, 4),
    outputs=st.integers(1, 5),
    size=st.integers(1, 24),
    per_output=st.booleans(),
)
def test_no_output_errs_more_than_with_rounding_to_nearest(seed, groups, outputs, size, per_output):
    rows, grid = a_grid(seed, groups, outputs, size, per_output)
    chosen = rounding.learn(grid, rounding.moments(rows))
    before = np.einsum("gok,gnk->gno", grid.errors(grid.nearest), rows.astype(np.float64))
    after = np.einsum("gok,gnk->gno", grid.errors(chosen), rows.astype(np.float64))
    limit = (before**2).mean(axis=1)
    assert np.all((after**2).mean(axis=1) <= limit * (1 + 1e-6) + 1e-20)
    assert np.all(np.abs(chosen - grid.weights / grid.scale) < 1 + 1e-9), "a neighbour"
    assert np.abs(chosen).max() <= 127
    assert np.array_equal(chosen[grid.fixed], grid.nearest[grid.fixed])


def test_few_weights_are_rounded_nearly_as_the_best_of_all_ways():
    """Single moves end where none gains: of nine weights a third of what all ways gain is left."""
    ways = np.array(list(itertools.product([0, 1], repeat=9)), float)
    lost = gained = 0.0
    for seed in range(20):
        rows, grid = a_grid(seed, 1, 3, 9, True)
        second = rounding.moments(rows)
        found, nearest = (
            rounding.output_errors(grid.errors(integers), second)[0]
            for integers in (rounding.learn(grid, second), grid.nearest)
        )
        for output in range(3):
            weights, scale = grid.weights[0, output], grid.scale[0, output]
            either = np.floor(weights / scale) + ways
            free = np.where(grid.fixed[0, output], grid.nearest[0, output], either)
            off = free * scale - weights
            least = np.einsum("nk,kl,nl->n", off, second[0], off).min()
            lost += (found[output] - least) / nearest[output]
            gained += (nearest[output] - least) / nearest[output]
    assert 0 <= lost < gained / 3


def test_correlated_inputs_are_what_it_gains_from():
    rows, grid = a_grid(7, 1, 16, 32, True)
    second = rounding.moments(rows)
    chosen = rounding.learn(grid, second)
    gained = rounding.output_errors(grid.errors(chosen), second).sum()
    assert gained < 0.3 * rounding.output_errors(grid.errors(grid.nearest), second).sum()
    alone = np.eye(32)[None]  # of inputs that do not depend on each other, nearest is best
    assert np.array_equal(rounding.learn(grid, alone), grid.nearest)


def test_weights_that_are_not_rounded_so_have_no_grid():
    random = np.random.default_rng(0)
    weights = random.normal(size=(4, 6))
    assert rounding.grid_of(weights, weights, 1) is None, "float"
    by_columns = np.abs(weights).max(axis=0) / 127
    assert rounding.grid_of(weights, np.rint(weights / by_columns) * by_columns, 1) is None
    scale = np.abs(weights).max(axis=1, keepdims=True) / 127
    assert rounding.grid_of(weights, np.floor(weights / scale) * scale, 1) is None


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_what_errs_more_on_samples_held_out_stays_nearest(networks, form):
    network, _ = networks[form]
    layer = next(layer for layer in network.layers if layer.groups == 1 and layer.outputs > 3)
    flat = layer.weights.reshape(layer.outputs, -1)
    scale = np.abs(flat).max(axis=1, keepdims=True) / 127
    grid = rounding.grid_of(layer.weights, np.rint(flat / scale) * scale, 1)
    random = np.random.default_rng(0)
    size = flat.shape[1]
    fitted = (random.normal(size=(1, 50, size)) @ random.normal(size=(size, size))).astype(
        np.float32
    )
    freely = adaptive_rounding.chosen_weights(layer, grid, fitted, None)
    assert freely.shape == layer.weights.shape
    assert not np.allclose(freely, layer.weights, atol=1e-7)
    held = np.eye(size, dtype=np.float32)[None]  # nearest is best there
    assert adaptive_rounding.chosen_weights(layer, grid, fitted, held) is None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_correction_brings_every_channels_mean_to_that_of_float(networks, seed):
    network, _ = networks["onnx"]
    layer = next(each for each in network.layers if each.groups == 1 and each.bias is not None)
    random = np.random.default_rng(seed)
    rounded = layer.weights + random.normal(0, 0.05, layer.weights.shape)
    shape = (30, 1, layer.weights[0].size)
    wanted, found = (random.normal(2, 0.05, shape) for _ in range(2))
    means = Means(patches_of(network, layer), wanted, found)
    errors = mean_errors(layer, rounded, layer.bias, means)
    correction = sure_means(errors)
    corrected = mean_errors(layer, rounded, layer.bias - correction, means)
    noise = errors.std(axis=0, ddof=1) / np.sqrt(len(errors))
    assert correction.any()
    assert np.all(np.abs(corrected.mean(axis=0)) <= 3 * noise + 1e-9)


def test_a_correction_within_noise_is_not_made():
    random = np.random.default_rng(0)
    errors = random.normal(0, 1, (75, 400))
    errors[:, :5] += 2
    found = sure_means(errors)
    assert np.all(found[:5] > 1)
    assert np.count_nonzero(found[5:]) <= 4  # of 395, three standard errors
    assert not sure_means(errors[:1]).any(), "one sample has no noise to compare with"
