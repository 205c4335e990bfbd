"""From CPN's heatmaps to one person: the decoding of Chen et al. 2018 (section 3.4 of the paper).

Heatmaps are smoothed by a Gaussian. The place of a keypoint is that of the highest value, moved a
quarter of a place towards the second highest one; its score is the value there before smoothing.
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.spec import Network

STRIDE = 4  # pixels of the input from one place of a heatmap to the next
OFFSET = 0.25  # of a place
SMOOTHING = 1.0  # standard deviation in places: two thirds of what the network was trained to draw


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The person of each crop, float32 (n, 1, 52): score, then y, x, score of each keypoint.

    `outputs` are [heatmaps (n, h/4, w/4, 17)]; y and x are pixels of the crop, scores at least 0,
    the person's their mean. Raises ValueError where the heatmaps do not fit the declared size.
    """
    from scipy.ndimage import gaussian_filter

    heatmaps = np.asarray(outputs[0], np.float32)
    expected = (*(side // STRIDE for side in declared.size), declared.classes)
    if heatmaps.shape[1:] != expected:
        raise ValueError(
            f"cpn is decoded from heatmaps (n, {', '.join(map(str, expected))}), found "
            f"{heatmaps.shape}: pass the network's output, channels last"
        )
    smooth = gaussian_filter(heatmaps, (0, SMOOTHING, SMOOTHING, 0), mode="nearest")
    points, place = peaks(smooth)
    values = heatmaps.reshape(len(heatmaps), -1, declared.classes)
    scores = np.maximum(np.take_along_axis(values, place[:, None], axis=1)[:, 0], 0)
    picture = np.array(declared.picture or declared.size)
    pixels = (points + 0.5) * (picture / np.array(heatmaps.shape[1:3])) - 0.5
    person = np.concatenate([pixels, scores[..., None]], axis=-1).reshape(len(heatmaps), -1)
    return np.column_stack([scores.mean(axis=1), person])[:, None].astype(np.float32)


def peaks(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of maps (n, h, w, k): row and column of each peak, moved (n, k, 2), and its place (n, k).

    A place is a number in 0..h w, row by row.
    """
    n, height, width, keypoints = heatmaps.shape
    values = heatmaps.reshape(n, height * width, keypoints).copy()
    first = values.argmax(axis=1)
    np.put_along_axis(values, first[:, None], -np.inf, axis=1)
    second = values.argmax(axis=1)
    top, runner_up = (np.stack(np.divmod(place, width), axis=-1) for place in (first, second))
    away = (runner_up - top).astype(np.float32)
    length = np.linalg.norm(away, axis=-1, keepdims=True)  # at least 1: two different places
    return top + OFFSET * away / length, first
