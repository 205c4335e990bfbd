"""Each family's preprocessing, against the function that its own library publishes for it."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from int8gate.model_zoo.networks import build, settle_normalization
from int8gate.model_zoo.registry import zoo

PREFIX = "keras.applications:"


FAMILIES = {
    spec.full.builder.removeprefix(PREFIX): spec
    for spec in zoo().values()
    if spec.compact and spec.full.builder.startswith(PREFIX)
}


# Their declarations are MobileNet V2's, and as its own are nothing but the scaling to -1..1.
OF_MOBILENET_V2 = ("InceptionV3", "ResNet50V2")


def published_by(builder: str):
    """The `preprocess_input` that the builder's users call: of the module that defines it."""
    import keras

    module = getattr(keras.applications, builder).__module__.rpartition(".")[2]
    return importlib.import_module(f"keras.applications.{module}").preprocess_input


def test_those_left_to_the_heavy_run_declare_what_mobilenet_v2_does():
    for builder in OF_MOBILENET_V2:
        spec, other = FAMILIES[builder], FAMILIES["MobileNetV2"]
        assert spec.preprocessing == other.preprocessing
        assert spec.wrapper is other.wrapper is None


@pytest.mark.parametrize(
    "builder",
    [
        pytest.param(builder, marks=[pytest.mark.heavy] * (builder in OF_MOBILENET_V2))
        for builder in FAMILIES
    ],
)
def test_the_declared_preprocessing_is_the_librarys(builder):
    """The declaration and what stands inside the network together are `preprocess_input`."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    spec = FAMILIES[builder]
    network = build(spec, "compact")
    settle_normalization(network, spec.preprocessing.range, seed=0)
    bare = network
    if spec.wrapper:
        bare = build(replace(spec, wrapper=None), "compact")
        bare.set_weights(network.get_weights()[-len(bare.weights) :])
    published = published_by(builder)
    size = spec.compact.picture_shape
    pixels = np.random.default_rng(1).integers(0, 256, (2, *size), np.uint8)
    ours = network(spec.preprocessing.apply(pixels), training=False)
    theirs = bare(published(pixels.astype(np.float32)), training=False)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    other = bare(published(pixels[..., ::-1].astype(np.float32)), training=False)
    assert not np.allclose(ours, other, rtol=1e-3, atol=1e-5), "colour order makes no difference"
