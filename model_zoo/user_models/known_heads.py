"""Heads that many networks share, decoded on the host: what `decode = "NAME"` stands for.

Each function takes the outputs, float32 (n, ...), as its family's users export them, and returns
detections, people or texts as `decoding.py` says. Raises ValueError naming the shapes of other
outputs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models.decoding import CHANNELS_LAST, DETECTION, shape_of
from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.tasks.keypoints import KEYPOINTS

ROUNDING = 0.1  # of quantized numbers 0..1
FARTHEST = 2.0  # of most corners, in parts of the input: some boxes reach out of it


def heatmaps(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Of one person: the peak of each keypoint's map in the last output, (n, h, w, 17) or channels
    first, wherever in the picture the map's places lie evenly; a score is the map's value, 0 or
    more.

    A peak is moved a quarter of a place towards the higher neighbours (`cpn.decoding.peaks`).
    """
    from int8gate.model_zoo.families.cpn.decoding import peaks

    maps = outputs[-1]
    if maps.ndim != 4 or KEYPOINTS not in (maps.shape[1], maps.shape[3]):
        raise ValueError(
            f'decode = "heatmaps": the last output is {shape_of(maps)}, expected a map of each of '
            f"COCO's {KEYPOINTS} keypoints, (n, h, w, {KEYPOINTS}) or channels first: add a "
            "function of your own"
        )
    is_last = maps.shape[3] == KEYPOINTS
    maps = np.asarray(maps if is_last else maps.transpose(CHANNELS_LAST), np.float32)
    points, place = peaks(maps)
    values = maps.reshape(len(maps), -1, KEYPOINTS)
    scores = np.maximum(np.take_along_axis(values, place[:, None], axis=1)[:, 0], 0)
    pixels = (points + 0.5) * (np.array(declared.size) / maps.shape[1:3]) - 0.5
    person = np.concatenate([pixels, scores[..., None]], axis=-1).reshape(len(maps), -1)
    return np.column_stack([scores.mean(axis=1), person])[:, None].astype(np.float32)


def ctdet(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """CenterNet's outputs in its authors' order and layout: heat logits (n, classes, h, w), sizes
    and offsets (n, 2, h, w), x before y, in cells (Zhou et al. 2019, `ctdet_decode`).
    """
    from int8gate.model_zoo.families.centernet.decoding import decode

    if len(outputs) != 3 or [output.shape[1] for output in outputs[1:]] != [2, 2]:
        raise _other_outputs("ctdet", outputs, "heat (n, classes, h, w), wh and reg (n, 2, h, w)")
    heat, sizes, offsets = (output.transpose(CHANNELS_LAST) for output in outputs)
    return decode([heat, sizes[..., ::-1], offsets[..., ::-1]], declared)


def detr(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """DETR's outputs as its authors have them: class logits (n, Q, C + 1), the last "no object",
    and boxes (n, Q, 4), [cx, cy, w, h] 0..1.
    """
    if len(outputs) < 2 or outputs[0].ndim != 3 or outputs[1].shape[-1] != 4:
        raise _other_outputs("detr", outputs, "logits (n, Q, classes + 1) and boxes (n, Q, 4)")
    logits, boxes = (np.asarray(values, np.float64) for values in outputs[:2])
    if boxes.min() < -ROUNDING or boxes.max() > 1 + ROUNDING:
        raise ValueError(
            f'decode = "detr": boxes span {boxes.min():.3g}..{boxes.max():.3g}, expected 0..1: end '
            "the network behind the sigmoid"
        )
    likely = np.exp(logits - logits.max(-1, keepdims=True))
    likely = (likely / likely.sum(-1, keepdims=True))[..., :-1]
    centre, extent = np.split(boxes[..., [1, 0, 3, 2]], 2, axis=-1)
    rows = [likely.argmax(-1)[..., None], likely.max(-1, keepdims=True)]
    rows += [np.clip(centre + side * extent / 2, 0, 1) for side in (-1, 1)]
    return np.concatenate(rows, axis=-1).astype(np.float32)


def corners(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Corners of boxes (n, N, 4) and scores of their classes (n, N, C), in either order: an SSD
    whose graph has decoded its boxes (torchvision's and Ultra-Light-Fast's exports, TensorFlow's).

    The declaration's `head` says what the corners are: "box_order" ("xyxy" or "yxyx"), "box_unit"
    ("fraction" of the input or "pixels" of it), and which score is no class, "background" ("none",
    "first" or "last"). Overlapping boxes of a class are suppressed here.
    """
    from int8gate.model_zoo.families.yolov4_tiny import decoding as on_host

    told = {"box_order": "xyxy", "box_unit": "fraction", "background": "none"}
    told |= declared.arguments.get("head", {})
    boxes, scores = _boxes_and_scores(outputs)
    if scores.min() < -ROUNDING or scores.max() > 1 + ROUNDING:
        raise ValueError(
            f'decode = "corners": scores span {scores.min():.3g}..{scores.max():.3g}, expected '
            "0..1: end the network behind the softmax or sigmoid"
        )
    in_pixels = told["box_unit"] == "pixels"
    if not in_pixels and np.median(np.abs(boxes)) > FARTHEST:
        raise ValueError(
            f'decode = "corners": boxes span {boxes.min():.3g}..{boxes.max():.3g}, expected parts '
            'of the input, 0..1: box_unit = "pixels", or a function of your own for raw offsets'
        )
    boxes = boxes if told["box_order"] == "yxyx" else boxes[..., [1, 0, 3, 2]]
    boxes = boxes / np.tile(np.float32(declared.size), 2) if in_pixels else boxes
    scores = {"none": scores, "first": scores[..., 1:], "last": scores[..., :-1]}[
        told["background"]
    ]
    pictures = np.full((len(boxes), on_host.MOST_DETECTIONS, DETECTION), -1, np.float32)
    for rows, box, of_box in zip(pictures, np.clip(boxes, 0, 1), scores, strict=True):
        found = on_host.suppressed(box, of_box)
        rows[: len(found)] = found
    return pictures


def _boxes_and_scores(outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The boxes, the first output with four columns, and the other one."""
    values = [
        np.asarray(output, np.float32).reshape(len(output), output.shape[1], -1)
        for output in outputs
        if output.ndim == 3 or (output.ndim == 4 and output.shape[2] == 1)
    ]
    of_boxes = [place for place, value in enumerate(values) if value.shape[-1] == 4]
    if len(outputs) != 2 or len(values) != 2 or not of_boxes:
        raise _other_outputs("corners", outputs, "boxes (n, N, 4) and scores (n, N, classes)")
    boxes, scores = values[of_boxes[0]], values[1 - of_boxes[0]]
    if boxes.shape[1] != scores.shape[1]:
        raise _other_outputs("corners", outputs, "as many boxes as scores")
    return boxes, scores


def movenet(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """MoveNet's rows (n, P, 17, 3), [y, x, score] in parts of the input, a person each."""
    points = outputs[0]
    if points.ndim != 4 or points.shape[2:] != (KEYPOINTS, 3):
        raise _other_outputs("movenet", outputs, f"rows (n, people, {KEYPOINTS}, 3)")
    pixels = points[..., :2] * np.float32(declared.size) - 0.5
    scores = points[..., 2:]
    rows = np.concatenate([pixels, scores], axis=-1).reshape(*points.shape[:2], -1)
    return np.concatenate([scores.mean(axis=2), rows], axis=-1).astype(np.float32)


def yolo(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Ultralytics' export without its own suppression: (n, 4 + classes, boxes), [cx, cy, w, h] in
    pixels of the input and the classes' scores 0..1 (YOLOv8 and later).
    """
    from int8gate.model_zoo.families.yolov4_tiny import decoding as on_host

    found = np.asarray(outputs[0], np.float32)
    if found.ndim != 3 or not 4 < found.shape[1] < found.shape[2]:
        raise _other_outputs("yolo", outputs, "one of (n, 4 + classes, boxes)")
    found = found.transpose(0, 2, 1)
    size = np.float32(declared.size)
    centre, half = found[..., [1, 0]] / size, found[..., [3, 2]] / size / 2
    boxes = np.clip(np.concatenate([centre - half, centre + half], axis=-1), 0, 1)
    pictures = np.full((len(found), on_host.MOST_DETECTIONS, DETECTION), -1, np.float32)
    for rows, box, scores in zip(pictures, boxes, found[..., 4:], strict=True):
        kept = on_host.suppressed(box, scores)
        rows[: len(kept)] = kept
    return pictures


def tf_detection(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """What graphs of TensorFlow's object-detection API give: boxes (n, N, 4), scores and classes
    from 1 (n, N), number of detections (n,), in this order.
    """
    from int8gate.model_zoo.families.ssd_mobilenet_v1.graph import decode

    if len(outputs) != 4 or outputs[0].ndim != 3 or outputs[0].shape[-1] != 4:
        raise _other_outputs("tf_detection", outputs, "boxes (n, N, 4), scores, classes, count")
    return decode(outputs, declared)


def posenet(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The five outputs of PoseNet's graph for several people; see `posenet.decoding`.

    A graph may resize its pictures: the maps tell the size that their pixels are of.
    """
    from int8gate.model_zoo.families.posenet.decoding import decode
    from int8gate.model_zoo.families.posenet.network import STRIDE

    inner = tuple((side - 1) * STRIDE + 1 for side in outputs[0].shape[1:3])
    return decode(outputs, replace(declared, size=inner, picture=declared.size))


def ctc(outputs: list[np.ndarray], declared: Network, inputs: list[np.ndarray]) -> np.ndarray:
    """Texts (n,) of the likeliest symbol at each step: repeats are one, blanks are none (Graves et
    al. 2006, best path decoding).

    Of the first output, logits or probabilities (n, t, c), or (t, 1, c) of each sample. `classes`
    of the declaration are the symbols in the order of the columns, without the blank, which its key
    `blank` puts "first" or "last".
    """
    scores, samples = outputs[0], len(inputs[0])
    if scores.ndim == 3 and scores.shape[1] == 1 and len(scores) != samples:
        scores = scores.reshape(samples, -1, scores.shape[2])  # time first, sample after sample
    symbols = declared.arguments["class_names"]
    is_first = declared.arguments["head"]["blank"] == "first"
    expected = f"scores (n, steps, {len(symbols) + 1}) of {len(symbols)} classes and a blank"
    if scores.ndim != 3 or scores.shape[2] != len(symbols) + 1:
        is_short = scores.ndim == 3 and scores.shape[2] == len(symbols) + 2
        space = ": is a space the last class, as PaddleOCR adds it?" if is_short else ""
        raise ValueError(f"{_other_outputs('ctc', outputs, expected)}{space}")
    refuse_not_finite(scores, "read", infinity=True)
    best = scores.argmax(axis=2)
    blank = 0 if is_first else len(symbols)
    is_read = (best != blank) & (np.diff(best, axis=1, prepend=-1) != 0)
    spelled = ["", *symbols] if is_first else symbols
    rows = zip(best, is_read, strict=True)
    return np.array(["".join(spelled[place] for place in row[read]) for row, read in rows], str)


def _other_outputs(name: str, outputs: list[np.ndarray], expected: str) -> ValueError:
    given = ", ".join(map(shape_of, outputs))
    return ValueError(f'decode = "{name}": the outputs are {given}, expected {expected}')
