"""Training the face detector: the targets and losses of `ssd_mobilenet_v1`, with PyTorch."""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.faces import EASY, HARD, FaceScenes
from int8gate.model_zoo.families.ssd_mobilenet_v1.training import FOCUS, encode
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask


def draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Scenes and labels (n, G, 5) at the network's size."""
    network = spec.network("compact")
    style = EASY if stage.easy else HARD
    scenes = FaceScenes(split, network.size, network.input_shape[-1], stage.samples, style)
    return next(scenes.batches(stage.samples))


def targets(spec: ModelSpec, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `encode`, the classes int64."""
    boxes, classes = encode(spec, labels)
    return boxes, classes.astype(np.int64)


def loss(spec: ModelSpec):
    """Smooth L1 of the box codes and focal loss of the logits, over the matched anchors' number."""
    import torch
    from torch.nn import functional

    def total(outputs, wanted):
        (codes, logits), (boxes, classes) = outputs, wanted
        matched = boxes[..., 4]
        count = matched.sum().clamp(min=1)
        distance = functional.smooth_l1_loss(codes, boxes[..., :4], reduction="none").sum(-1)
        likely = functional.one_hot(classes, logits.shape[-1]).to(logits.dtype)
        entropy = functional.binary_cross_entropy_with_logits(logits, likely, reduction="none")
        missed = (likely - torch.sigmoid(logits)).abs()
        return ((distance * matched).sum() + (missed**FOCUS * entropy).sum()) / count

    return total


TRAINING = TrainingTask(
    stages=(
        Stage(epochs=4, samples=6000, easy=True),
        Stage(epochs=12, samples=12000, final=0.0),
    ),
    draw=draw,
    loss=loss,
    encode=targets,
)
