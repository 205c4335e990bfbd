"""Scales that silicon asks for, in a `.tflite` file as LiteRT runs it."""

from __future__ import annotations

import numpy as np
import pytest
import separable_networks

from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite.collector import collect
from int8gate.quantizers.toolchains.tflite.convert import quantize
from int8gate.quantizers.toolchains.tflite.differentiable import read
from int8gate.quantizers.toolchains.tflite.layer_list import layers as layers_of
from int8gate.runtimes.artifact import TFLITE
from int8gate.runtimes.tflite_graph import opened


@pytest.mark.parametrize("scales", ["symmetric", "power_of_two"])
def test_every_activation_has_the_scale_that_was_asked_for(tmp_path, scales):
    path = separable_networks.write_tflite(separable_networks.drawn(2.0), "relu", tmp_path / TFLITE)
    samples = separable_networks.pictures(20)
    np.save(tmp_path / "samples.npy", samples)
    recipe = RECIPES[f"tflite_int8_{scales}"]
    ranges = thresholds.ranges_of(collect(path, tmp_path / "samples.npy"), recipe)
    (tmp_path / "quantized").mkdir()
    quantize(path, recipe, ranges, None, tmp_path / "quantized")
    grids = read(tmp_path / "quantized" / TFLITE, path).grids
    assert len(grids) > 5
    for name, grid in grids.items():
        assert grid.zero_point == 0, name
        if scales == "power_of_two":
            assert np.frexp(np.float32(grid.scale))[0] == 0.5, name
    wanted, found = (
        exact_session(file).predict(samples)[0] for file in (path, tmp_path / "quantized" / TFLITE)
    )
    assert 10 * np.log10(wanted.var() / np.mean((wanted - found) ** 2)) > 12


def _operands(path):
    """Writes a float network whose layers and other operators read constants of many forms."""
    import tensorflow as tf

    random = np.random.default_rng(3)

    def constant(*shape, low=-1.0, high=1.0):
        return tf.constant(random.uniform(low, high, shape), tf.float32)

    def network(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 8), 1, "SAME") + constant(8)
        x = tf.nn.relu(x) + constant(1, 16, 16, 8, low=0.1, high=3.0)  # all above zero
        x = tf.nn.depthwise_conv2d(x, constant(3, 3, 8, 1), [1, 1, 1, 1], "SAME")
        x = x * constant(1, 1, 1, 8, low=-0.7, high=0.1)
        x = tf.concat([x, constant(1, 16, 16, 2)], axis=3)
        x = tf.nn.relu(x) - constant(10, low=-5, high=-4)  # all below zero
        x = tf.reshape(tf.reduce_mean(x, [1, 2]), [1, 10])
        return tf.matmul(x, constant(10, 5)) + constant(5)  # of a softmax TFLite fixes the scale

    wanted = tf.TensorSpec([1, 16, 16, 3], tf.float32)
    function = tf.function(network).get_concrete_function(wanted)
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
    return path


@pytest.mark.parametrize("scales", ["symmetric", "power_of_two"])
def test_every_constant_has_the_scale_that_was_asked_for(tmp_path, scales):
    path, samples = _operands(tmp_path / TFLITE), separable_networks.pictures(20)
    np.save(tmp_path / "samples.npy", samples)
    recipe = RECIPES[f"tflite_int8_{scales}"]
    ranges = thresholds.ranges_of(collect(path, tmp_path / "samples.npy"), recipe)
    (tmp_path / "quantized").mkdir()
    quantize(path, recipe, ranges, None, tmp_path / "quantized")
    kinds = set()
    for tensor in opened((tmp_path / "quantized" / TFLITE).read_bytes()).subgraphs[0].tensors:
        how = tensor.quantization
        if how is None or how.scale is None:
            continue
        kinds.add(tensor.type)
        assert not any(how.zeroPoint), tensor.name
        if scales == "power_of_two":
            assert (np.frexp(how.scale)[0] == 0.5).all(), tensor.name
    wanted, found = (
        exact_session(file).predict(samples)[0] for file in (path, tmp_path / "quantized" / TFLITE)
    )
    assert len(kinds) > 1, "integers of 8 and of 32 bits"
    assert 10 * np.log10(wanted.var() / np.mean((wanted - found) ** 2)) > 25


def test_a_layer_in_int16_has_a_bias_in_the_steps_of_its_weights(tmp_path):
    """Its bias is int64: it goes with its weights, whose scales became powers of two."""
    path, samples = _operands(tmp_path / TFLITE), separable_networks.pictures(20)
    np.save(tmp_path / "samples.npy", samples)
    chosen = RECIPES["tflite_int8_power_of_two"]
    ranges = thresholds.ranges_of(collect(path, tmp_path / "samples.npy"), chosen)
    layers = [each.name for each in layers_of(path) if "CONV" in each.kind]
    mixed = chosen.with_widths("mixed", {"int16": layers})
    (tmp_path / "quantized").mkdir()
    quantize(path, mixed, ranges, None, tmp_path / "quantized")
    graph = opened((tmp_path / "quantized" / TFLITE).read_bytes()).subgraphs[0]
    biased = [[graph.tensors[i] for i in each.inputs] for each in graph.operators]
    steps = [[each.quantization.scale for each in of] for of in biased if len(of) == 3]
    assert len(steps) == 3, "two convolutions and a matrix product"
    for data, weights, bias in steps:
        np.testing.assert_allclose(bias, data * weights, rtol=1e-6)
    wanted, found = (
        exact_session(file).predict(samples)[0] for file in (path, tmp_path / "quantized" / TFLITE)
    )
    assert 10 * np.log10(wanted.var() / np.mean((wanted - found) ** 2)) > 25
