"""Files that tf2onnx writes of Keras networks that tensorflow-model-optimization (tfmot) trained.

    python write_tf2onnx.py SETTING FILE

`saved`, `h5` and `frozen` write what TensorFlow itself makes of the same network: no ONNX.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tfmot is of Keras 2

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from digits_network import SIDE, for_training, main

layers = tf.keras.layers


def network():
    """That of `digits_network` in Keras; the pictures are channels last."""

    def normalized(given, made: int, size: int, stride: int = 1):
        made = layers.Conv2D(made, size, stride, padding="same", use_bias=False)(given)
        return layers.BatchNormalization(momentum=0.9)(made)

    digit = layers.Input((SIDE, SIDE, 1))
    first = layers.ReLU()(normalized(digit, 16, 3))
    deep = layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(first)
    deep = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(deep))
    total = layers.Add()([normalized(deep, 16, 1), normalized(first, 16, 3, 2)])
    both = layers.Concatenate()([layers.ReLU()(total), deep])
    last = layers.Conv2D(24, 3, padding="same", activation="relu")(both)
    scores = layers.Dense(10)(layers.Flatten()(layers.AveragePooling2D(2)(last)))
    return tf.keras.Model(digit, scores)


def trained(whole: bool = True):
    """Trained as floats, then with the fake quantization that tfmot puts in."""
    tf.keras.utils.set_random_seed(0)
    pixels, labels = for_training()
    pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = network()
    for rate, epochs in ((5e-3, 6), (1e-3, 12)):
        model.compile(tf.keras.optimizers.Adam(rate), loss)
        model.fit(pixels, labels, 50, epochs, verbose=0)
        if epochs == 6:
            model = tfmot.quantization.keras.quantize_model(model)
    return model


def signature(model):
    spec = tf.TensorSpec((1, SIDE, SIDE, 1), tf.float32, name="digit")
    return tf.function(lambda digit: {"scores": model(digit, training=False)}, [spec])


def by_tf2onnx(target: Path, opset: int = 17, **settings) -> None:
    import tf2onnx

    function = signature(trained())
    spec = function.input_signature
    tf2onnx.convert.from_function(function, spec, opset=opset, output_path=str(target), **settings)


def saved(target: Path) -> None:
    model = trained()
    tf.saved_model.save(model, str(target), signatures=signature(model))


def frozen(target: Path) -> None:
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    function = convert_variables_to_constants_v2(signature(trained()).get_concrete_function())
    target.write_bytes(function.graph.as_graph_def().SerializeToString())


def converted(target: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_keras_model(trained())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    target.write_bytes(converter.convert())


SETTINGS = {
    "tfmot": by_tf2onnx,
    "tfmot_opset_13": lambda to: by_tf2onnx(to, opset=13),
    "tfmot_channels_first": lambda to: by_tf2onnx(to, inputs_as_nchw=["digit"]),
    "saved": saved,
    "h5": lambda to: trained().save(str(to), save_format="h5"),
    "keras": lambda to: trained().save(str(to), save_format="keras"),
    "frozen": frozen,
    "converted": converted,
}

if __name__ == "__main__":
    main(SETTINGS)
