"""Darknet's layers in plain loops, from the text of a cfg and the floats of a weights file.

Written from `parser.c`, `convolutional_layer.c`, `maxpool_layer.c`, `route_layer.c` and
`upsample_layer.c`, not from the importer: what the importer is compared with.
"""

from __future__ import annotations

import struct
from math import sqrt

import numpy as np


def weights_file(floats: np.ndarray, version=(0, 2, 5), seen: int = 64) -> bytes:
    """A file's bytes: its header as Darknet of that version writes it, then the floats."""
    long = version[0] * 10 + version[1] >= 2 and max(version[:2]) < 1000
    return (
        struct.pack("<iii", *version)
        + struct.pack("<q" if long else "<i", seen)
        + (np.asarray(floats, "<f4").tobytes())
    )


def forward(sections: list[tuple[str, dict]], floats: np.ndarray, image: np.ndarray) -> list:
    """Every layer's output (c, h, w), float64; of [yolo], its input as it is."""
    outputs, take = [], iter(np.asarray(floats, np.float64))
    for number, (kind, options) in enumerate(sections[1:]):
        before = outputs[-1] if outputs else image.astype(np.float64)
        if kind == "convolutional":
            outputs.append(convolution(before, options, take))
        elif kind == "maxpool":
            outputs.append(maxpool(before, options))
        elif kind == "upsample":
            outputs.append(upsample(before, options.get("stride", 2)))
        elif kind == "route":
            outputs.append(route(outputs, number, options))
        elif kind == "shortcut":
            other = outputs[number + options["from"]]
            outputs.append(activated(before + other, options.get("activation", "linear")))
        elif kind == "avgpool":
            outputs.append(before.mean(axis=(1, 2))[:, None, None])
        else:
            outputs.append(before)
    assert next(take, None) is None, "the floats are more than the layers take"
    return outputs


def convolution(before: np.ndarray, options: dict, take) -> np.ndarray:
    filters, size, stride = options["filters"], options["size"], options.get("stride", 1)
    groups = options.get("groups", 1)
    padding = size // 2 if options.get("pad") else options.get("padding", 0)
    channels, height, width = before.shape
    biases = [next(take) for _ in range(filters)]
    if options.get("batch_normalize"):
        scales, mean, variance = ([next(take) for _ in range(filters)] for _ in range(3))
    per_group = channels // groups
    kernel = np.array([next(take) for _ in range(filters * per_group * size * size)])
    kernel = kernel.reshape(filters, per_group, size, size)
    rows = (height + 2 * padding - size) // stride + 1
    columns = (width + 2 * padding - size) // stride + 1
    found = np.zeros((filters, rows, columns))
    for f in range(filters):
        first = f // (filters // groups) * per_group
        for i in range(rows):
            for j in range(columns):
                total = 0.0
                for y in range(size):
                    for x in range(size):
                        at, to = i * stride + y - padding, j * stride + x - padding
                        if 0 <= at < height and 0 <= to < width:
                            total += before[first : first + per_group, at, to] @ kernel[f, :, y, x]
                if options.get("batch_normalize"):
                    total = (total - mean[f]) / sqrt(variance[f] + 0.00001) * scales[f]
                found[f, i, j] = total + biases[f]
    return activated(found, options.get("activation", "logistic"))


def maxpool(before: np.ndarray, options: dict) -> np.ndarray:
    stride = options.get("stride", 1)
    size = options.get("size", stride)
    padding = options.get("padding", size - 1)
    channels, height, width = before.shape
    rows, columns = ((side + padding - size) // stride + 1 for side in (height, width))
    found = np.full((channels, rows, columns), -np.inf)
    for i in range(rows):
        for j in range(columns):
            for y in range(size):
                for x in range(size):
                    at, to = i * stride + y - padding // 2, j * stride + x - padding // 2
                    if 0 <= at < height and 0 <= to < width:
                        found[:, i, j] = np.maximum(found[:, i, j], before[:, at, to])
    return found


def upsample(before: np.ndarray, stride: int) -> np.ndarray:
    channels, height, width = before.shape
    found = np.zeros((channels, height * stride, width * stride))
    for i in range(height * stride):
        for j in range(width * stride):
            found[:, i, j] = before[:, i // stride, j // stride]
    return found


def route(outputs: list, number: int, options: dict) -> np.ndarray:
    parts, part = options.get("groups", 1), options.get("group_id", 0)
    taken = []
    for layer in map(int, str(options["layers"]).split(",")):
        output = outputs[layer if layer >= 0 else number + layer]
        share = len(output) // parts
        taken.extend(output[part * share + k] for k in range(share))
    return np.stack(taken)


def activated(values: np.ndarray, name: str) -> np.ndarray:
    return {
        "linear": lambda x: x,
        "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
        "relu": lambda x: np.where(x > 0, x, 0),
        "logistic": lambda x: 1 / (1 + np.exp(-x)),
        "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    }[name](values)
