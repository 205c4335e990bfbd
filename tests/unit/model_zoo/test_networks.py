"""The networks of the zoo as Keras builds them, and the weights files that go into them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from data_folders import refused
from tiny_networks import classifier, u_net

from int8gate.model_zoo import weights
from int8gate.model_zoo.registry import model, zoo
from int8gate.model_zoo.spec import PROFILES


@pytest.fixture(scope="module")
def networks():
    from int8gate.model_zoo import networks

    return networks


@pytest.fixture(scope="module")
def built(networks) -> dict:
    """Every compact network by name, with its initial weights."""
    import keras

    keras.utils.set_random_seed(5)
    keras_models = {
        name: spec for name, spec in zoo().items() if spec.compact and not spec.is_torch
    }
    models = {name: networks.build(spec, "compact") for name, spec in keras_models.items()}
    return {name: (network, network.get_weights()) for name, network in models.items()}


@pytest.fixture
def fresh(built) -> dict:
    """The same, whatever the tests before have put into them."""
    for network, initial in built.values():
        network.set_weights(initial)
    return {name: network for name, (network, _) in built.items()}


def noise(shape: tuple[int, ...], low: float = 0, high: float = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def test_builders_resolve(networks):
    for spec in zoo().values():
        for profile in filter(spec.has, PROFILES):
            assert callable(networks.resolve(spec.network(profile).builder))
        assert spec.wrapper is None or callable(networks.resolve(spec.wrapper))


def test_networks_take_and_give_what_is_declared(fresh):
    for name, network in fresh.items():
        if model(name).task not in ("classification", "segmentation"):
            continue  # their outputs are several, and tested with them
        spec = model(name).compact
        assert network.input_shape == (None, *spec.input_shape), name
        assert network.output_shape[-1] == spec.classes, name
        size = (1, *spec.size, spec.input_shape[-1])
        expected = (1, spec.classes)
        expected = expected if model(name).task == "classification" else (*size[:-1], spec.classes)
        assert network(noise(size)).shape == expected, name


@pytest.mark.heavy  # by default: the names are those of the weights that are shipped, below
def test_tensors_have_names_of_their_own_and_keep_them(fresh, networks):
    """Weights files go by these names: one counted up by Keras would be another in each process."""
    for name, network in fresh.items():
        paths = [variable.path for variable in network.weights]
        assert len(set(paths)) == len(paths), name
        again = networks.build(model(name), "compact")
        assert [variable.path for variable in again.weights] == paths, name


def topology(network) -> list:
    """Class, name (but of inputs, which Keras counts up), and the places of the inputs' layers."""
    places = {layer.name: place for place, layer in enumerate(network.layers)}
    found = []
    for layer in network.layers:
        kind = type(layer).__name__
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        sources = [places[tensor._keras_history.operation.name] for tensor in inputs]
        name = re.sub(r"_\d+$", "", layer.name)  # which Keras counts up for some
        found.append((kind, name if kind != "InputLayer" else "", sources))
    return found


def test_narrow_keeps_the_topology_and_scales_filters(networks):
    wide = classifier(filters=40)
    for width, filters in ((1 / 4, (10, 20)), (1 / 3, (13, 27)), (1 / 100, (8, 8))):
        narrow = networks.narrow(wide, width)
        assert topology(narrow) == topology(wide)
        assert (narrow.get_layer("first").filters, narrow.get_layer("second").filters) == filters
        assert narrow.get_layer("depthwise").output.shape[-1] == filters[0]
        assert narrow.output_shape == wide.output_shape
        assert narrow.input_shape == wide.input_shape
        assert narrow(noise((2, 16, 16, 3))).shape == (2, 5)
    assert wide.get_layer("first").filters == 40


@pytest.mark.heavy  # by default: a small one is narrowed, above
def test_narrowed_networks_of_the_zoo_are_those_of_their_paper(fresh, networks):
    for name, network in fresh.items():
        spec = model(name)
        if spec.compact.width == 1:
            continue
        inner = next((layer for layer in network.layers if hasattr(layer, "layers")), network)
        wide = networks.build(replace(spec, compact=replace(spec.compact, width=1)), "compact")
        wide = next((layer for layer in wide.layers if hasattr(layer, "layers")), wide)
        assert topology(inner) == topology(wide), name
        for ours, theirs in zip(inner.layers, wide.layers, strict=True):
            if hasattr(theirs, "filters"):
                assert ours.filters == max(8, round(theirs.filters * spec.compact.width)), name


def test_caffe_input_is_that_of_keras():
    """keras.applications.imagenet_utils.preprocess_input, mode "caffe", but inside the network."""
    from keras.applications.imagenet_utils import preprocess_input

    from int8gate.model_zoo.families.caffe_input import with_caffe_input

    network = classifier()
    wrapped = with_caffe_input(network)
    pixels = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3)).astype(np.float32)
    expected = network(preprocess_input(pixels.copy(), mode="caffe"))
    np.testing.assert_allclose(wrapped(pixels), expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(wrapped(pixels), network(pixels), atol=0.1)
    assert (wrapped.name, wrapped.input_shape) == (network.name, network.input_shape)
    trainable = {variable.path for variable in wrapped.trainable_variables}
    assert trainable == {variable.path for variable in network.trainable_variables}


def test_u_net_takes_any_multiple_of_16():
    network = u_net()
    for height, width in ((16, 16), (16, 48), (96, 32), (112, 80)):
        assert network(noise((2, height, width, 1))).shape == (2, height, width, 3)
    for side in (24, 40, 100):
        with pytest.raises(Exception, match="Concatenate"):
            network(noise((1, side, side, 1)))


def test_u_net_is_that_of_the_paper():
    """Its figure 1: 23 convolutions, four 2x2 poolings and up-convolutions, filters 64 to 1024."""
    network = u_net(64)
    names = [type(layer).__name__ for layer in network.layers]
    assert names.count("Conv2D") + names.count("Conv2DTranspose") == 23
    assert names.count("MaxPooling2D") == names.count("Conv2DTranspose") == 4
    filters = [layer.filters for layer in network.layers if type(layer).__name__ == "Conv2D"]
    down = [64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024]
    assert filters == [*down, *down[-3::-1], 3]


def activations(network, batch: np.ndarray) -> list[np.ndarray]:
    """What each convolution and normalization gives, of the innermost network."""
    import keras

    names = ("Conv2D", "DepthwiseConv2D", "BatchNormalization")
    inner = next((layer for layer in network.layers if hasattr(layer, "layers")), network)
    outputs = [layer.output for layer in inner.layers if type(layer).__name__ in names]
    if inner is not network:
        batch = network.get_layer("caffe_preprocessing")(batch)
    return [np.asarray(found) for found in keras.Model(inner.inputs, outputs)(batch)]


def test_settled_random_networks_stay_of_order_one(fresh, networks):
    """Layer by layer: random convolutions without it grow or vanish by orders of magnitude."""
    for name, network in fresh.items():
        spec = model(name)
        limits = spec.preprocessing.range
        momenta = [getattr(layer, "momentum", None) for layer in networks.layers(network)]
        before = [variable.numpy() for variable in network.trainable_variables]
        networks.settle_normalization(network, limits, seed=3)
        batch = noise((4, *spec.compact.size, spec.compact.input_shape[-1]), *limits)
        normalized = activations(network, batch)
        assert all(np.isfinite(found).all() for found in normalized), name
        spreads = [found.std() for found in normalized[3:]]
        assert min(spreads[:-1]) > 1e-2, (name, spreads)
        assert spreads[-1] > 1e-3, f"{name}: FSRCNN's authors begin the last layer that small"
        assert max(spreads) < 1e2, (name, spreads)
        after = [variable.numpy() for variable in network.trainable_variables]
        assert all(map(np.array_equal, before, after)), f"{name}: more than statistics changed"
        layers = networks.layers(network)
        assert momenta == [getattr(layer, "momentum", None) for layer in layers], name


def test_settling_is_seeded(networks):
    network = classifier(side=None)
    found = []
    for seed in (1, 1, 2):
        networks.settle_normalization(network, (-1, 1), seed)
        found.append(network.get_layer("first_norm").moving_variance.numpy())
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_shipped_weights_go_into_their_network(fresh):
    for name, network in fresh.items():
        initial = network.get_weights()
        weights.load(network, weights.find_weights(model(name), "compact").path)
        changed = zip(initial, network.get_weights(), strict=True)
        assert sum(not np.array_equal(*pair) for pair in changed) > len(initial) / 2, name
    refused(
        lambda: weights.load(network, weights.SHIPPED / f"{next(iter(fresh))}.safetensors"),
        *("is not for", "tensor"),
    )
