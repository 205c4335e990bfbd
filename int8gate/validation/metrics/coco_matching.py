"""Which detection found which object: COCO's matching, as one row of numbers for each picture.

pycocotools matches, with its own IoU and OKS, from arrays in memory. What it finds in a picture is
kept as R records (class, score, hits), so that a row (3 R,) can be stored, and resampled:

    a detection   its class, its score, and `hits`: bit t is set where it is a true positive at
                  the t-th of COCO's ten thresholds (0.50, 0.55, ... 0.95)
    an object     its class and `OBJECT` in place of a score
    nothing       class `PADDING`

R is max(K, G) + G for K detections and G objects: room for one detection of every object.
A person with keypoints has class 0.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any, cast

import numpy as np

from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.tasks.keypoints import KEYPOINTS

THRESHOLDS = 10
PADDING = -1.0
OBJECT = -1.0  # detections score 0 or more
RECORD = 3  # class, score, hits
MOST_BOXES, MOST_POSES = 100, 20  # COCO's largest `maxDets`: of one class in one picture


def match_boxes(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows (n, 3 R) float64 of decoded detections, matched by the IoU of their boxes.

    Parameters
    ----------
    outputs : (n, K, 6) of [class, score, ymin, xmin, ymax, xmax]; score < 0 is padding.
    labels : (n, G, 5) of [class, ymin, xmin, ymax, xmax]; class -1 is padding.

    A detection turned inside out (ymax < ymin) has an empty box, which finds nothing.
    Raises ValueError on a value that is not finite, a class that is not whole, an object with an
    empty box, and on shapes that do not fit.
    """
    outputs, labels = _checked(outputs, labels, columns=(6, 5))
    found, objects = ~(outputs[..., 1] < 0), labels[..., 0] != PADDING
    _check_values(outputs[found], labels[objects])
    classes = np.concatenate([outputs[found][:, 0], labels[objects][:, 0]])
    odd = (classes < 0) | (classes % 1 != 0)
    if odd.any():
        wrong = classes[odd][0]
        raise ValueError(f"class {wrong:g} of a detection or label is not a whole number from 0")
    boxes = _x_y_width_height(labels[..., 1:])
    empty = (boxes[objects][:, 2:] <= 0).any(axis=1)
    if empty.any():
        wrong = labels[objects][empty][0].tolist()
        raise ValueError(f"label {wrong} has an empty box; expected class, ymin, xmin, ymax, xmax")
    return _match(
        "bbox",
        MOST_BOXES,
        detections=(found, outputs[..., 0], outputs[..., 1]),
        detected={"bbox": _x_y_width_height(outputs[..., 2:])},
        objects=(objects, labels[..., 0]),
        labelled={"bbox": boxes, "area": boxes[..., 2] * boxes[..., 3]},
    )


def match_poses(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows (n, 3 R) float64 of decoded people, matched by object keypoint similarity (OKS).

    Parameters
    ----------
    outputs : (n, P, 52) of [score, 17 x (y, x, keypoint score)], pixels; score < 0 is padding.
    labels : (n, G, 52) of [area, 17 x (y, x, v)], pixels and px²; area 0 is padding.

    COCO overlooks people of whom no keypoint is labelled, and detections within their boxes. These
    labels hold no box to tell, so such a person is refused: leave it out.
    Raises ValueError on that, on a value that is not finite, and on shapes that do not fit.
    """
    columns = 1 + 3 * KEYPOINTS
    outputs, labels = _checked(outputs, labels, columns=(columns, columns))
    found, people = ~(outputs[..., 0] < 0), labels[..., 0] != 0
    _check_values(outputs[found], labels[people])
    if np.any(labels[people][:, 0] < 0):
        raise ValueError(f"a person's area is {labels[people][:, 0].min():g} px²: it is above 0")
    visible = np.count_nonzero(labels[..., 3::3] > 0, axis=-1)
    if np.any(visible[people] == 0):
        raise ValueError("a labelled person has no visible keypoint (v > 0): leave it out")
    no_box = np.zeros((*people.shape, 4))  # OKS reads it of people without keypoints only
    return _match(
        "keypoints",
        MOST_POSES,
        detections=(found, np.zeros(found.shape), outputs[..., 0]),
        detected={"keypoints": outputs[..., 1:]},
        objects=(people, np.zeros(people.shape)),
        labelled={
            "keypoints": labels[..., 1:],  # y before x: OKS treats them alike
            "num_keypoints": visible,
            "area": labels[..., 0],
            "bbox": no_box,
        },
    )


def _checked(outputs, labels, columns: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64; raises ValueError if they are not of the same pictures."""
    shapes = np.shape(outputs), np.shape(labels)
    fit = all(len(shape) == 3 and shape[2] == c for shape, c in zip(shapes, columns, strict=True))
    if not fit or shapes[0][0] != shapes[1][0]:
        expected = f"(n, detections, {columns[0]}) and (n, objects, {columns[1]})"
        raise ValueError(f"outputs {shapes[0]} do not fit labels {shapes[1]}: expected {expected}")
    return np.asarray(outputs, np.float64), np.asarray(labels, np.float64)


def _check_values(found: np.ndarray, objects: np.ndarray) -> None:
    refuse_not_finite(found)
    if not np.isfinite(objects).all():
        raise ValueError("labels hold NaN or infinity: mend the data set")


def _x_y_width_height(corners: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) from corners (..., 4) of [ymin, xmin, ymax, xmax]."""
    low, high = corners[..., 1::-1], corners[..., 3:1:-1]
    return np.concatenate([low, np.maximum(high - low, 0)], axis=-1)


def _match(kind: str, most: int, detections, detected: dict, objects, labelled: dict) -> np.ndarray:
    """Rows by pycocotools; `detected` and `labelled` are what it reads of annotations, (n, m, ...).

    No object is ignored and no area is out of range, so neither is any detection.
    """
    found, found_classes, scores = detections
    present, classes = objects
    slots = max(found.shape[1], present.shape[1])
    records = np.zeros((len(found), slots + present.shape[1], RECORD))
    records[..., 0] = PADDING
    records[:, slots:, 0] = np.where(present, classes, PADDING)
    records[:, slots:, 1] = np.where(present, OBJECT, 0)
    truth = _annotations(present, {"category_id": classes, "iscrowd": 0 * classes} | labelled)
    area = np.zeros(found.shape)
    guesses = {"category_id": found_classes, "score": scores, "area": area} | detected
    used = np.zeros(len(found), int)
    bits = 2.0 ** np.arange(THRESHOLDS)
    for matched in _evaluate(kind, most, truth, _annotations(found, guesses)):
        picture, count = matched["image_id"], len(matched["dtScores"])
        rows = records[picture, used[picture] : used[picture] + count]
        rows[:, 0] = matched["category_id"]
        rows[:, 1] = matched["dtScores"]
        rows[:, 2] = bits @ (matched["dtMatches"] > 0)
        used[picture] += count
    return records.reshape(len(records), -1)


def _annotations(where: np.ndarray, columns: dict[str, np.ndarray]) -> list[dict]:
    """One dictionary for each entry of `where` (n, m) that holds; ids from 1: 0 says unmatched."""
    values = [column[where].tolist() for column in columns.values()]
    numbered = enumerate(zip(np.nonzero(where)[0].tolist(), *values, strict=True), start=1)
    names = ["image_id", *columns]
    return [{"id": i, **dict(zip(names, entry, strict=True))} for i, entry in numbered]


def _evaluate(kind: str, most: int, truth: list[dict], guesses: list[dict]) -> list[dict]:
    """pycocotools' `evalImgs` of the pictures and classes that have any annotation."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):  # it reports its progress with print
        sides = COCO(), COCO()
        for side, annotations in zip(sides, (truth, guesses), strict=True):
            dataset: Any = {
                "images": [{"id": i} for i in {a["image_id"] for a in truth + guesses}],
                "categories": [{"id": c} for c in {a["category_id"] for a in truth + guesses}],
                "annotations": annotations,
            }
            side.dataset = dataset
            side.createIndex()
        evaluation = COCOeval(*sides, kind)
        evaluation.params.maxDets = [most]
        evaluation.params.areaRng = evaluation.params.areaRng[:1]  # all
        evaluation.evaluate()
    return [cast(dict, matched) for matched in evaluation.evalImgs if matched is not None]
