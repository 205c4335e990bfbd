"""Training PoseNet on scenes of drawn people (the losses of PersonLab, Papandreou et al. 2018).

A keypoint's heatmap target is 1 within `DISK` pixels of the network's input. Offsets and
displacements are learnt within `NEIGHBOURHOOD`, where the decoder may look when a displacement led
it astray; beyond the disk they count less. Offsets count by how strict COCO's OKS is with their
keypoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from int8gate.calibration_data.synthetic.figure_drawing import KEYPOINTS
from int8gate.calibration_data.synthetic.figures import EASY_STYLE, STYLE, FigureScenes
from int8gate.model_zoo.families.posenet.network import EDGES, STRIDE
from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

DISK = 13.0  # above half the diagonal between places (11.3): each keypoint has one to call its own
NEIGHBOURHOOD = 24.0
BEYOND_DISK = 0.3  # the weight there
# COCO's sigma of each keypoint: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
OKS_SIGMAS = np.repeat(
    np.float32([0.026, 0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089]), [1] + [2] * 8
)
HEATMAP_SHARE, OFFSET_SHARE, DISPLACEMENT_SHARE = 4.0, 0.25, 0.1


def _draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Scenes at the user's picture size, resized as the frozen graph does; labels stay."""
    import tensorflow as tf

    network = spec.network("compact")
    height, width, channels = network.picture_shape
    style = EASY_STYLE if stage.easy else STYLE
    scenes = FigureScenes(split, (height, width), channels, stage.samples, style)
    images, labels = [], []
    for pictures, people in scenes.batches(100):
        resized = tf.compat.v1.image.resize_bilinear(pictures, network.size, align_corners=True)
        images.append(np.rint(resized.numpy()).astype(np.uint8))
        labels.append(people)
    return np.concatenate(images), np.concatenate(labels)


def _encode(spec: ModelSpec, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    return targets(labels, spec.network("compact"))


def targets(labels: np.ndarray, network: Network) -> tuple[np.ndarray, ...]:
    """What the four maps should be, each followed by weights where not all of it is learnt.

    `labels` (n, people, 52) in pixels of the user's picture, to float32 heatmap (n, h', w', 17),
    offset (n, h', w', 51), displacement forward and backward (n, h', w', 48 each): y, x, weight,
    in pixels of the network's input.
    """
    keypoints = labels[:, :, 1:].reshape(*labels.shape[:2], KEYPOINTS, 3)
    there = keypoints[..., 2] > 0
    picture = np.array(network.picture or network.size)
    scale = (np.array(network.size) - 1) / (picture - 1)
    points = (keypoints[..., :2] * scale).astype(np.float32)
    places = np.stack(
        np.meshgrid(
            *(np.arange(0, side, STRIDE, np.float32) for side in network.size), indexing="ij"
        ),
        axis=-1,
    )  # (h', w', 2)
    away = points[:, None, None] - places[:, :, None, None]  # (n, h', w', people, 17, 2)
    distance = np.where(there[:, None, None], np.linalg.norm(away, axis=-1), np.inf)
    nearest, least = distance.argmin(axis=3), distance.min(axis=3)
    offset = np.take_along_axis(away, nearest[:, :, :, None, :, None], axis=3)[:, :, :, 0]
    near = np.where(least <= DISK, 1, np.where(least <= NEIGHBOURHOOD, BEYOND_DISK, 0))
    strictness = OKS_SIGMAS.min() / OKS_SIGMAS
    displacements = [
        _displacement(points, there, near, nearest, source, target)
        for source, target in (np.transpose(EDGES), np.transpose(EDGES)[::-1])
    ]
    return (
        (least <= DISK).astype(np.float32),
        _packed(offset, near * strictness),
        *displacements,
    )


def _displacement(points, there, near, nearest, source, target) -> np.ndarray:
    """From `source` to `target` keypoints of whom the place is nearest to, and the weights."""
    person = nearest[..., source]  # (n, h', w', edges)
    sample = np.arange(len(points))[:, None, None, None]
    apart = points[sample, person, target] - points[sample, person, source]
    both = there[sample, person, target] & there[sample, person, source]
    return _packed(apart, near[..., source] * both)


def _packed(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Vectors (..., k, 2) and weights (..., k) to float32 (..., 3 k): all y, all x, weights."""
    y, x = np.moveaxis(np.where(weights[..., None] > 0, vectors, 0), -1, 0)
    return np.concatenate([y, x, weights], axis=-1).astype(np.float32)


def _losses(spec: ModelSpec) -> list:
    import keras

    ops: Any = keras.ops  # many of its functions are annotated as if they could return None

    def heatmap(wanted, logits):
        entropy = ops.relu(logits) - logits * wanted + ops.log1p(ops.exp(-ops.abs(logits)))
        return HEATMAP_SHARE * ops.mean(entropy)

    def vectors(share: float):
        def loss(wanted, found):
            y, x, weight = ops.split(wanted, 3, axis=-1)
            wrong = ops.abs(found - ops.concatenate([y, x], axis=-1))
            smooth = ops.where(wrong < 1, wrong**2 / 2, wrong - 0.5)
            weights = ops.concatenate([weight, weight], axis=-1)
            return share * ops.sum(smooth * weights) / (ops.sum(weights) + 1e-6)

        return loss

    displacement = vectors(DISPLACEMENT_SHARE)
    return [heatmap, vectors(OFFSET_SHARE), displacement, displacement]


POSE = TrainingTask(
    stages=(
        Stage(epochs=3, samples=4000, easy=True),
        Stage(epochs=9, samples=10000, final=0.0),
    ),
    draw=_draw,
    loss=_losses,
    encode=_encode,
)
