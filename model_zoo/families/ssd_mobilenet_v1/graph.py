"""SSD as the object-detection API exports it: one TF1 frozen graph from pictures to detections.

`image_tensor`, uint8 (n, h, w, 3) of any size, is resized picture by picture in a loop; the network
follows; its outputs become detections in a second loop (`detections.py`). Both loops are made
of TF1's dataflow operators: Enter, Switch, Merge, NextIteration, Exit and TensorArrays.
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.families.ssd_mobilenet_v1 import anchors as ssd_anchors
from int8gate.model_zoo.families.ssd_mobilenet_v1 import detections as ssd_detections
from int8gate.model_zoo.families.tf1_control_flow import control_flow_v1
from int8gate.model_zoo.spec import Network

INPUT = "image_tensor"
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def frozen_graph(network, declared: Network):
    """The `tf.compat.v1.GraphDef` around a `keras.Model` of `ssd_mobilenet_v1`.

    Its outputs are float32 `OUTPUTS`: boxes (n, N, 4), scores (n, N), classes (n, N) counted from
    1, and the number of rows that are detections (n,). Equal networks give equal graphs.
    """
    import tensorflow as tf

    trunk, entry, exits = _constant_trunk(network, declared)
    with control_flow_v1(), tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.uint8, (None, None, None, 3), name=INPUT)
        pixels = _resized(tf.cast(images, tf.float32, name="ToFloat"), declared.size)
        codes, logits = tf.import_graph_def(
            trunk, {entry: pixels}, return_elements=exits, name="FeatureExtractor"
        )
        anchors = ssd_anchors.anchors(declared.size)
        detections = ssd_detections.detections(codes, logits, anchors)
        for value, name in zip(detections, OUTPUTS, strict=True):
            tf.identity(value, name)
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), list(OUTPUTS))


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The graph's `OUTPUTS` as float32 (n, N, 6), rows [class from 0, score, box].

    Boxes are [ymin, xmin, ymax, xmax] in parts of the picture; rows beyond the number of detections
    have score -1.
    """
    boxes, scores, classes, count = outputs
    rows = np.concatenate([classes[..., None] - 1, scores[..., None], boxes], axis=-1)
    rows[np.arange(rows.shape[1]) >= count[:, None], 1] = -1
    return rows.astype(np.float32)


def _constant_trunk(network, declared: Network) -> tuple:
    """The network with its weights as constants: a GraphDef, names of its input and outputs."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    signature = tf.TensorSpec((None, *declared.size, declared.input_shape[-1]), tf.float32, "image")
    traced = tf.function(lambda image: network(image, training=False))
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(signature))
    trunk, entry = frozen.graph.as_graph_def(), frozen.inputs[0]
    kept = [node for node in trunk.node if node.name != entry.op.name]
    del trunk.node[:]
    trunk.node.extend(sorted(kept, key=lambda node: node.name))  # freezing has no fixed order
    return trunk, entry.name, [tensor.name for tensor in frozen.outputs]


def _resized(images, size: tuple[int, int]):
    """Pictures (n, h, w, 3) float32, one after another, resized to (n, *size, 3)."""
    import tensorflow as tf

    def resize(image):
        shape = tf.shape(image, out_type=tf.int64)
        check = tf.debugging.Assert(
            tf.reduce_all(shape > 0), ["the picture is empty, its shape is", shape]
        )
        with tf.control_dependencies([check]):
            return tf.raw_ops.ResizeBilinear(images=image[None], size=size, name="ResizeBilinear")[
                0
            ]

    with tf.name_scope("Preprocessor"):
        return tf.map_fn(resize, images)
