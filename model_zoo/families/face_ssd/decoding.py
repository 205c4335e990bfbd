"""The face detector's outputs as detections, on the host: boxes, scores, suppression."""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.boxes import standing
from int8gate.model_zoo.families.ssd_mobilenet_v1 import anchors as ssd_anchors
from int8gate.model_zoo.spec import Network

OVERLAP = 0.5  # intersection over union from which the lesser of two boxes of a class goes
LEAST_SCORE = 0.01
MOST_DETECTIONS = 20  # of a picture
CANDIDATES = 200  # boxes of a class that are looked at, the best ones


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Box codes (n, A, 4) and class logits (n, A, C + 1) as float32 (n, MOST_DETECTIONS, 6).

    Rows are [class from 0, score, ymin, xmin, ymax, xmax] by falling score, boxes in parts of the
    picture; padding rows have score -1.
    """
    codes, logits = outputs
    boxes = ssd_anchors.decode(codes.astype(np.float64), ssd_anchors.anchors(declared.size))
    scores = 1 / (1 + np.exp(-logits[..., 1:].astype(np.float64)))
    return np.stack([_of_picture(*pair) for pair in zip(boxes.clip(0, 1), scores, strict=True)])


def _of_picture(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Detections of one picture from boxes (A, 4) and scores (A, C)."""
    found = []
    for number, of_class in enumerate(scores.T):
        order = np.argsort(-of_class, kind="stable")[:CANDIDATES]
        order = order[of_class[order] >= LEAST_SCORE]
        kept = order[standing(boxes[order], OVERLAP)]
        numbers = np.full(len(kept), number)
        found.append(np.column_stack([numbers, of_class[kept], boxes[kept]]))
    rows = np.concatenate(found)
    rows = rows[np.argsort(-rows[:, 1], kind="stable")][:MOST_DETECTIONS]
    padded = np.full((MOST_DETECTIONS, 6), -1, np.float32)
    padded[: len(rows)] = rows
    return padded
