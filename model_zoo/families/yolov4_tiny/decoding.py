"""From the raw maps of [yolo] layers to detections, on the host: Darknet's decoding, then NMS.

A map (n, h, w, A x (5 + C)) holds, of each anchor, tx, ty, tw, th, objectness and the classes'
logits. Sizes are relative to anchors (Redmon and Farhadi, "YOLOv3", 2018); centres are stretched by
`scale_x_y` so that they reach a cell's border (Bochkovskiy et al., "YOLOv4", 2020).
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.boxes import standing

MOST_DETECTIONS = 100  # of a picture: COCO counts no more
LEAST_SCORE = 0.005  # Darknet's threshold when it measures mAP
CANDIDATES = 300  # of a picture, surest first, that suppression looks at
OVERLAP = 0.45  # IoU from which the lesser of two boxes of a class goes: Darknet's `nms`
LARGEST_EXPONENT = 10.0  # of a size: exp stays finite whatever the weights are


def detections(maps: list[np.ndarray], heads: list, size: tuple[int, int]) -> np.ndarray:
    """Float32 (n, 100, 6), rows [class, score, ymin, xmin, ymax, xmax], parts of the picture.

    `size` is the (h, w) that the anchors' pixels refer to. Rows by falling score; score -1 pads.
    """
    decoded = [boxes_and_scores(m, h, size) for m, h in zip(maps, heads, strict=True)]
    boxes, scores = (np.concatenate(parts, axis=1) for parts in zip(*decoded, strict=True))
    found = np.full((len(boxes), MOST_DETECTIONS, 6), -1, np.float32)
    for rows, box, score in zip(found, boxes, scores, strict=True):
        kept = suppressed(box, score)
        rows[: len(kept)] = kept
    return found


def boxes_and_scores(values: np.ndarray, head, size: tuple[int, int]) -> tuple:
    """Boxes (n, B, 4) [ymin, xmin, ymax, xmax] and scores (n, B, classes) of one map, B = h w A."""
    count, rows, columns, _ = values.shape
    anchors = np.array(head.anchors, np.float32)
    values = values.reshape(count, rows, columns, len(anchors), 5 + head.classes)
    values = values.astype(np.float32)
    squashed = values if head.new_coords else _sigmoid(values)
    stretched = squashed[..., :2] * head.scale_x_y - (head.scale_x_y - 1) / 2
    x = (stretched[..., 0] + np.arange(columns)[None, None, :, None]) / columns
    y = (stretched[..., 1] + np.arange(rows)[None, :, None, None]) / rows
    if head.new_coords:
        growth = (2 * values[..., 2:4]) ** 2
    else:
        growth = np.exp(np.clip(values[..., 2:4], -LARGEST_EXPONENT, LARGEST_EXPONENT))
    half = growth * anchors / np.float32(2 * np.array(size[::-1]))
    half_width, half_height = half[..., 0], half[..., 1]
    boxes = np.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=-1)
    scores = squashed[..., 4:5] * squashed[..., 5:]
    return (
        np.clip(boxes, 0, 1).reshape(count, -1, 4),
        scores.reshape(count, -1, head.classes),
    )


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * values))  # no overflow


def suppressed(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rows (k, 6) of one picture, surest first: a box goes that overlaps a surer one of its class.

    Boxes (B, 4), scores (B, classes).
    """
    place, category = np.nonzero(scores > LEAST_SCORE)
    sure = scores[place, category]
    order = np.argsort(-sure, kind="stable")[:CANDIDATES]
    place, category, sure = place[order], category[order], sure[order]
    boxes = boxes[place]
    kept = np.flatnonzero(standing(boxes, OVERLAP, category))[:MOST_DETECTIONS]
    return np.column_stack([category[kept], sure[kept], boxes[kept]])
