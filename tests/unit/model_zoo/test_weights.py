"""Weights files: what goes into a network, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_folders import refused
from tiny_networks import classifier, same_weights, u_net

from int8gate.model_zoo.weights import Weights, load, read_manifest, store, tensors_of

H5 = ".weights.h5"


@pytest.fixture
def pair() -> tuple:
    """Two networks of one architecture, with different random weights."""
    return u_net(), u_net()


def write(path: Path, tensors: dict) -> Path:
    from safetensors.numpy import save_file

    save_file(tensors, path)
    return path


def test_stored_weights_come_back(pair, tmp_path):
    one, other = pair
    assert not same_weights(one, other)
    path = store(tensors_of(one), "small", {"seed": 1}, tmp_path / "new")
    load(other, path)
    assert same_weights(one, other)
    facts = read_manifest(tmp_path / "new")["small"]
    assert facts.keys() == {"sha256", "bytes", "seed"}
    content = path.read_bytes()
    store(tensors_of(other), "small", {}, tmp_path / "new")
    assert path.read_bytes() == content, "equal weights, byte for byte an equal file"


def test_keras_weights_come_back(pair, tmp_path):
    one, other = pair
    for name in ("small.weights.h5", "small.h5"):
        path = tmp_path / name
        one.save_weights(path) if name.endswith(H5) else one.save(path)
        other.set_weights([value + 1 for value in other.get_weights()])
        load(other, path)
        assert same_weights(one, other), name


def test_weights_saved_with_their_optimizer(pair, tmp_path):
    """`save_weights` of a compiled, trained model holds more than the weights."""
    one, other = pair
    one.compile("adam")
    one.optimizer.build(one.trainable_variables)
    one.save_weights(tmp_path / "small.weights.h5")
    load(other, tmp_path / "small.weights.h5")
    assert same_weights(one, other)
    with_dropout, again = (classifier() for _ in range(2))
    with_dropout.save_weights(tmp_path / "dropout.weights.h5")
    load(again, tmp_path / "dropout.weights.h5")
    assert same_weights(with_dropout, again)


def test_a_library_s_own_weights_go_inside_the_wrapper(tmp_path):
    """What keras.applications publishes is the network without our preprocessing around it."""
    from int8gate.model_zoo.families.caffe_input import with_caffe_input

    published, ours = (classifier() for _ in range(2))
    wrapped = with_caffe_input(ours)
    for name in ("net.weights.h5", "net.h5"):
        path = tmp_path / name
        published.save_weights(path) if name.endswith(H5) else published.save(path)
        ours.set_weights([value + 1 for value in ours.get_weights()])
        load(wrapped, path)
        assert same_weights(published, ours), name
        bias = wrapped.get_layer("caffe_preprocessing").get_weights()[1]
        np.testing.assert_allclose(bias, [-103.939, -116.779, -123.68])
        wrapped.save_weights(tmp_path / "wrapped.weights.h5")
        load(wrapped, tmp_path / "wrapped.weights.h5")
        assert same_weights(published, ours), name


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_truncated_file(suffix, pair, tmp_path):
    one, other = pair
    path = tmp_path / f"small{suffix}"
    one.save_weights(path) if suffix == H5 else store(tensors_of(one), "small", {}, tmp_path)
    content, before = path.read_bytes(), other.get_weights()
    for kept in (0, 5, 100, len(content) // 2, len(content) - 8):
        path.write_bytes(content[:kept])
        refused(lambda: load(other, path), str(path), "truncated")
    assert all(map(np.array_equal, before, other.get_weights()))


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5", ".h5"])
def test_file_of_text(suffix, pair, tmp_path):
    path = tmp_path / f"small{suffix}"
    path.write_bytes(b"<html>404 not found</html>\n" * 100)
    refused(lambda: load(pair[0], path), str(path))


def test_another_network(pair, tmp_path):
    network, before = pair[0], pair[0].get_weights()
    other = classifier()
    path = store(tensors_of(other), "other", {}, tmp_path)
    refused(lambda: load(network, path), str(path), "is not for", "tensor", "lacks it")
    other.save_weights(tmp_path / "other.weights.h5")
    refused(lambda: load(network, tmp_path / "other.weights.h5"), "other.weights.h5", "another")
    other.save(tmp_path / "other.h5")
    refused(lambda: load(network, tmp_path / "other.h5"), "other.h5", "another network")
    assert all(map(np.array_equal, before, network.get_weights()))


def test_another_width(pair, tmp_path):
    network, wider = pair[0], u_net(3)
    path = store(tensors_of(wider), "wider", {}, tmp_path)
    refused(
        lambda: load(network, path),
        *(str(path), "tensor down0a/kernel", "(3, 3, 1, 3)", "(3, 3, 1, 2)"),
    )
    wider.save_weights(tmp_path / "wider.weights.h5")
    said = refused(lambda: load(network, tmp_path / "wider.weights.h5"), "(3, 3, 1, 3)", "size")
    assert "array" not in said, "Keras prints every value of the tensor"


def test_a_file_that_holds_more_than_the_network(tmp_path):
    """Keras takes the layers it finds, in order, and says nothing of the rest."""
    import keras

    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3)(inputs)
    shallow, deep = keras.Model(inputs, hidden), keras.Model(inputs, keras.layers.Dense(2)(hidden))
    path = tmp_path / "deep.weights.h5"
    deep.save_weights(path)
    before = [value + 1 for value in shallow.get_weights()]
    shallow.set_weights(before)
    refused(lambda: load(shallow, path), str(path), "holds 4 tensors, the network has 2")
    assert all(map(np.array_equal, before, shallow.get_weights())), "changed all the same"


def test_tensors_that_are_missing_or_too_many(pair, tmp_path):
    network = pair[0]
    tensors = tensors_of(network)
    removed = tensors | {}
    del removed["bottoma/kernel"]
    path = write(tmp_path / "removed.safetensors", removed)
    refused(lambda: load(network, path), "tensor bottoma/kernel", "the file lacks it")
    path = write(tmp_path / "added.safetensors", tensors | {"extra": np.zeros(2)})
    refused(lambda: load(network, path), "tensor extra", "the network has no such tensor")


def test_values_that_are_no_weights(pair, tmp_path):
    network = pair[0]
    tensors = tensors_of(network)
    for value in (np.nan, np.inf):
        broken = tensors | {"bottoma/kernel": np.full_like(tensors["bottoma/kernel"], value)}
        path = write(tmp_path / "broken.safetensors", broken)
        refused(lambda p=path: load(network, p), str(path), "bottoma/kernel", "NaN or infinity")
    whole = {name: value.astype(np.int8) for name, value in tensors.items()}
    path = write(tmp_path / "whole.safetensors", whole)
    refused(lambda: load(network, path), str(path), "int8", "before quantization")


def test_half_precision_is_taken(pair, tmp_path):
    one, other = pair
    halves = {name: value.astype(np.float16) for name, value in tensors_of(one).items()}
    load(other, write(tmp_path / "half.safetensors", halves))
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-6)


def test_darknet_without_its_weights_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "net.cfg").write_text("[net]")
    pair = Weights("directory", tmp_path / "net.cfg")
    refused(lambda: pair.identity, "net.cfg", "no net.weights beside it", kind=FileNotFoundError)
    (tmp_path / "net.weights").write_bytes(b"1")
    before = pair.identity
    (tmp_path / "net.weights").write_bytes(b"2")
    assert pair.identity != before


def test_damaged_onnx_file_has_an_identity_of_its_own(tmp_path):
    """What is wrong with it the importer says, in a worker."""
    file = tmp_path / "net.onnx"
    found = set()
    for content in (b"", b"not a model", b"\x08\xff\xff"):
        file.write_bytes(content)
        found.add(Weights("directory", file).identity)
    assert len(found) == 3
