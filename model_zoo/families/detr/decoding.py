"""DETR's outputs as detections, on the host: no suppression, for no object is found twice."""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.spec import Network


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Class logits (n, Q, C + 1) and boxes (n, Q, 4) as float32 rows (n, Q, 6).

    The last class is "no object"; boxes are [cx, cy, w, h] before the sigmoid. Rows are [class,
    score, ymin, xmin, ymax, xmax] with boxes in parts of the picture: the likeliest class of each
    query and its probability, as the authors' post-processing has it.
    """
    logits, boxes = (np.asarray(values, np.float64) for values in outputs)
    likely = np.exp(logits - logits.max(-1, keepdims=True))
    likely = (likely / likely.sum(-1, keepdims=True))[..., :-1]
    centre, extent = np.split(1 / (1 + np.exp(-boxes[..., [1, 0, 3, 2]])), 2, axis=-1)
    rows = [likely.argmax(-1)[..., None], likely.max(-1, keepdims=True)]
    rows += [centre - extent / 2, centre + extent / 2]
    return np.concatenate(rows, axis=-1).astype(np.float32)
