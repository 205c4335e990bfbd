"""Tiny Keras networks with random weights, for the tests of the zoo's room."""

from __future__ import annotations

import numpy as np


def classifier(filters: int = 8, side: int | None = 16):
    """Pictures (n, side, side, 3) to 5 scores; its layers have names of their own."""
    import keras

    inputs = keras.Input((side, side, 3), name="in")
    x = keras.layers.Conv2D(filters, 3, padding="same", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="first_norm")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Conv2D(2 * filters, 3, strides=2, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="out")(x), name="tiny")


def u_net(width: int = 2):
    """The zoo's U-Net, grey pictures of any size to 3 classes."""
    from int8gate.model_zoo.families.unet import unet

    return unet((None, None, 1), 3, width)


def same_weights(one, other) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(ours, theirs) for ours, theirs in pairs)
