"""The float network that remedies change: read, changed and written in each format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import weighted_networks
from onnx_files import save, with_weights

from int8gate.quantizers.remedies.float_network import RELU, RELU6
from int8gate.quantizers.toolchains.onnx import weighted_network as onnx_network
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.tflite import weighted_network as tflite_network

READERS = {"onnx": onnx_network, "raw": onnx_network, "tflite": tflite_network}
LAYERS = [(form, number) for form, count in (("onnx", 9), ("tflite", 7)) for number in range(count)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Float artifacts by form, `raw` as before preparation, and their samples."""
    folder = tmp_path_factory.mktemp("weighted")
    side = weighted_networks.SIDE
    pictures = np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)
    np.save(folder / "samples.npy", pictures)
    raw = weighted_networks.write_onnx(folder / "raw.onnx")
    prepare(raw, folder / "float.onnx")
    return {
        "samples": folder / "samples.npy",
        "raw": raw,
        "onnx": folder / "float.onnx",
        "tflite": weighted_networks.write_tflite(folder / "float.tflite"),
    }


def values(network, files, *tensors: str) -> list[np.ndarray]:
    """Of these tensors, or of the network's outputs, over the samples."""
    tensors = tensors or network.outputs
    rows = list(network.run(files["samples"], tensors))
    return [np.concatenate([row[name] for row in rows]) for name in tensors]


def channels_last(network, found: np.ndarray) -> np.ndarray:
    return np.moveaxis(found, network.channel_axis, -1) if found.ndim == 4 else found


def reopened(form: str, network, folder: Path):
    path = folder / f"saved.{form}"
    network.save(path)
    return READERS[form].read(path)


@pytest.mark.parametrize("form", READERS)
def test_a_network_that_was_not_changed_computes_the_same(form, files, tmp_path):
    network = READERS[form].read(files[form])
    again = reopened(form, network, tmp_path)
    for before, after in zip(values(network, files), values(again, files), strict=True):
        np.testing.assert_array_equal(after, before)
    assert [each.name for each in again.layers] == [each.name for each in network.layers]


@pytest.mark.parametrize(("form", "number"), LAYERS)
def test_weights_and_bias_set_what_a_layer_gives(form, number, files, tmp_path):
    """Without weights a layer gives its bias, and without a bias the rest."""
    network = READERS[form].read(files[form])
    layer = network.layers[number]
    had_bias = layer.bias is not None
    bias = np.linspace(-1, 1, layer.outputs).astype(np.float32)
    (usual,) = values(network, files, layer.output)
    network.set_weights(layer, np.zeros_like(layer.weights))
    network.set_bias(network.layer(layer.name), bias)
    again = reopened(form, network, tmp_path)
    changed = again.layer(layer.name)
    np.testing.assert_array_equal(changed.bias, bias)
    assert changed.output == layer.output
    (found,) = values(again, files, changed.output)
    expected = {RELU: np.maximum(bias, 0), RELU6: np.clip(bias, 0, 6), None: bias}
    wanted = np.broadcast_to(expected[layer.activation], channels_last(network, found).shape)
    np.testing.assert_allclose(channels_last(network, found), wanted, atol=1e-6)
    network.set_weights(changed, layer.weights)
    network.set_bias(network.layer(layer.name), layer.bias if had_bias else 0 * bias)
    (found,) = values(network, files, layer.output)
    np.testing.assert_allclose(found, usual, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", READERS)
def test_outputs_are_the_first_axis_of_weights_and_inputs_the_second(form, files):
    """Of every layer: a single weight joins one output with one channel of its group."""
    network = READERS[form].read(files[form])
    for name in [layer.name for layer in network.layers]:
        layer = network.layer(name)
        output, place = layer.outputs - 1, layer.weights.shape[1] - 1
        one = np.zeros_like(layer.weights)
        one[output, place] = 1.0
        network.set_weights(layer, one)
        network.set_bias(network.layer(name), np.zeros(layer.outputs, np.float32))
        taken, given = (
            channels_last(network, each)
            for each in values(network, files, layer.input, layer.output)
        )
        if layer.activation:
            taken = np.maximum(taken, 0)
        assert not given[..., :output].any(), name
        assert not given[..., output + 1 :].any(), name
        if taken.any(axis=tuple(range(taken.ndim - 1)))[-1]:  # the last of the last group
            assert given[..., output].any(), name
        network.set_weights(network.layer(name), layer.weights)
        network.set_bias(
            network.layer(name), np.zeros(layer.outputs) if layer.bias is None else layer.bias
        )


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_layers_that_share_weights_are_told_and_part_when_one_is_changed(form, files, tmp_path):
    network = READERS[form].read(files[form])
    first, second = (layer for layer in network.layers if network.sharing(layer))
    assert [other.name for other in network.sharing(first)] == [second.name]
    network.set_weights(first, 2 * first.weights)
    again = reopened(form, network, tmp_path)
    np.testing.assert_array_equal(again.layer(first.name).weights, 2 * first.weights)
    np.testing.assert_array_equal(again.layer(second.name).weights, second.weights)
    assert not again.sharing(again.layer(first.name))


@pytest.mark.parametrize("form", READERS)
def test_a_cap_for_each_channel_takes_the_place_of_six(form, files, tmp_path):
    network = READERS[form].read(files[form])
    operator = next(o for o in network.operators if RELU6 in (o.kind, o.activation))
    caps = np.linspace(0.1, 0.8, 8).astype(np.float32)
    network.set_cap(operator, caps)
    again = reopened(form, network, tmp_path)
    (name,) = again.producer(operator.output).inputs[:1]
    free, capped = (
        channels_last(network, each) for each in values(again, files, name, operator.output)
    )
    assert (free > caps).any()
    np.testing.assert_array_equal(capped, np.clip(free, 0, caps))


def test_what_does_not_fit_a_layer_is_refused(files):
    network = READERS["onnx"].read(files["onnx"])
    layer = network.layers[0]
    with pytest.raises(ValueError, match=r"layer conv_0 takes values \(8, 3, 3, 3\), got \(8,\)"):
        network.set_weights(layer, layer.bias)
    with pytest.raises(ValueError, match="layer conv_0 was given NaN or infinity"):
        network.set_bias(layer, np.full(8, np.nan))


def test_what_a_subgraph_reads_has_a_reader(tmp_path):
    """Else its maker would seem to be read by nobody."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 2] x, bool b) => (float[1, 2] y) {
        h = MatMul (x, w)
        y = If (b) <
            then_branch = then () => (float[1, 2] t) { t = Relu (h) },
            else_branch = other () => (float[1, 2] e) { e = Neg (h) }
        >
    }
    """
    model = with_weights(text, {"w": np.eye(2, dtype=np.float32)})
    onnx.checker.check_model(model)
    network = onnx_network.read(save(model, tmp_path / "if.onnx"))
    assert [reader.kind for reader in network.readers("h")] == ["If"]
