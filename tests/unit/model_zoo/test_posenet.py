"""PoseNet: its topology, what it is trained towards, its frozen graph, its decoding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.synthetic.figures import FigureScenes
from int8gate.model_zoo.families.posenet.decoding import MOST_PEOPLE, decode
from int8gate.model_zoo.families.posenet.network import EDGES, HEADS, KEYPOINTS, STRIDE
from int8gate.model_zoo.families.posenet.training import DISK, POSE, targets
from int8gate.model_zoo.networks import build, settle_normalization
from int8gate.model_zoo.pose import MODELS
from int8gate.validation.metrics.coco_metrics import OKS_AP

SPEC = MODELS[0]
DECLARED = SPEC.compact
SMALL = replace(DECLARED, size=(81, 65), arguments={"width": 0.25}, picture=(101, 81))


def labels(count: int) -> np.ndarray:
    scenes = FigureScenes("train", DECLARED.picture, 3, count)
    return np.stack([scenes.sample(index)[1] for index in range(count)])


def vectors(maps: np.ndarray, count: int) -> np.ndarray:
    """Maps (n, h, w, 2 count or more) to (n, h, w, count, 2)."""
    return np.stack([maps[..., :count], maps[..., count : 2 * count]], axis=-1)


def ideal_outputs(people: np.ndarray) -> list[np.ndarray]:
    """What a graph would give whose network met its targets; every place in a disk a candidate."""
    heatmap, offset, forward, backward = targets(people, DECLARED)
    found = [np.argwhere(sample) for sample in heatmap]
    candidates = np.zeros((len(people), max(map(len, found)), 4), np.float32)
    for row, places in zip(candidates, found, strict=True):
        row[: len(places)] = np.insert(places[:, [2, 0, 1]], 0, 1, axis=1)
    edges = len(EDGES)
    return [
        heatmap,
        vectors(offset, KEYPOINTS),
        vectors(forward, edges),
        vectors(backward, edges),
        candidates,
    ]


@pytest.fixture(scope="module")
def network():
    model = build(replace(SPEC, compact=SMALL), "compact")
    settle_normalization(model, SPEC.preprocessing.range, seed=0)
    return model


@pytest.fixture(scope="module")
def graph(network):
    from int8gate.model_zoo.families.posenet.graph import frozen_graph

    return frozen_graph(network, SMALL)


def run(graph, pictures: np.ndarray) -> list[np.ndarray]:
    import tensorflow as tf

    from int8gate.model_zoo.families.posenet.graph import OUTPUTS

    with tf.Graph().as_default() as loaded, tf.compat.v1.Session(graph=loaded) as session:
        tf.graph_util.import_graph_def(graph, name="")
        return session.run([f"{name}:0" for name in OUTPUTS], {"image:0": pictures})


def pictures(count: int, size) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, *size, 3)).astype(np.float32)


def test_the_backbone_is_mobilenet_with_its_last_stride_left_out():
    import keras

    def kernels(model):
        return [w.shape for w in model.weights if "kernel" in w.path]

    ours = build(SPEC, "compact")
    width = DECLARED.arguments["width"]
    theirs = keras.applications.MobileNet(
        (224, 224, 3), alpha=width, include_top=False, weights=None
    )
    heads = [(1, 1, int(1024 * width), channels) for channels in HEADS.values()]
    assert kernels(ours) == kernels(theirs) + heads
    strided = [layer for layer in ours.layers if getattr(layer, "strides", (1, 1)) == (2, 2)]
    assert 2 ** len(strided) == STRIDE
    assert ours.compute_output_shape((1, 353, 257, 3))[0] == (1, 23, 17, KEYPOINTS)


def test_the_tree_reaches_every_keypoint_from_the_nose():
    reached = {0}
    for parent, child in EDGES:
        assert parent in reached
        reached.add(child)
    assert reached == set(range(KEYPOINTS))


def test_other_keypoints_than_coco_s_are_refused():
    with pytest.raises(ValueError, match="17 keypoints"):
        build(replace(SPEC, compact=replace(SMALL, classes=16)), "compact")


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_targets_lead_from_the_nearest_place_to_the_keypoint(seed):
    people = FigureScenes("train", DECLARED.picture, 3, 10**6 + 1).sample(seed)[1][None]
    heatmap, offset, forward, backward = (maps[0] for maps in targets(people, DECLARED))
    scale = (np.array(DECLARED.size) - 1) / (np.array(DECLARED.picture) - 1)
    for row in people[0]:
        keypoints = row[1:].reshape(KEYPOINTS, 3)
        points = keypoints[:, :2] * scale
        for edge, (parent, child) in enumerate(EDGES):
            if keypoints[parent, 2] and keypoints[child, 2]:
                for source, target, maps in ((parent, child, forward), (child, parent, backward)):
                    place = tuple(np.rint(points[source] / STRIDE).astype(int))
                    assert heatmap[(*place, source)] == 1
                    found = vectors(offset, KEYPOINTS)[(*place, source)]
                    if not _same(np.array(place) * STRIDE + found, points[source]):
                        continue  # another person's keypoint is nearer
                    moved = vectors(maps, len(EDGES))[(*place, edge)]
                    assert _same(points[source] + moved, points[target])


def _same(one, other) -> bool:
    return np.abs(one - other).max() < 1e-3


def test_targets_of_an_empty_picture_are_empty():
    assert not any(maps.any() for maps in targets(np.zeros((1, 3, 52), np.float32), DECLARED))


def test_losses_vanish_at_the_targets_and_nowhere_else():
    wanted = targets(labels(4), DECLARED)
    losses = POSE.loss(SPEC)
    perfect = [wanted[0] * 40 - 20] + [maps[..., : maps.shape[-1] // 3 * 2] for maps in wanted[1:]]
    assert all(float(loss(t, p)) < 1e-6 for loss, t, p in zip(losses, wanted, perfect, strict=True))
    wrong = [maps + 1 for maps in perfect[1:]]
    for loss, target, found in zip(losses[1:], wanted[1:], wrong, strict=True):
        assert float(loss(target, found)) > 0.01
        unweighted = np.tile(target[..., target.shape[-1] // 3 * 2 :] == 0, 2)
        elsewhere = found + 100 * unweighted
        assert float(loss(target, elsewhere)) == pytest.approx(float(loss(target, found)))


def test_decoding_the_targets_finds_the_people():
    people = labels(60)
    found = decode(ideal_outputs(people), DECLARED)
    assert found.shape == (60, MOST_PEOPLE, 1 + 3 * KEYPOINTS)
    assert found.dtype == np.float32
    assert OKS_AP.score(OKS_AP.sample_statistics(found, people)) > 0.95


def test_decoding_gives_the_keypoints_of_a_lone_person_exactly():
    people = labels(60)
    alone = people[(people[:, :, 0] > 0).sum(axis=1) == 1]
    found = decode(ideal_outputs(alone), DECLARED)
    for label, row in zip(alone[:, 0], found[:, 0], strict=True):
        wanted, decoded = (values[1:].reshape(KEYPOINTS, 3) for values in (label, row))
        there = wanted[:, 2] > 0
        if there.all():  # else the tree may have to cross a keypoint that is not there
            assert np.abs(wanted - decoded)[:, :2].max() < 0.01


def test_people_come_best_first_and_padding_last():
    scores = decode(ideal_outputs(labels(20)), DECLARED)[:, :, 0]
    assert (np.diff(scores, axis=1) <= 0).all()
    assert ((scores > 0) | (scores == -1)).all()


def test_nobody_is_found_without_candidates():
    outputs = ideal_outputs(labels(2))
    outputs[4][..., 0] = 0
    assert (decode(outputs, DECLARED) == -1).all()


def test_a_sample_is_decoded_alike_in_any_batch():
    outputs = ideal_outputs(labels(6))
    together = decode(outputs, DECLARED)
    apart = [decode([maps[[i]] for maps in outputs], DECLARED)[0] for i in range(6)]
    assert np.array_equal(together, np.stack(apart))


def test_decoding_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"frozen graph's outputs in their order"):
        decode(ideal_outputs(labels(1))[::-1], DECLARED)


def test_the_graph_holds_control_flow_and_run_time_shapes(graph):
    nodes = {node.name: node for node in graph.node}
    operations = {node.op for node in graph.node}
    needed = {"Enter", "Exit", "Switch", "Merge", "NextIteration", "TensorArrayV3", "Assert"}
    assert needed <= operations
    assert not {"While", "StatelessWhile", "If", "StatelessIf"} & operations
    shapes = [nodes[node.input[1]] for node in graph.node if node.op == "Reshape"]
    assert any(shape.op != "Const" for shape in shapes)
    placeholders = [node for node in graph.node if node.op == "Placeholder"]
    assert [node.name for node in placeholders] == ["image"]
    assert [dim.size for dim in placeholders[0].attr["shape"].shape.dim] == [-1, -1, -1, 3]
    assert all(f"MobilenetV1/{head}/BiasAdd" in nodes for head in HEADS)


def test_the_graph_is_the_network(network, graph):
    images = pictures(2, SMALL.size)
    heatmap, offset, forward, backward = (np.asarray(maps) for maps in network(images))
    outputs = run(graph, images)
    wanted = [1 / (1 + np.exp(-heatmap)), vectors(offset, KEYPOINTS)]
    wanted += [vectors(maps, len(EDGES)) for maps in (forward, backward)]
    for found, expected in zip(outputs[:4], wanted, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_graph_takes_pictures_of_any_size(network, graph):
    import tensorflow as tf

    images = pictures(2, SMALL.picture)
    resized = tf.compat.v1.image.resize_bilinear(images, SMALL.size, align_corners=True)
    np.testing.assert_allclose(
        run(graph, images)[0], 1 / (1 + np.exp(-np.asarray(network(resized)[0]))), atol=2e-3
    )


def test_candidates_are_the_local_maxima(graph):
    scores, *_, candidates = run(graph, pictures(2, SMALL.size))
    around = np.pad(scores, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), axis=(1, 2))
    maxima = scores == windows.max(axis=(-2, -1))
    for sample in range(2):
        for keypoint in range(KEYPOINTS):
            rows = candidates[sample][candidates[sample, :, 1] == keypoint]
            assert (np.diff(rows[:, 0]) <= 0).all()
            places = np.argwhere(maxima[sample, :, :, keypoint])
            found = {tuple(place) for place in rows[rows[:, 0] > 0, 2:].astype(int)}
            assert found <= {tuple(place) for place in places}
            assert len(found) == min(len(places), len(rows))


def test_equal_weights_give_equal_bytes_and_settings_come_back(network, graph):
    import tensorflow as tf

    from int8gate.model_zoo.families.posenet.graph import frozen_graph

    before = tf.compat.v1.control_flow_v2_enabled()
    again = frozen_graph(network, SMALL)
    assert tf.compat.v1.control_flow_v2_enabled() == before
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(
        deterministic=True
    )


def test_a_disk_holds_a_place_for_every_keypoint():
    assert STRIDE / np.sqrt(2) < DISK
