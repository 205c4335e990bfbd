"""Training SSD: anchors matched to boxes, focal loss for classes, smooth L1 for box codes.

Matching as in Liu et al., "SSD: Single Shot MultiBox Detector", 2016; focal loss (Lin et al. 2017)
in place of hard negative mining, which needs sorting, over the sigmoid scores of the API.
"""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.detection_scenes import EASY, HARD, DetectionScenes
from int8gate.model_zoo.boxes import iou
from int8gate.model_zoo.families.ssd_mobilenet_v1 import anchors as ssd_anchors
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

MATCHED_FROM = 0.4  # intersection over union of an anchor with a box that it answers for
FOCUS = 2.0  # gamma of the focal loss
DRAWN_AT_ONCE = 500  # scenes at the user's size in memory


def draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Scenes at the network's size, resized from the user's size as the frozen graph does it."""
    network = spec.network("compact")
    height, width, channels = network.picture_shape
    style = EASY if stage.easy else HARD
    scenes = DetectionScenes(split, (height, width), channels, stage.samples, style)
    drawn = [
        (_resized(images, network.size), labels) for images, labels in scenes.batches(DRAWN_AT_ONCE)
    ]
    images, labels = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    return images, labels


def encode(spec: ModelSpec, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets of both outputs from labels (n, G, 5).

    Boxes float32 (n, A, 5): the code of the box that the anchor answers for, and 1, or zeros;
    classes int32 (n, A), 0 being the background.
    """
    anchors = ssd_anchors.anchors(spec.network("compact").size)
    real = labels[..., 0] >= 0
    overlap = np.where(real[..., None], iou(labels[..., 1:], anchors[None]), -1)
    chosen = overlap.argmax(1)  # (n, A): the best box of each anchor
    matched = overlap.max(1) >= MATCHED_FROM
    sample, box = np.nonzero(real)
    best = overlap.argmax(2)[sample, box]  # every box has the anchor that fits it best
    chosen[sample, best], matched[sample, best] = box, True
    of_anchor = np.take_along_axis(labels, chosen[..., None], axis=1)
    safe = np.where(matched[..., None], of_anchor[..., 1:], anchors)
    boxes = np.concatenate([ssd_anchors.encode(safe, anchors), matched[..., None]], axis=-1)
    classes = np.where(matched, of_anchor[..., 0] + 1, 0)
    return boxes.astype(np.float32), classes.astype(np.int32)


def losses(spec: ModelSpec) -> list:
    """Of the box codes and of the class logits, each a mean over the batch's matched anchors."""
    import tensorflow as tf

    count = spec.network("compact").classes
    assert count is not None  # every detector of the zoo has classes
    columns = count + 1

    def boxes(target, codes):
        matched = target[..., 4]
        error = tf.abs(target[..., :4] - codes)
        smooth = tf.where(error < 1, error**2 / 2, error - 0.5)
        total = tf.reduce_sum(smooth * matched[..., None])
        return total / tf.maximum(tf.reduce_sum(matched), 1)

    def classes(target, logits):
        target = tf.cast(target, tf.int32)
        wanted = tf.one_hot(target, columns)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits)
        missed = tf.abs(wanted - tf.sigmoid(logits))
        matched = tf.reduce_sum(tf.cast(target > 0, tf.float32))
        return tf.reduce_sum(missed**FOCUS * entropy) / tf.maximum(matched, 1)

    return [boxes, classes]


def _resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 images resized by the frozen graph's operator."""
    import tensorflow as tf

    if images.shape[1:3] == tuple(size):
        return images
    with tf.device("cpu"):
        pixels = tf.raw_ops.ResizeBilinear(images=images, size=size).numpy()
    return np.rint(pixels).astype(np.uint8)


TRAINING = TrainingTask(
    stages=(
        Stage(epochs=6, samples=8000, easy=True, scale=0.5),
        Stage(epochs=9, samples=16000, final=0.0),
    ),
    draw=draw,
    loss=losses,
    encode=encode,
)
