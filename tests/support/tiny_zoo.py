"""A zoo of tiny classifiers for the tests: real networks, real pictures, seconds to convert.

The worker process imports it for the builders, `tiny_zoo_plugin` puts it in the place of the zoo.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from int8gate.calibration_data.preprocessing import SIGNED_UNIT
from int8gate.model_zoo.spec import ModelSpec, Network

SIZE = (32, 32)
FILTERS = (8, 16)


def declare(name: str, builder: str = "tiny_zoo:build", **arguments) -> ModelSpec:
    """A classifier of 32x32x3 pictures into the 10 digits, the same in both profiles."""
    network = Network(builder, (*SIZE, 3), SIZE, 10, arguments=arguments)
    return ModelSpec(
        name=name,
        task="classification",
        source_format="keras",
        preprocessing=SIGNED_UNIT,
        compact=network,
        full=network,
        paper="none: a test",
    )


def dynamic(spec: ModelSpec) -> ModelSpec:
    """The same network, declared for pictures of any size."""
    network = replace(spec.compact, input_shape=(None, None, 3))
    return replace(spec, compact=network, full=network)


TINY = declare("tiny")
STRETCHED = declare("stretched", outlier=1e5)
ABORTS = declare("aborts", "tiny_zoo:abort")
MODELS = {spec.name: spec for spec in (TINY, STRETCHED, ABORTS)}


def build(input_shape, classes, outlier=0.0, pool=False):
    """Two convolutions and a dense layer; `outlier` stretches the range of the dense layer's input.

    A channel of that magnitude which no class looks at changes nothing in float, and leaves the
    other channels one level of an int8 tensor.
    """
    import keras

    layers = keras.layers
    image = keras.Input(input_shape)
    x = image
    for number, filters in enumerate(FILTERS):
        x = layers.Conv2D(filters, 3, 2, "same", activation="relu", name=f"conv{number}")(x)
    x = layers.GlobalAveragePooling2D()(x) if pool or None in input_shape else layers.Flatten()(x)
    if outlier:
        x = layers.Concatenate()([x, layers.Rescaling(outlier)(x[:, :1]) + outlier])
    return keras.Model(image, layers.Dense(classes, "softmax", name="dense")(x), name="tiny")


def abort(input_shape, classes):
    """Not a network: what a converter does to its process on a bad day."""
    os.write(2, b"F0000 check failed: tiny network\n")
    os.abort()


def fit(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of TINY by name: random convolutions, and ridge regression on what they see."""
    rng = np.random.default_rng(seed)
    weights, channels = {}, 3
    for number, filters in enumerate(FILTERS):
        kernel = rng.normal(0, np.sqrt(2 / (9 * channels)), (3, 3, channels, filters))
        weights[f"conv{number}/kernel"] = kernel.astype(np.float32)
        weights[f"conv{number}/bias"] = np.full(filters, 0.1, np.float32)
        channels = filters
    pictures, labels = digit_pictures("train")
    seen = _features(SIGNED_UNIT.apply(pictures), weights)
    mean = seen.mean(axis=0)
    seen, wanted = seen - mean, np.eye(10)[labels] - 0.1
    gram = seen @ seen.T + 30 * np.eye(len(seen))
    kernel = 12 * seen.T @ np.linalg.solve(gram, wanted)  # 12: a confident softmax
    weights["dense/kernel"] = kernel.astype(np.float32)
    weights["dense/bias"] = (-mean @ kernel).astype(np.float32)
    return weights


def _features(images: np.ndarray, weights: dict) -> np.ndarray:
    """What the dense layer of TINY gets, (n, features)."""
    for number in range(len(FILTERS)):
        padded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))  # "same" at stride 2, even sides
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
        found = np.einsum("nhwcij,ijcf->nhwf", windows, weights[f"conv{number}/kernel"])
        images = np.maximum(found + weights[f"conv{number}/bias"], 0)
    return images.reshape(len(images), -1)


def digit_pictures(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits in the colours of paper: uint8 (n, 32, 32, 3) and labels (n,)."""
    from int8gate.calibration_data.synthetic.picture_sources import digits

    small, labels, _ = digits(split)
    large = np.kron(small, np.ones((4, 4), np.float32))[..., None]
    return np.uint8(255 * (1 - large * (1.0, 0.9, 0.6))), labels


def store_weights(directory: Path, seed: int = 0) -> Path:
    """`directory` as `--weights-dir` takes it: the same weights for TINY, STRETCHED and ABORTS."""
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    weights = fit(seed)
    save_file(weights, directory / "tiny.safetensors")
    save_file(weights, directory / "aborts.safetensors")
    ignored = np.zeros((1, 10), np.float32)
    weights["dense/kernel"] = np.concatenate([weights["dense/kernel"], ignored])
    save_file(weights, directory / "stretched.safetensors")
    return directory


def store_pictures(directory: Path, count: int | None = None) -> Path:
    """`directory` as `--data-dir` takes it: the digits that `fit` did not see."""
    from PIL import Image

    pictures, labels = digit_pictures("evaluation")
    for number, (picture, label) in enumerate(zip(pictures[:count], labels, strict=False)):
        folder = directory / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return directory
