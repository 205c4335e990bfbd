"""EfficientNet-EdgeTPU-S: EfficientNet as an accelerator likes it.

Gupta and Akin, "Accelerator-aware Neural Network Design using AutoML", 2020 (arXiv:2003.02838), by
the block table of the reference implementation (`efficientnet/edgetpu/efficientnet_edgetpu_builder`
in tensorflow/tpu): fused inverted bottlenecks (one full convolution instead of expansion and
depthwise) in the early stages, ReLU instead of swish, no squeeze-and-excitation.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """`repeats` blocks; the first has the stride. `fused`: one convolution expands."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int
    fused: bool
    residual: bool = True


STEM, HEAD = 32, 1280
SMALL = (
    Stage(1, 3, 1, 4, 24, fused=True, residual=False),
    Stage(2, 3, 2, 8, 32, fused=True),
    Stage(4, 3, 2, 8, 48, fused=True),
    Stage(5, 5, 2, 8, 96, fused=False),
    Stage(4, 5, 1, 8, 144, fused=False),
    Stage(2, 5, 2, 8, 192, fused=False),
)


def efficientnet_edgetpu_s(input_shape: tuple, classes: int):
    """A `keras.Model` from (n, h, w, channels) to class probabilities (n, classes)."""
    import keras

    inputs = keras.Input(input_shape, name="image")
    x = _convolution(inputs, STEM, 3, "stem", stride=2)
    for number, stage in enumerate(SMALL):
        for repeat in range(stage.repeats):
            x = _block(x, stage, stage.filters, f"stage{number}_{repeat}", repeat)
    x = _convolution(x, HEAD, 1, "head")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="efficientnet_edgetpu_s")


def _block(x, stage: Stage, filters: int, name: str, repeat: int):
    import keras

    stride = 1 if repeat else stage.stride
    expanded = x.shape[-1] * stage.expansion
    if stage.fused:
        y = _convolution(x, expanded, stage.kernel, f"{name}_expand", stride)
    else:
        y = _convolution(x, expanded, 1, f"{name}_expand")
        y = keras.layers.DepthwiseConv2D(
            stage.kernel, stride, "same", use_bias=False, name=f"{name}_depthwise"
        )(y)
        y = _normalized(y, f"{name}_depthwise")
    y = _convolution(y, filters, 1, f"{name}_project", activated=False)
    if stage.residual and stride == 1 and x.shape[-1] == filters:
        y = keras.layers.Add(name=f"{name}_add")([x, y])
    return y


def _convolution(x, filters: int, kernel: int, name: str, stride: int = 1, activated: bool = True):
    import keras

    layer = keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)
    return _normalized(layer(x), name, activated)


def _normalized(x, name: str, activated: bool = True):
    import keras

    x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if activated else x
