"""PoseNet as its users have it: a TF1 frozen graph with control flow before and behind the network.

    image (n, h, w, 3) float32 0..255, any size
      -> a loop over the pictures: check channels, resize unless it has the size, to -1..1 (sub_2)
      -> MobilenetV1/...: the network, its weights constants, nodes named as in the published graph
      -> sigmoid; a loop over keypoints that collects the local maxima; reshapes to run-time shapes
      -> heatmaps, offsets, displacement_fwd, displacement_bwd, candidates

The loops are TensorFlow 1's own (Enter, Switch, Merge, NextIteration, Exit, TensorArrayV3).
"""

from __future__ import annotations

import re

from int8gate.model_zoo.families.posenet.network import EDGES, HEADS, KEYPOINTS, NORMALIZATION
from int8gate.model_zoo.families.tf1_control_flow import control_flow_v1
from int8gate.model_zoo.spec import Network

SCOPE = "MobilenetV1"
OUTPUTS = ("heatmaps", "offsets", "displacement_fwd", "displacement_bwd", "candidates")
CANDIDATES = 10  # local maxima of each keypoint, the highest first


def frozen_graph(network, declared: Network):
    """A `GraphDef` of the built Keras `network` with its weights, at the size that is declared.

    Input ``image`` float32 (n, h, w, 3), pixels; outputs `OUTPUTS`, as `decoding.decode`
    describes them. Serialized deterministically, equal weights give equal bytes.
    """
    import tensorflow as tf

    network_nodes = _constants(network, declared.size)
    graph = tf.compat.v1.Graph()
    with graph.as_default(), control_flow_v1():
        image = tf.compat.v1.placeholder(tf.float32, (None, None, None, 3), name="image")
        normalized = _prepared(image, declared.size)
        maps = tf.graph_util.import_graph_def(
            network_nodes,
            input_map={NORMALIZATION: normalized},
            return_elements=[f"{SCOPE}/{head}/BiasAdd:0" for head in HEADS],
            name="",
        )
        for name, output in zip(OUTPUTS, _outputs(*maps), strict=True):
            tf.identity(output, name=name)
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), list(OUTPUTS))


def _constants(network, size: tuple[int, int]):
    """The network behind its normalization as a `GraphDef` whose weights are constants."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    normalized = network.get_layer(NORMALIZATION).output
    trunk = keras.Model(normalized, network.outputs, name=SCOPE)
    signature = tf.TensorSpec((None, *size, 3), tf.float32, name=NORMALIZATION)
    traced = tf.function(lambda image: trunk(image, training=False))
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(signature))
    definition = frozen.graph.as_graph_def()
    _rename(definition, {layer.name for layer in trunk.layers})
    in_order = sorted(definition.node, key=lambda node: node.name)  # freezing has none of its own
    return tf.compat.v1.GraphDef(node=in_order, versions=definition.versions)


def _rename(definition, layers: set[str]) -> None:
    """Takes the numbers that Keras puts behind the names of models and layers out, in place."""

    def plain(name: str) -> str:
        name = re.sub(rf"^(\^?){SCOPE}_\d+/", rf"\1{SCOPE}/", name)
        scope, _, rest = name.partition("/")
        layer, slash, operation = rest.partition("/")
        numbered = re.fullmatch(r"(.*)_\d+", layer)
        if layer not in layers and numbered and numbered[1] in layers:
            name = f"{scope}/{numbered[1]}{slash}{operation}"
        return name

    for node in definition.node:
        node.name = plain(node.name)
        node.input[:] = [plain(name) for name in node.input]


def _prepared(image, size: tuple[int, int]):
    """Pictures (n, h, w, 3) to float32 (n, *size, 3) in -1..1, one after the other."""
    import tensorflow as tf

    def prepare(picture):
        shape = tf.shape(picture)
        three = tf.Assert(tf.equal(shape[2], 3), ["a picture needs 3 channels, found", shape])
        with tf.control_dependencies([three]):
            fits = tf.reduce_all(tf.equal(shape[:2], size))

        def resize():
            return tf.compat.v1.image.resize_bilinear(picture[None], size, align_corners=True)[0]

        resized = tf.cond(fits, lambda: tf.identity(picture), resize)
        return tf.subtract(tf.multiply(resized, 2 / 255, name="mul"), 1.0, name=NORMALIZATION)

    with tf.compat.v1.name_scope("preprocess"):
        prepared = tf.map_fn(prepare, image, fn_output_signature=tf.float32)
    prepared.set_shape((None, *size, 3))
    return prepared


def _outputs(heatmap, offset, forward, backward) -> tuple:
    """The graph's outputs from the network's maps (n, h, w, channels)."""
    import tensorflow as tf

    with tf.compat.v1.name_scope("postprocess"):
        scores = tf.sigmoid(heatmap)
        return (
            scores,
            _vectors(offset, KEYPOINTS),
            _vectors(forward, len(EDGES)),
            _vectors(backward, len(EDGES)),
            _candidates(scores),
        )


def _vectors(maps, count: int):
    """Maps (n, h, w, 2 count), all y before all x, to vectors (n, h, w, count, 2)."""
    import tensorflow as tf

    shape = tf.concat([tf.shape(maps)[:3], [2, count]], axis=0)
    return tf.transpose(tf.reshape(maps, shape), (0, 1, 2, 4, 3))


def _candidates(scores):
    """Local maxima (n, 17 x CANDIDATES, 4): score (0 where there are fewer), keypoint, row, column.

    A maximum is a place with no higher score within one place around it.
    """
    import tensorflow as tf

    around = tf.nn.max_pool2d(scores, 3, 1, "SAME")
    maxima = tf.where(tf.equal(scores, around), scores, tf.zeros_like(scores))
    samples, columns = tf.shape(scores)[0], tf.shape(scores)[2]

    def collect(keypoint, found):
        flat = tf.reshape(maxima[..., keypoint], [samples, -1])
        score, place = tf.math.top_k(flat, CANDIDATES)
        position = [tf.fill(tf.shape(place), keypoint), place // columns, place % columns]
        position = [tf.cast(numbers, tf.float32) for numbers in position]
        return keypoint + 1, found.write(keypoint, tf.stack([score, *position], axis=-1))

    _, found = tf.while_loop(
        lambda keypoint, _: keypoint < KEYPOINTS,
        collect,
        (tf.constant(0), tf.TensorArray(tf.float32, KEYPOINTS)),
    )
    by_sample = tf.transpose(found.stack(), (1, 0, 2, 3))
    return tf.reshape(by_sample, tf.stack([samples, tf.size(by_sample) // (samples * 4), 4]))
