"""SSD: anchors and their coding, the network, what training aims at, and the frozen graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_boxes import overlap

from int8gate.model_zoo.boxes import iou
from int8gate.model_zoo.families.ssd_mobilenet_v1 import anchors as ssd_anchors
from int8gate.model_zoo.spec import Network

CLASSES = 3
TINY = Network(
    "int8gate.model_zoo.families.ssd_mobilenet_v1.network:ssd_mobilenet_v1",
    (64, 96, 3),
    (64, 96),
    CLASSES,
    arguments={"alpha": 0.05},
    picture=(80, 100),
)
ANCHORS = ssd_anchors.anchors(TINY.size)
sides = st.floats(0.05, 0.6)
corners = st.floats(0, 0.4)
box = st.builds(lambda y, x, h, w: [y, x, y + h, x + w], corners, corners, sides, sides)


def tiny_network():
    import keras

    from int8gate.model_zoo.families.ssd_mobilenet_v1.network import ssd_mobilenet_v1
    from int8gate.model_zoo.networks import settle_normalization

    keras.utils.set_random_seed(3)
    network = ssd_mobilenet_v1(TINY.input_shape, CLASSES, **TINY.arguments)
    settle_normalization(network, (0, 255), seed=3)
    return network


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def graph(network):
    from int8gate.model_zoo.families.ssd_mobilenet_v1.graph import frozen_graph

    return frozen_graph(network, TINY)


def run(graph, pictures: np.ndarray) -> list[np.ndarray]:
    import tensorflow as tf

    from int8gate.model_zoo.families.ssd_mobilenet_v1.graph import INPUT, OUTPUTS

    with tf.Graph().as_default() as imported:
        tf.import_graph_def(graph, name="")
    with tf.compat.v1.Session(graph=imported) as session:
        return session.run([f"{name}:0" for name in OUTPUTS], {f"{INPUT}:0": pictures})


def pictures(count: int, seed: int = 0) -> np.ndarray:
    shape = (count, *TINY.picture_shape)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def suppressed(boxes: np.ndarray, scores: np.ndarray, wanted: int) -> list[list[float]]:
    """What Liu et al. describe, one box after another: rows [class, score, box], best first."""
    kept = []
    for of_class in range(scores.shape[1]):
        own = []
        for i in np.argsort(-scores[:, of_class], kind="stable"):
            if len(own) < wanted and all(overlap(boxes[i], row[2:]) <= 0.6 for row in own):
                own.append([of_class, scores[i, of_class], *boxes[i]])
        kept += own
    return sorted(kept, key=lambda row: -row[1])[:wanted]


def test_anchors_of_the_paper_and_of_the_api():
    at_300 = ssd_anchors.anchors((300, 300))
    assert at_300.shape == (1917, 4)  # 19, 10, 5, 3, 2, 1 places a side; 3 shapes, then 6
    extent = at_300[:, 2:] - at_300[:, :2]
    np.testing.assert_allclose(extent[0], [0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(extent[1], [0.2 / 2**0.5, 0.2 * 2**0.5], rtol=1e-5)
    np.testing.assert_allclose(extent[-1], [(0.95 * 1.0) ** 0.5] * 2, rtol=1e-5)
    centres = (at_300[:, 2:] + at_300[:, :2]) / 2
    np.testing.assert_allclose(centres[3], [0.5 / 19, 1.5 / 19], rtol=1e-5)  # the next column
    np.testing.assert_allclose(centres[3 * 19], [1.5 / 19, 0.5 / 19], rtol=1e-5)  # the next row


@given(st.lists(box, min_size=1, max_size=5), st.integers(0, len(ANCHORS) - 6))
def test_decoding_undoes_encoding(boxes, first):
    boxes, at = np.array(boxes), ANCHORS[first : first + len(boxes)]
    codes = ssd_anchors.encode(boxes, at)
    np.testing.assert_allclose(ssd_anchors.decode(codes, at), boxes, atol=1e-4)
    np.testing.assert_allclose(ssd_anchors.encode(at, at), 0, atol=1e-4)


def test_a_row_for_every_anchor(network):
    boxes, logits = network(np.zeros((2, *TINY.input_shape), np.float32))
    assert boxes.shape == (2, len(ANCHORS), 4)
    assert logits.shape == (2, len(ANCHORS), CLASSES + 1)


def test_rows_come_in_the_order_of_the_anchors():
    """A box predictor that knows nothing but which shape it answers for."""
    network = tiny_network()
    for level in range(len(ssd_anchors.STRIDES)):
        head = network.get_layer(f"map{level}_boxes")
        kernel = head.get_weights()[0]
        numbers = np.arange(len(ssd_anchors.shapes(level)))
        head.set_weights([kernel * 0, np.repeat(numbers, 4)])
    boxes, _ = network(np.zeros((1, *TINY.input_shape), np.float32))
    shape_of_row = boxes.numpy()[0, :, 0].astype(int)
    extent = ANCHORS[:, 2:] - ANCHORS[:, :2]
    places = [-(-TINY.size[0] // s) * -(-TINY.size[1] // s) for s in ssd_anchors.STRIDES]
    start = 0
    for level, count in enumerate(places):
        shapes = ssd_anchors.shapes(level)
        rows = slice(start, start + count * len(shapes))
        scale, ratio = np.array(shapes)[shape_of_row[rows]].T
        np.testing.assert_allclose(extent[rows, 0], scale / ratio**0.5, rtol=1e-4)
        start = rows.stop
    assert start == len(ANCHORS)


@given(st.lists(st.tuples(st.integers(0, CLASSES - 1), box), max_size=4))
def test_training_aims_at_the_labels(objects):
    from int8gate.model_zoo.detection import MODELS
    from int8gate.model_zoo.families.ssd_mobilenet_v1.training import encode

    spec = MODELS[0]
    anchors = ssd_anchors.anchors(spec.compact.size)
    label = np.full((1, 4, 5), -1, np.float32)
    for row, (of_class, bounds) in zip(label[0], objects, strict=False):
        row[:] = [of_class, *bounds]
    boxes, classes = (target[0] for target in encode(spec, label))
    matched = boxes[:, 4] == 1
    np.testing.assert_array_equal(matched, classes > 0)
    found = np.column_stack(
        [classes[matched] - 1, ssd_anchors.decode(boxes[matched, :4], anchors[matched])]
    )
    wanted = label[0, : len(objects)]
    apart = np.abs(found[:, None] - wanted[None]).max(-1, initial=0)
    assert (apart.min(1, initial=9) < 1e-3).all(), "a target that is no object"
    best = iou(wanted[:, 1:], anchors).argmax(1)
    if len(set(best)) == len(best):  # two boxes may want the same anchor
        assert (apart.min(0, initial=9) < 1e-3).all(), "an object that no anchor answers for"


def test_losses_vanish_at_the_targets_and_nowhere_near():
    from int8gate.model_zoo.detection import MODELS
    from int8gate.model_zoo.families.ssd_mobilenet_v1.training import encode, losses

    spec = MODELS[0]
    label = np.array([[[1, 0.2, 0.3, 0.5, 0.5], [-1] * 5]], np.float32)
    boxes, classes = encode(spec, label)
    of_boxes, of_classes = losses(spec)
    matched = boxes[..., 4:] == 1
    codes = np.where(matched, boxes[..., :4], np.float32(1000))  # background has no box
    logits = 40 * np.eye(spec.compact.classes + 1, dtype=np.float32)[classes] - 20
    assert of_boxes(boxes, codes) == 0
    assert of_classes(classes, logits) < 1e-6
    assert of_boxes(boxes, codes + 0.5) > 0.1
    assert of_classes(classes, -logits) > 1


def test_training_scenes_have_the_networks_size():
    from int8gate.model_zoo.detection import MODELS
    from int8gate.model_zoo.families.ssd_mobilenet_v1.training import draw
    from int8gate.model_zoo.training.training_task import Stage

    spec = MODELS[0]
    images, labels = draw(spec, "train", Stage(epochs=1, samples=3))
    assert images.shape == (3, *spec.compact.input_shape)
    assert images.dtype == np.uint8
    assert len(labels) == 3


def test_the_graph_carries_the_control_flow_of_tf1(graph):
    import tensorflow as tf

    found = {node.op for node in graph.node}
    loops = {"Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond", "TensorArrayV3"}
    assert loops | {"Assert", "ResizeBilinear", "NonMaxSuppressionV3"} <= found
    assert not graph.library.function
    assert tf.compat.v1.control_flow_v2_enabled(), "the setting is put back"


def test_equal_networks_give_equal_graphs(graph):
    from int8gate.model_zoo.families.ssd_mobilenet_v1.graph import frozen_graph

    again = frozen_graph(tiny_network(), TINY)
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(
        deterministic=True
    )


def test_the_graph_finds_what_the_network_and_a_plain_suppression_find(graph, network):
    import tensorflow as tf

    from int8gate.model_zoo.families.ssd_mobilenet_v1.graph import decode

    shown = pictures(2)
    found = decode(run(graph, shown), TINY)
    resized = tf.raw_ops.ResizeBilinear(images=shown, size=TINY.size)
    codes, logits = (output.numpy() for output in network(resized))
    boxes = np.clip(ssd_anchors.decode(codes, ANCHORS), 0, 1)
    scores = 1 / (1 + np.exp(-logits[..., 1:]))
    for picture in range(2):
        expected = suppressed(boxes[picture], scores[picture], found.shape[1])
        assert len(expected) > 5
        np.testing.assert_allclose(found[picture, : len(expected)], expected, atol=1e-4)
        assert (found[picture, len(expected) :, 1] == -1).all()


def test_pictures_of_a_batch_do_not_touch_each_other(graph):
    shown = pictures(3, seed=1)
    together = run(graph, shown)
    for number, picture in enumerate(shown):
        for alone, of_batch in zip(run(graph, picture[None]), together, strict=True):
            np.testing.assert_allclose(alone[0], of_batch[number], atol=1e-5)


def test_where_nothing_is_found_all_rows_are_padding():
    from int8gate.model_zoo.families.ssd_mobilenet_v1.graph import decode, frozen_graph

    network = tiny_network()
    for level in range(len(ssd_anchors.STRIDES)):
        head = network.get_layer(f"map{level}_logits")
        head.set_weights([array * 0 - 30 * (array.ndim == 1) for array in head.get_weights()])
    outputs = run(frozen_graph(network, TINY), pictures(1))
    assert outputs[3] == [0]
    assert (decode(outputs, TINY)[..., 1] == -1).all()


def test_an_empty_picture_is_refused(graph):
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match="the picture is empty"):
        run(graph, np.zeros((1, 0, 10, 3), np.uint8))


@given(st.integers(0, 6))
@settings(max_examples=7)
def test_decoding_the_outputs(count):
    from int8gate.model_zoo.families.ssd_mobilenet_v1.graph import decode

    rng = np.random.default_rng(count)
    boxes, scores = rng.random((1, 6, 4), np.float32), rng.random((1, 6), np.float32)
    classes = rng.integers(1, 91, (1, 6)).astype(np.float32)
    found = decode([boxes, scores, classes, np.array([count], np.float32)], TINY)
    assert found.shape == (1, 6, 6)
    assert found.dtype == np.float32
    assert (found[0, count:, 1] < 0).all()
    np.testing.assert_array_equal(found[0, :count, 0], classes[0, :count] - 1)
    np.testing.assert_array_equal(found[0, :count, 1], scores[0, :count])
    np.testing.assert_array_equal(found[0, :, 2:], boxes[0])
