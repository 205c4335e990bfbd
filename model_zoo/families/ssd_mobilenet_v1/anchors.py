"""The anchors of SSD (Liu et al. 2016), as the object-detection API lays them, and its box coding.

Anchors and boxes are [ymin, xmin, ymax, xmax] in parts of the picture's height and width.
"""

from __future__ import annotations

import numpy as np

STRIDES = (16, 32, 64, 128, 256, 512)  # of the six feature maps
SCALES = (*np.linspace(0.2, 0.95, len(STRIDES)).tolist(), 1.0)
RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)  # width to height
LOWEST_LAYER = ((0.1, 1.0), (SCALES[0], 2.0), (SCALES[0], 1 / 2))  # reduce_boxes_in_lowest_layer
CODING = np.array([10, 10, 5, 5], np.float32)  # scale factors of ty, tx, th, tw


def anchors(size: tuple[int, int]) -> np.ndarray:
    """Every anchor for an input of `size` (h, w): float32 (A, 4); 1,917 at 300x300.

    In the order of the network's outputs: map by map, row by row, column by column, shape by shape.
    """
    return np.concatenate(
        [
            _of_map(level, [-(-side // stride) for side in size])
            for level, stride in enumerate(STRIDES)
        ]
    )


def shapes(level: int) -> tuple[tuple[float, float], ...]:
    """Scale and aspect ratio of each anchor that stands at every place of a map."""
    if level == 0:
        return LOWEST_LAYER
    interpolated = (SCALES[level] * SCALES[level + 1]) ** 0.5
    return (*((SCALES[level], ratio) for ratio in RATIOS), (interpolated, 1.0))


def encode(boxes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) as [ty, tx, th, tw] (..., 4) relative to the anchors `at` (..., 4)."""
    (centre, extent), (middle, side) = _centre_extent(boxes), _centre_extent(at)
    return np.concatenate([(centre - middle) / side, np.log(extent / side)], axis=-1) * CODING


def decode(codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The inverse of `encode`."""
    middle, side = _centre_extent(at)
    codes = codes / CODING
    centre = codes[..., :2] * side + middle
    half = np.exp(codes[..., 2:]) * side / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def _of_map(level: int, cells: list[int]) -> np.ndarray:
    scales, ratios = np.array(shapes(level)).T
    extent = np.stack([scales / ratios**0.5, scales * ratios**0.5], axis=-1)
    rows, columns = ((np.arange(count) + 0.5) / count for count in cells)
    centre = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None]
    found = np.concatenate([centre - extent / 2, centre + extent / 2], axis=-1)
    return found.reshape(-1, 4).astype(np.float32)


def _centre_extent(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
