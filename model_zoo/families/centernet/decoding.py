"""From CenterNet's maps to detections, on the host: peaks of the heat map, no suppression needed.

As `ctdet_decode` of Zhou et al. (2019): a cell is a centre where no neighbour of its 3x3 has more
heat of the same class; the surest centres give boxes by the offset and the size in their cell.
Unlike there, of neighbours with equal heat, which int8 makes common, only the first is a centre.
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.spec import Network

MOST_DETECTIONS = 100
LEAST_SCORE = 0.02


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Float32 (n, K, 6), rows [class, score, ymin, xmin, ymax, xmax], by falling score.

    From heat logits (n, h, w, classes), sizes and offsets (n, h, w, 2) in cells; boxes in parts of
    the picture, cut to it. Score -1 pads.
    """
    heat, sizes, offsets = (output.astype(np.float32) for output in outputs)
    count, rows, columns, classes = heat.shape
    scores = np.where(_is_peak(heat), _sigmoid(heat), 0)
    scores = scores.reshape(count, -1)
    most = min(MOST_DETECTIONS, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    score = np.take_along_axis(scores, order, axis=1)
    cell, category = np.divmod(order, classes)
    corner = np.stack(np.divmod(cell, columns), axis=-1).astype(np.float32)
    sample = np.arange(count)[:, None]
    centre = corner + offsets.reshape(count, -1, 2)[sample, cell]
    half = np.maximum(sizes.reshape(count, -1, 2)[sample, cell], 0) / 2
    extent = np.array([rows, columns], np.float32)
    low, high = np.clip((centre - half) / extent, 0, 1), np.clip((centre + half) / extent, 0, 1)
    found = np.concatenate([category[..., None], score[..., None], low, high], axis=-1)
    found[score < LEAST_SCORE] = -1
    return found.astype(np.float32)


def _is_peak(heat: np.ndarray) -> np.ndarray:
    """Where a value of maps (n, h, w, c) exceeds its eight neighbours, bool; see above for ties."""
    _, rows, columns, _ = heat.shape
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    found = np.ones(heat.shape, bool)
    for down, right in np.ndindex(3, 3):
        neighbour = padded[:, down : down + rows, right : right + columns]
        comes_first = (down, right) < (1, 1)
        found &= heat > neighbour if comes_first else heat >= neighbour
    return found


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * values))  # no overflow
