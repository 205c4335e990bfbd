"""The training loop: what a stage at a larger size inherits."""

import numpy as np
import pytest

from int8gate.model_zoo.training.loop import _carry_over as carry_over
from int8gate.model_zoo.training.loop import at_scale


def _network(side: int):
    import keras

    layers = keras.layers
    image = keras.Input((side, side, 3))
    x = layers.Flatten()(layers.MaxPooling2D(4)(layers.Conv2D(5, 3, padding="same")(image)))
    return keras.Model(image, layers.Dense(7)(x))


@pytest.mark.parametrize("scale", [1, 2])
def test_an_enlarged_picture_gives_the_outputs_of_the_smaller_network(scale):
    """Pooled maps of flat pictures are flat, so that each position stands for several."""
    small, large = _network(16), _network(16 * scale)
    carry_over(small, large)
    kernel = small.layers[1].get_weights()[0] * 0
    kernel[1, 1] = np.random.default_rng(0).normal(size=kernel.shape[2:])  # no border effect
    for network in (small, large):
        network.layers[1].set_weights([kernel, np.zeros(5)])
    picture = np.random.default_rng(1).normal(size=(1, 4, 4, 3)).astype(np.float32)
    shown = [picture.repeat(4 * k, 1).repeat(4 * k, 2) for k in (1, scale)]
    np.testing.assert_allclose(small(shown[0]), large(shown[1]), rtol=1e-4, atol=1e-5)


def test_half_the_scale_halves_every_fixed_side():
    from int8gate.model_zoo.registry import model

    half = at_scale(model("resnet50_v1"), 0.5).compact
    assert half.size == (64, 64)
    assert half.input_shape == (64, 64, 3)
    assert at_scale(model("unet"), 0.5).compact.input_shape == (None, None, 1)
