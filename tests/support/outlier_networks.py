"""A classifier whose middle layer 8 bits cannot hold, as ONNX and as TFLite, and its pictures.

The middle convolution multiplies a channel that is always zero by `OUTLIER`: that weight takes the
whole range of each output's scale, and all others round to zero. With a tanh in place of the ReLU
before it no scale can be moved out of that layer. Labels are what the float network
answers, so that it is always right.

`write_common` has the same of activations: all channels of a sum have a large part in common, which
the middle layer takes away again. The weights are exact in 8 bits; what the channels differ by is
lost in 8 bits of the sum, and stays in 16.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx_files
from data_folders import write
from PIL import Image

CLASSES, CHANNELS, SIDE = 5, 8, 16
CALIBRATION, EVALUATION = 20, 40  # pictures of each class
OUTLIER = 200.0
COMMON = 2000.0
MIDDLE = "middle"  # in the name of the layer, in both files
TEXT = f"""
<ir_version: 8, opset_import: ["" : 17]>
outlier (float[1, 3, {SIDE}, {SIDE}] image) => (float[1, {CLASSES}] scores) {{
    x = Conv (image, w1, b1)
    a = ACTIVATION (x)
    y = Conv (a, w2, b2)
    b = Relu (y)
    pooled = GlobalAveragePool (b)
    flat = Flatten (pooled)
    scores = Gemm <transB = 1> (flat, w3, b3)
}}
"""
NAMES = ("stem", "stem_relu", MIDDLE, f"{MIDDLE}_relu", "pool", "flat", "head")


def write_all(folder: Path, activation: str = "relu") -> None:
    """`gadget.onnx`, `gadget.tflite`, and `pictures` in folders of split and class; `activation`
    behind the first layer is relu or tanh.
    """
    pictures, scores, arrays = _drawn(activation)
    _write_onnx(arrays, folder / "gadget.onnx", activation)
    _write_tflite(arrays, folder / "gadget.tflite", activation)
    _write_pictures(folder, pictures, scores)


def write_training(folder: Path, name: str, count: int | None = None) -> None:
    """`name`, folders of class, of `pictures` flipped: the network answers the same."""
    files = sorted(folder.glob("pictures/*/*/*.png"), key=lambda file: int(file.stem))
    for file in files[:count]:
        with Image.open(file) as picture:
            write(folder / name / file.parent.name / file.name, np.asarray(picture)[:, ::-1])


def write_common(folder: Path) -> None:
    """`gadget.tflite` with a large part in common, and `pictures`; see above."""
    pictures, scores, arrays = _drawn("relu", COMMON)
    _write_tflite(arrays, folder / "gadget.tflite", "relu")
    _write_pictures(folder, pictures, scores)


def _write_pictures(folder: Path, pictures: np.ndarray, scores: np.ndarray) -> None:
    ordered = np.sort(scores, axis=1)
    surest = np.argsort(ordered[:, -2] - ordered[:, -1])
    for kind in range(CLASSES):
        chosen = [number for number in surest if scores[number].argmax() == kind]
        chosen = chosen[: CALIBRATION + EVALUATION]
        assert len(chosen) == CALIBRATION + EVALUATION
        for place, number in enumerate(chosen):
            split = "evaluation" if place % 3 else "calibration"
            file = folder / "pictures" / split / f"class{kind}" / f"{number}.png"
            write(file, pictures[number])


def _drawn(
    activation: str, common: float = 0.0
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Pictures of patches near one colour, their scores, and weights whose scores are balanced."""
    rng = np.random.default_rng(37)
    colours = rng.integers(30, 226, (1000, 1, 1, 3))
    patches = rng.integers(-30, 31, (1000, SIDE // 4, SIDE // 4, 3))
    pictures = colours + patches.repeat(4, axis=1).repeat(4, axis=2)
    arrays = {
        "w1": rng.normal(0, 1, (CHANNELS, 3)),
        "w2": rng.normal(0, 0.5, (CHANNELS, CHANNELS)),
        "b2": rng.normal(0, 0.1, CHANNELS),
        "w3": rng.normal(0, 1, (CLASSES, CHANNELS)),
    }
    arrays["b1"] = -arrays["w1"].sum(axis=1) / 2
    if not common:
        arrays["w1"][-1], arrays["b1"][-1], arrays["w2"][:, -1] = 0, 0, OUTLIER
    x = pictures / 255 @ arrays["w1"].T + arrays["b1"]
    a = np.tanh(x) if activation == "tanh" else np.maximum(x, 0)
    if common:
        arrays["common"] = np.full((CHANNELS, 3), common / 3)
        arrays["w2"] = np.eye(CHANNELS) - np.roll(np.eye(CHANNELS), 1, axis=1)
        a = a + pictures / 255 @ arrays["common"].T
    b = np.maximum(a @ arrays["w2"].T + arrays["b2"], 0).mean(axis=(1, 2))
    scores = b @ arrays["w3"].T
    arrays["b3"] = -scores.mean(axis=0)
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    return pictures.astype(np.uint8), scores + arrays["b3"], found


def _write_onnx(arrays: dict[str, np.ndarray], path: Path, activation: str) -> None:
    kernels = {name: arrays[name][:, :, None, None] for name in ("w1", "w2")}
    model = onnx_files.with_weights(
        TEXT.replace("ACTIVATION", activation.capitalize()), arrays | kernels
    )
    for node, name in zip(model.graph.node, NAMES, strict=True):
        node.name = name
    onnx_files.save(model, path)


def _write_tflite(arrays: dict[str, np.ndarray], path: Path, activation: str) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    kernels = {name: arrays[name].T[None, None] for name in ("w1", "w2")}

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), name="image")])
    def network(image):
        with tf.name_scope("stem"):
            x = tf.nn.conv2d(image, kernels["w1"], 1, "VALID") + arrays["b1"]
            a = tf.nn.tanh(x) if activation == "tanh" else tf.nn.relu(x)
        if "common" in arrays:
            with tf.name_scope("common"):
                a += tf.nn.conv2d(image, arrays["common"].T[None, None], 1, "VALID")
        with tf.name_scope(MIDDLE):
            b = tf.nn.relu(tf.nn.conv2d(a, kernels["w2"], 1, "VALID") + arrays["b2"])
        with tf.name_scope("head"):
            scores = tf.matmul(tf.reduce_mean(b, [1, 2]), arrays["w3"].T) + arrays["b3"]
        return {"scores": scores}

    concrete = network.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    path.write_bytes(converter.convert())
