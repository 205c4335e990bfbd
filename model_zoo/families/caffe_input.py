"""Networks of `keras.applications` with caffe-style preprocessing, with that preprocessing inside.

RGB to BGR and one mean per channel cannot be said by one scale and one zero point. As a fixed 1x1
convolution at the front they travel with the artifact, run on the NPU, and the integrator feeds raw
RGB bytes. Means: `keras.applications.imagenet_utils`, mode "caffe".
"""

from __future__ import annotations

BGR_MEANS = (103.939, 116.779, 123.68)


def with_caffe_input(network):
    """The functional `network`, preceded by RGB to BGR and the subtraction of the channel means."""
    import keras
    import numpy as np

    pixels = keras.Input(network.input_shape[1:], name="pixels")
    normalize = keras.layers.Conv2D(3, 1, trainable=False, name="caffe_preprocessing")
    bgr = normalize(pixels)
    reversed_channels = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
    normalize.set_weights([reversed_channels, -np.array(BGR_MEANS)])
    return keras.Model(pixels, network(bgr), name=network.name)
