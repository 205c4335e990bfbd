"""SSD's outputs as detections, inside a TF1 graph: the object-detection API's post-processing.

Boxes are decoded and scores computed for the whole batch; a loop over the pictures then suppresses,
class by class, what overlaps a better box, and brings every picture to the same number of rows.
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.families.ssd_mobilenet_v1.anchors import CODING

MOST_DETECTIONS = 100  # of a picture, in the API's configuration for COCO
ANCHORS_PER_DETECTION = 16  # fewer rows where there are few anchors: 20 of 330
LEAST_SCORE = 1e-8
OVERLAP = 0.6  # intersection over union from which the lesser of two boxes of a class goes


def rows(anchors: int) -> int:
    """How many detections of a picture the graph gives."""
    return min(MOST_DETECTIONS, anchors // ANCHORS_PER_DETECTION)


def detections(codes, logits, anchors: np.ndarray) -> tuple:
    """Boxes (n, N, 4), scores (n, N), classes (n, N) from 1, counts (n,), all float32 tensors.

    `codes` (n, A, 4) are relative to `anchors` (A, 4); `logits` (n, A, C + 1) have the background
    in column 0. Rows come by falling score; what is beyond the count is padding.
    """
    import tensorflow as tf

    with tf.name_scope("Postprocessor"):
        boxes = _decoded(codes, anchors)
        scores = tf.sigmoid(logits, name="convert_scores")[..., 1:]
        wanted = rows(len(anchors))
        with tf.name_scope("BatchMultiClassNonMaxSuppression"):
            boxes, scores, classes, count = tf.map_fn(
                lambda picture: _of_picture(*picture, wanted),
                (boxes, scores),
                fn_output_signature=(tf.float32, tf.float32, tf.float32, tf.int32),
            )
        return boxes, scores, classes + 1, tf.cast(count, tf.float32)


def _decoded(codes, anchors: np.ndarray):
    import tensorflow as tf

    with tf.name_scope("Decode"):
        low, high = anchors[:, :2], anchors[:, 2:]
        codes = codes / CODING
        centre = codes[..., :2] * (high - low) + (low + high) / 2
        half = tf.exp(codes[..., 2:]) * ((high - low) / 2)
        return tf.concat([centre - half, centre + half], axis=-1)


def _of_picture(boxes, scores, wanted: int) -> tuple:
    """Detections of one picture from boxes (A, 4) and scores (A, C), and how many they are."""
    import tensorflow as tf

    kept = [
        _of_class(boxes, scores[:, number], number, wanted) for number in range(scores.shape[1])
    ]
    boxes, scores, classes = (tf.concat(parts, axis=0) for parts in zip(*kept, strict=True))
    scores, order = tf.nn.top_k(scores, tf.shape(scores)[0])
    boxes = tf.clip_by_value(tf.gather(boxes, order), 0, 1)
    classes = tf.gather(classes, order)
    count = tf.minimum(tf.shape(scores)[0], wanted)
    with tf.name_scope("PadOrClipBoxList"):
        fitted = [_padded_or_clipped(values, wanted) for values in (boxes, scores, classes)]
    return (*fitted, count)


def _of_class(boxes, scores, number: int, wanted: int) -> tuple:
    """What remains of a class: boxes (k, 4), scores (k,), its number (k,)."""
    import tensorflow as tf

    with tf.name_scope("MultiClassNonMaxSuppression"):
        possible = tf.where(scores > LEAST_SCORE)[:, 0]
        boxes, scores = tf.gather(boxes, possible), tf.gather(scores, possible)
        chosen = tf.image.non_max_suppression(boxes, scores, wanted, OVERLAP)
        scores = tf.gather(scores, chosen)
        return tf.gather(boxes, chosen), scores, tf.fill(tf.shape(scores), float(number))


def _padded_or_clipped(values, wanted: int):
    """The first `wanted` rows, zeros where there are fewer."""
    import tensorflow as tf

    found = tf.shape(values)[0]
    around = [[0, wanted - found], *([0, 0] for _ in values.shape[1:])]
    fitted = tf.cond(found > wanted, lambda: values[:wanted], lambda: tf.pad(values, around))
    fitted.set_shape((wanted, *values.shape[1:]))
    return fitted
