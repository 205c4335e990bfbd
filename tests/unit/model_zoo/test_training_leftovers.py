"""What training leaves in TF1 graphs: flags and keep probabilities, whatever they are called."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused

from int8gate.model_zoo.importers.tf1 import functions
from int8gate.model_zoo.importers.tf1.graphs import Graph, NotRewritten
from int8gate.model_zoo.importers.tf1.importer import explain, import_frozen_graph
from int8gate.runtimes.tensorflow_graphs import HostGraph

SIDE, CHANNELS = 8, 4
IMAGES = np.random.default_rng(0).random((4, SIDE, SIDE, 3), np.float32)
DRAWN = np.random.default_rng(1)
KERNEL = DRAWN.normal(0, 0.3, (3, 3, 3, CHANNELS)).astype(np.float32)
HEAD = DRAWN.normal(0, 0.3, (CHANNELS, 5)).astype(np.float32)
MEAN, VARIANCE = DRAWN.random((2, CHANNELS)).astype(np.float32)


def normalized(maps, flag, functional: bool):
    """A batch normalization with one branch for training, as TF1's layers and TF2's write it."""
    import tensorflow as tf

    v1, ones = tf.compat.v1, tf.ones(CHANNELS)

    def trained():
        return v1.nn.fused_batch_norm(maps, ones, 0 * ones, is_training=True)[0]

    def inferred():
        fixed = {"mean": MEAN, "variance": VARIANCE, "is_training": False}
        return v1.nn.fused_batch_norm(maps, ones, 0 * ones, **fixed)[0]

    enabled = v1.control_flow_v2_enabled()
    (v1.enable_control_flow_v2 if functional else v1.disable_control_flow_v2)()
    try:
        return v1.cond(flag, trained, inferred)
    finally:
        (v1.enable_control_flow_v2 if enabled else v1.disable_control_flow_v2)()


def graph_of(flag, keep=None, functional: bool = False, inverted: bool = False):
    """A GraphDef of `flag` and `keep`, functions that make placeholders (or None)."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, (None, SIDE, SIDE, 3), "image")
        trains = flag(tf.compat.v1)
        trains = tf.logical_not(trains) if inverted else trains
        maps = tf.nn.conv2d(image, KERNEL, 1, "SAME")
        features = tf.reduce_mean(tf.nn.relu(normalized(maps, trains, functional)), [1, 2])
        if keep:
            features = tf.compat.v1.nn.dropout(features, keep_prob=keep(tf.compat.v1))
        tf.matmul(features, HEAD, name="scores")
    return graph.as_graph_def()


def expected() -> np.ndarray:
    import tensorflow as tf

    maps = tf.nn.conv2d(IMAGES, KERNEL, 1, "SAME").numpy()
    maps = np.maximum((maps - MEAN) / np.sqrt(VARIANCE + 1e-3), 0)
    return maps.mean((1, 2)) @ HEAD


def imported(graph_def, folder):
    (folder / "graph.pb").write_bytes(graph_def.SerializeToString())
    return import_frozen_graph(folder / "graph.pb", folder / "out", IMAGES)


def answers(folder) -> np.ndarray:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "out" / "saved_model"))
    serve, host = loaded.signatures["serving_default"], HostGraph(folder / "out")
    rows = []
    for place in range(len(IMAGES)):
        (fed,) = host.before(IMAGES[place : place + 1])
        (output,) = serve(tf.constant(fed)).values()
        rows.append(output.numpy())
    return np.concatenate(rows)


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(
    ("name", "default", "inverted"),
    [
        ("is_training", False, False),
        ("is_training", True, False),  # frozen as the training script had it
        ("is_training", None, False),
        ("Placeholder_1", None, False),
        ("not_training", None, True),
        ("inference_phase", None, True),
    ],
)
def test_a_flag_of_training_is_off_whatever_it_is_called(
    name, default, inverted, functional, tmp_path
):
    def flag(v1):
        if default is None:
            return v1.placeholder("bool", (), name)
        return v1.placeholder_with_default(default, (), name)

    report = imported(graph_of(flag, None, functional, inverted), tmp_path)
    np.testing.assert_allclose(answers(tmp_path), expected(), rtol=1e-4, atol=1e-5)
    assert f"{name} = {inverted}" in " ".join(explain(report))
    assert report["inputs"] == ["image:0"]


@pytest.mark.parametrize("name", ["keep_prob", "dropout", "Placeholder_2", "rate"])
def test_a_keep_probability_is_one_whatever_it_is_called(name, tmp_path):
    def flag(v1):
        return v1.placeholder_with_default(False, (), "is_training")

    def keep(v1):
        return v1.placeholder("float32", (), name)

    report = imported(graph_of(flag, keep), tmp_path)
    np.testing.assert_allclose(answers(tmp_path), expected(), rtol=1e-4, atol=1e-5)
    assert f"{name} = 1.0" in " ".join(explain(report))


def test_a_graph_that_normalizes_by_its_batch_is_refused(tmp_path):
    graph = graph_of(lambda v1: v1.constant(True))
    sentence = refused(lambda: imported(graph, tmp_path), "FusedBatchNorm", "training=False")
    assert "own batch" in sentence


def test_functions_are_written_out_to_a_limit(monkeypatch):
    """They may call one another, each twice the next."""
    graph = Graph(graph_of(lambda v1: v1.constant(True), functional=True))
    assert functions.decided(graph) == ["cond"]
    written = Graph(functions.inlined(graph))
    assert "cond" in written.nodes
    assert not functions.decided(written)
    monkeypatch.setattr(functions, "MOST_NODES", 1)
    with pytest.raises(NotRewritten):
        functions.inlined(graph)
