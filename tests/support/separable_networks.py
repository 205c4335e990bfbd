"""Separable networks like MobileNet v1, float32, whose channels an equivalent rescaling spreads.

Pictures (n, SIDE, SIDE, 3) go through a convolution, pairs of a depthwise and a pointwise one, a
mean and a dense layer. Every hidden channel is multiplied by a factor of its own, and the weights
behind it are divided by that: a ReLU network computes the same, and its weights have channels of
unlike ranges, as batch normalization leaves them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

SIDE, CLASSES = 16, 10
WIDTHS = (16, 24, 32, 48)


def drawn(spread: float, seed: int = 0, widths=WIDTHS, dead: int = 0) -> list[dict]:
    """The layers: `kind`, `weights` (outputs, inputs of a group, h, w), `bias`.

    Factors are drawn from 1 / spread to 1, equally over their logarithms, and reach both ends.
    The first `dead` channels of the stem have no weights.
    """
    random = np.random.default_rng(seed)
    layers, last, inputs = [], np.ones(3), 3

    def factors(count: int) -> np.ndarray:
        found = np.exp(-random.permutation(np.linspace(0, np.log(spread), count)))
        return found if spread > 1 else np.ones(count)

    for number, width in enumerate(widths):
        for kind in ("conv",) if number == 0 else ("depthwise", "conv"):
            outputs, of_group = (inputs, 1) if kind == "depthwise" else (width, inputs)
            side = 1 if kind == "conv" and number else 3
            size = (outputs, of_group, side, side)
            weights = random.normal(0, np.sqrt(1.6 / (of_group * side * side)), size)
            bias = random.normal(0.1, 0.1, outputs)
            behind = factors(outputs)
            before = last[:, None] if kind == "depthwise" else last[None]
            weights = weights * behind[:, None, None, None] / before[:, :, None, None]
            if not layers and dead:
                weights[:dead], bias[:dead] = 0, 0
            layers.append({"kind": kind, "weights": weights, "bias": bias * behind})
            last, inputs = behind, outputs
    weights = random.normal(0, 1 / np.sqrt(inputs), (CLASSES, inputs)) / last
    layers.append({"kind": "dense", "weights": weights, "bias": np.zeros(CLASSES)})
    return [
        {name: part if name == "kind" else part.astype(np.float32) for name, part in layer.items()}
        for layer in layers
    ]


def pictures(count: int, seed: int = 1) -> np.ndarray:
    """Smooth pictures (count, SIDE, SIDE, 3) of -1 to 1."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(-1, 1, (count, 4, 4, 3))
    return coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2).astype(np.float32)


def write_tflite(layers: list[dict], activation: str, path: Path) -> Path:
    """`activation` is relu or relu6."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    apply = getattr(tf.nn, activation)

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), name="image")])
    def network(x):
        for number, layer in enumerate(layers[:-1]):
            weights, stride = layer["weights"], 2 if number in (0, 3) else 1
            if layer["kind"] == "depthwise":
                kernel = weights.transpose(2, 3, 0, 1)
                x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
            else:
                x = tf.nn.conv2d(x, weights.transpose(2, 3, 1, 0), stride, "SAME")
            x = apply(x + layer["bias"])
        last = layers[-1]
        return {"scores": tf.matmul(tf.reduce_mean(x, [1, 2]), last["weights"].T) + last["bias"]}

    concrete = network.get_concrete_function()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    return path
