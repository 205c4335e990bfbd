"""Each family's preprocessing, against the function that its own library publishes for it."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from int8gate.model_zoo.networks import build, settle_normalization
from int8gate.model_zoo.registry import zoo

# The module of keras.applications whose `preprocess_input` the builder's users call.
LIBRARY = {
    "ResNet50": "resnet",
    "ResNet50V2": "resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "VGG16": "vgg16",
    "EfficientNetB0": "efficientnet",
}
PREFIX = "keras.applications:"


def families():
    return [spec for spec in zoo().values() if spec.compact.builder.startswith(PREFIX)]


def test_every_family_is_compared():
    assert {spec.compact.builder.removeprefix(PREFIX) for spec in families()} == LIBRARY.keys()


@pytest.mark.parametrize("position", range(len(LIBRARY)))
def test_the_declared_preprocessing_is_the_librarys(position):
    """The declaration and what stands inside the network together are `preprocess_input`."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(position)
    spec = families()[position]
    network = build(spec, "compact")
    settle_normalization(network, spec.preprocessing.range, seed=0)
    bare = build(replace(spec, wrapper=None), "compact")
    bare.set_weights(network.get_weights()[-len(bare.weights) :])
    module = LIBRARY[spec.compact.builder.removeprefix(PREFIX)]
    published = importlib.import_module(f"keras.applications.{module}").preprocess_input
    size = spec.compact.picture_shape
    pixels = np.random.default_rng(1).integers(0, 256, (2, *size), np.uint8)
    ours = network(spec.preprocessing.apply(pixels), training=False)
    theirs = bare(published(pixels.astype(np.float32)), training=False)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    other = bare(published(pixels[..., ::-1].astype(np.float32)), training=False)
    assert not np.allclose(ours, other, rtol=1e-3, atol=1e-5), "colour order makes no difference"
