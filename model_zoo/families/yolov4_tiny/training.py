"""Training YOLO: boxes by complete IoU, objectness that learns the IoU, classes by cross-entropy.

As Darknet's [yolo] layers do (Bochkovskiy et al., "YOLOv4", 2020): a box belongs to the cell of its
centre and to every anchor whose shape fits it, the best one at least; anchors that are not chosen
but overlap a box well are not blamed. CIoU: Zheng et al., "Distance-IoU Loss", 2020.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np

from int8gate.calibration_data.synthetic.detection_scenes import EASY, HARD, DetectionScenes
from int8gate.model_zoo.families.yolov4_tiny.network import heads
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

STRIDES = (32, 16)  # of the outputs
FITS_FROM = 0.6  # IoU of a box's shape with an anchor's, from which the anchor answers for it
IGNORED_FROM = 0.6  # IoU of a predicted box with a real one, from which it is not blamed
BOX, CLASS = 3.0, 1.0  # weights of the parts of the loss; objectness has 1
EASY_CONTRAST = replace(EASY, contrast=(90, 200))
# A map has one scale for objectness, classes and the logarithms of sizes, which need fine steps:
# logits beyond are held back.
USEFUL_LOGIT, TOO_LARGE = 2.5, 0.2


def draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Detection scenes at the network's size."""
    network = spec.network("compact")
    style = EASY_CONTRAST if stage.easy else HARD
    scenes = DetectionScenes(split, network.size, network.input_shape[-1], stage.samples, style)
    return next(scenes.batches(stage.samples))


def encode(spec: ModelSpec, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Targets from labels (n, G, 5): of each head float32 (n, h, w, A, 6), then the boxes.

    A target's row is the box [ymin, xmin, ymax, xmax] that the anchor answers for, its class and 1,
    or zeros. The boxes are float32 (n, G, 4), empty where a label pads.
    """
    declared = spec.network("compact")
    every = heads(declared)
    real = labels[..., 0] >= 0
    sample, which = np.nonzero(real)
    rows = labels[sample, which]
    extent = rows[:, 3:5] - rows[:, 1:3]
    fits = [_shape_iou(extent, np.array(h.anchors)[:, ::-1] / declared.size) for h in every]
    best = np.maximum.reduce([fit.max(1) for fit in fits])
    targets = []
    for head, fit, stride in zip(every, fits, STRIDES, strict=True):
        cells = [side // stride for side in declared.size]
        target = np.zeros((len(labels), *cells, len(head.anchors), 6), np.float32)
        number, anchor = np.nonzero((fit >= FITS_FROM) | (fit >= best[:, None]))
        centre = (rows[number, 1:3] + rows[number, 3:5]) / 2 * cells
        row, column = np.minimum(centre.astype(int), np.array(cells) - 1).T
        place = sample[number], row, column, anchor
        target[(*place, slice(0, 4))] = rows[number, 1:]
        target[(*place, 4)], target[(*place, 5)] = rows[number, 0], 1
        targets.append(target)
    return (*targets, np.where(real[..., None], labels[..., 1:], 0).astype(np.float32))


def loss(spec: ModelSpec):
    """Sums over the anchors divided by how many answer for a box."""
    import torch

    every = heads(spec.network("compact"))
    size = spec.network("compact").size

    def of_heads(outputs, targets):
        *wanted, boxes = targets
        total = 0.0
        matched = cast(torch.Tensor, sum(target[..., 5].sum() for target in wanted)).clamp(min=1)
        for values, head, target in zip(outputs, every, wanted, strict=True):
            total = total + _of_head(values, head, size, target, boxes)
        excess = sum((torch.relu(v.abs() - USEFUL_LOGIT) ** 2).sum() for v in outputs)
        return (total + TOO_LARGE * excess) / matched

    return of_heads


def _of_head(values, head, size, target, boxes):
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    values = values.reshape(*target.shape[:4], -1)
    predicted = decoded(values, head, size)
    chosen = target[..., 5] > 0
    overlap, distance = _complete_iou(predicted[chosen], target[chosen][..., :4])
    wanted = torch.zeros_like(values[..., 4])
    wanted[chosen] = 0.5 + 0.5 * overlap.detach().clamp(0, 1)
    with torch.no_grad():
        blamed = chosen | (_best_iou(predicted.flatten(1, 3), boxes) < IGNORED_FROM).view_as(chosen)
    objectness = entropy(values[..., 4], wanted, reduction="none") * blamed
    classes = torch.nn.functional.one_hot(target[chosen][..., 4].long(), head.classes)
    named = entropy(values[chosen][..., 5:], classes.float(), reduction="none")
    return BOX * (1 - overlap + distance).sum() + objectness.sum() + CLASS * named.sum()


def decoded(values, head, size):
    """Boxes (n, h, w, A, 4) [ymin, xmin, ymax, xmax] of a map (n, h, w, A, 5 + C), as tensors."""
    import torch

    _, rows, columns, _, _ = values.shape
    anchors = torch.tensor(head.anchors) / torch.tensor(size[::-1])
    stretched = torch.sigmoid(values[..., :2]) * head.scale_x_y - (head.scale_x_y - 1) / 2
    y = (stretched[..., 1] + torch.arange(rows)[:, None, None]) / rows
    x = (stretched[..., 0] + torch.arange(columns)[:, None]) / columns
    half = torch.exp(values[..., 2:4].clamp(-4, 4)) * anchors / 2
    width, height = half[..., 0], half[..., 1]
    return torch.stack([y - height, x - width, y + height, x + width], dim=-1)


def _shape_iou(extent: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU (B, A) of extents (B, 2) with anchors (A, 2) that share their centre."""
    common = np.minimum(extent[:, None], anchors).prod(-1)
    return common / (extent.prod(-1)[:, None] + anchors.prod(-1) - common)


def _complete_iou(boxes, others):
    """IoU (m,) of pairs of boxes, and what CIoU takes off it: distance and difference in shape."""
    import torch

    sides, other_sides = (b[:, 2:] - b[:, :2] for b in (boxes, others))
    low, high = (
        torch.maximum(boxes[:, :2], others[:, :2]),
        torch.minimum(boxes[:, 2:], others[:, 2:]),
    )
    common = (high - low).clamp(min=0).prod(-1)
    iou = common / (sides.prod(-1) + other_sides.prod(-1) - common + 1e-9)
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    apart = (boxes[:, :2] + boxes[:, 2:] - others[:, :2] - others[:, 2:]) / 2
    distance = (apart**2).sum(-1) / ((hull**2).sum(-1) + 1e-9)
    angle = torch.atan2(other_sides[:, 1], other_sides[:, 0]) - torch.atan2(
        sides[:, 1], sides[:, 0]
    )
    shape = 4 / math.pi**2 * angle**2
    with torch.no_grad():
        share = shape / (1 - iou + shape + 1e-9)
    return iou, distance + share * shape


def _best_iou(boxes, others):
    """The best IoU (n, B) of boxes (n, B, 4) with any of others (n, G, 4)."""
    import torch

    boxes, others = boxes[:, :, None], others[:, None]
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, others)]
    return (common / (areas[0] + areas[1] - common + 1e-9)).amax(-1)


YOLO = TrainingTask(
    stages=(
        Stage(epochs=2, samples=6000, easy=True),
        Stage(epochs=9, samples=14000, final=0.0),
    ),
    draw=draw,
    loss=loss,
    encode=encode,
)
