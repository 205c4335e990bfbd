"""U-Net (Ronneberger et al. 2015) as its Keras users write it.

Four times down and up, two 3x3 convolutions a level, padding "same" and batch normalization (the
paper crops and has none), a transposed convolution to go up, logits at every pixel.
"""

from __future__ import annotations


def unet(input_shape: tuple, classes: int, width: int = 64):
    """A `keras.Model` from (n, h, w, channels) to logits (n, h, w, classes).

    `input_shape` may leave height and width None; they must then be multiples of 16 when it runs.
    `width` is the number of filters of the first level: 64 in the paper.
    """
    import keras

    inputs = keras.Input(input_shape, name="image")
    x, skips = inputs, []
    for level in range(4):
        x = _two_convolutions(x, width * 2**level, f"down{level}")
        skips.append(x)
        x = keras.layers.MaxPooling2D(name=f"down{level}_pool")(x)
    x = _two_convolutions(x, width * 16, "bottom")
    for level in reversed(range(4)):
        filters = width * 2**level
        x = keras.layers.Conv2DTranspose(filters, 2, strides=2, name=f"up{level}_grow")(x)
        x = keras.layers.Concatenate(name=f"up{level}_join")([skips[level], x])
        x = _two_convolutions(x, filters, f"up{level}")
    logits = keras.layers.Conv2D(classes, 1, name="logits")(x)
    return keras.Model(inputs, logits, name="unet")


def _two_convolutions(x, filters: int, name: str):
    import keras

    for part in "ab":
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}{part}")(x)
        x = keras.layers.BatchNormalization(name=f"{name}{part}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}{part}_relu")(x)
    return x
