"""Tiny real TFLite models, converted by TensorFlow from fixed weights (about a second for all).

`write_all(folder)` writes them and returns their paths by name:

    int8           conv, depthwise conv, mean, fully connected; int8 from end to end
    float_io       the same with float32 input and output
    fp32, fp16, dynamic  the same network, not or not fully quantized
    elu            the same with an ELU, which the converter silently leaves in float32
    partial        conv, then a GATHER that an Ethos-U leaves to the CPU
    transposed     conv, transposed conv
    attention      two batch matrix products around a softmax
    gram           a batch matrix product with its left side transposed
    argmax_float   conv, then ARG_MAX in float32, which Vela refuses
    loop           conv, then a WHILE
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

IMAGE = (1, 32, 32, 3)
SEQUENCE = (1, 16, 8)


def write_all(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{name}.tflite" for name in _convert_all()}
    for name, path in paths.items():
        path.write_bytes(_convert_all()[name])
    return paths


@cache
def _convert_all() -> dict[str, bytes]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def weights(*shape: int):
        return tf.constant(rng.normal(0.0, 0.2, shape).astype(np.float32))

    conv, depthwise, dense = weights(3, 3, 3, 8), weights(3, 3, 8, 1), weights(8, 10)
    up = weights(2, 2, 8, 8)

    def stem(x):
        return tf.nn.conv2d(x, conv, 2, "SAME")

    def network(activation: Callable) -> Callable:
        def run(x):
            y = tf.nn.relu6(tf.nn.depthwise_conv2d(activation(stem(x)), depthwise, [1] * 4, "SAME"))
            return tf.matmul(tf.reduce_mean(y, [1, 2]), dense)

        return run

    def loop(x):
        def body(turn, y):
            return turn + 1, tf.nn.relu(y * 0.5) + 0.1

        return tf.while_loop(lambda turn, y: turn < 3, body, [tf.constant(0), stem(x)])[1]

    relu = network(tf.nn.relu)
    return {
        "int8": _convert(relu, IMAGE, "int8"),
        "float_io": _convert(relu, IMAGE, "float_io"),
        "fp32": _convert(relu, IMAGE, "fp32"),
        "fp16": _convert(relu, IMAGE, "fp16"),
        "dynamic": _convert(
            lambda x: tf.nn.conv2d(x, weights(3, 3, 16, 64), 1, "SAME"), (1, 8, 8, 16), "dynamic"
        ),
        "elu": _convert(network(tf.nn.elu), IMAGE, "int8"),
        "partial": _convert(lambda x: tf.gather(stem(x), [1, 3, 5], axis=1), IMAGE, "int8"),
        "transposed": _convert(
            lambda x: tf.nn.conv2d_transpose(stem(x), up, (1, 32, 32, 8), 2), IMAGE, "int8"
        ),
        "attention": _convert(
            lambda x: tf.matmul(tf.nn.softmax(tf.matmul(x, x, transpose_b=True)), x),
            SEQUENCE,
            "int8",
        ),
        "gram": _convert(lambda x: tf.matmul(x, x, transpose_a=True), SEQUENCE, "int8"),
        "argmax_float": _convert(lambda x: tf.argmax(stem(x), -1), IMAGE, "fp32"),
        "loop": _convert(loop, IMAGE, "int8"),
    }


def _convert(function: Callable, shape: tuple[int, ...], mode: str) -> bytes:
    import tensorflow as tf

    signature = tf.TensorSpec(shape, tf.float32)
    concrete = tf.function(function).get_concrete_function(signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    if mode != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if mode in ("int8", "float_io"):
        rng = np.random.default_rng(1)
        converter.representative_dataset = lambda: (
            [rng.normal(size=shape).astype(np.float32)] for _ in range(4)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if mode == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()
