"""Reading frozen graphs: what is no frozen graph, and where one begins and ends."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from data_folders import refused
from frozen_graphs import frozen, graph_def, images

from int8gate.model_zoo.importers.tf1.graph_ends import find_ends
from int8gate.model_zoo.importers.tf1.importer import import_frozen_graph, read_graph_def
from int8gate.runtimes.tensorflow_graphs import HostGraph


def built(build) -> object:
    """The GraphDef of what `build` adds to a new graph."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        build(tf)
    return graph.as_graph_def()


def test_a_frozen_graph_is_read(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(frozen("dynamic"))
    assert len(read_graph_def(path).node) == len(graph_def("dynamic").node)


def test_missing_file_is_refused(tmp_path):
    assert "nowhere.pb" in refused(
        partial(read_graph_def, tmp_path / "nowhere.pb"), kind=FileNotFoundError
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x08\x01" * 40, "GraphDef"),
        (b"node {\n  name: 'x'\n}\n", "is text"),
        (b"<!DOCTYPE html><html>", "is text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no whole GraphDef"),
    ],
)
def test_foreign_file_is_refused(tmp_path, content, words):
    (tmp_path / "graph.pb").write_bytes(content)
    assert words in refused(partial(read_graph_def, tmp_path / "graph.pb"))


def test_truncated_file_is_refused(tmp_path):
    path, whole = tmp_path / "graph.pb", frozen("dynamic")
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(partial(read_graph_def, path))


def test_missing_node_is_refused(tmp_path):
    graph = graph_def("dynamic")
    del graph.node[0]
    (tmp_path / "graph.pb").write_bytes(graph.SerializeToString())
    assert "does not hold" in refused(partial(read_graph_def, tmp_path / "graph.pb"))


def test_file_beyond_the_limit_is_refused(tmp_path):
    with (tmp_path / "graph.pb").open("wb") as file:
        file.truncate(2**31)  # sparse
    assert "2.0 GiB" in refused(partial(read_graph_def, tmp_path / "graph.pb"))


def test_saved_model_is_refused(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.serve = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec((1,), tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "model"))
    for path in (tmp_path / "model", tmp_path / "model" / "saved_model.pb"):
        message = refused(partial(read_graph_def, path))
        assert "SavedModel" in message
        assert "freeze it first" in message


def test_unfrozen_variables_are_refused(tmp_path):
    def build(tf):
        image = tf.compat.v1.placeholder(tf.float32, (1, 4), "image")
        weights = tf.compat.v1.get_variable("weights", (4, 2), use_resource=False)
        tf.matmul(image, weights)

    (tmp_path / "graph.pb").write_bytes(built(build).SerializeToString())
    message = refused(partial(read_graph_def, tmp_path / "graph.pb"))
    assert "weights" in message
    assert "freeze it first" in message


def test_variable_that_only_training_reads_is_left_out():
    def build(tf):
        image = tf.compat.v1.placeholder(tf.float32, (1, 4), "image")
        tf.matmul(image, tf.ones((4, 2)), name="scores")
        tf.compat.v1.train.get_or_create_global_step()

    ends, graph, _ = find_ends(built(build), (), (), "graph.pb")
    assert ends.outputs == ("scores:0",)
    assert not [node for node in graph.node if node.op.startswith("Var")]


def test_several_outputs_are_all_taken():
    def build(tf):
        image = tf.compat.v1.placeholder(tf.float32, (1, 4), "image")
        for name in ("heatmap", "offsets", "displacements"):
            tf.matmul(image, tf.ones((4, 2)), name=name)

    ends, _, _ = find_ends(built(build), (), (), "graph.pb")
    assert ends.outputs == ("heatmap:0", "offsets:0", "displacements:0")


def losing(tf) -> None:
    image = tf.compat.v1.placeholder(tf.float32, (1, 4), "image")
    labels = tf.compat.v1.placeholder(tf.float32, (1, 2), "labels")
    scores = tf.matmul(image, tf.ones((4, 2)))
    tf.identity(scores, name="scores")
    tf.reduce_mean((scores - labels) ** 2, name="loss")


def test_leftover_output_is_listed_with_dtype_and_shape():
    message = refused(partial(find_ends, built(losing), (), (), "graph.pb"))
    assert "scores:0 (float32 (1, 2)), loss:0 (float32 ())" in message
    assert "name its outputs" in message


def test_named_output_settles_it():
    ends, graph, _ = find_ends(built(losing), (), ("scores",), "graph.pb")
    assert (ends.inputs, ends.outputs) == (("image:0",), ("scores:0",))
    assert "labels" not in {node.name for node in graph.node}


def test_named_output_needs_its_inputs():
    message = refused(partial(find_ends, built(losing), ("image",), ("loss",), "graph.pb"))
    assert "need labels beside image:0" in message


def test_several_images_are_listed():
    message = refused(partial(find_ends, graph_def("two_images"), (), (), "graph.pb"))
    assert "left:0 (float32 (1, 16, 16, 3)), right:0 (float32 (1, 16, 16, 3))" in message


def test_several_images_may_be_named(tmp_path):
    (tmp_path / "graph.pb").write_bytes(frozen("two_images"))
    both = [images("two_images"), images("two_images")[::-1]]
    told = import_frozen_graph(tmp_path / "graph.pb", tmp_path, both, inputs=("left:0", "right:0"))
    assert told["network_inputs"] == ["left:0", "right:0"]
    assert len(HostGraph(tmp_path).whole([each[:1] for each in both])) == 1


def test_tensor_that_is_not_there_is_refused():
    message = refused(partial(find_ends, graph_def("dynamic"), ("picture",), (), "graph.pb"))
    assert "no tensor picture" in message
    assert "scores:0" in message


def test_graph_may_begin_at_an_inner_tensor(tmp_path):
    def build(tf):
        encoded = tf.compat.v1.placeholder(tf.string, (), "encoded")
        image = tf.io.decode_png(encoded, 3, name="decoded")
        pixels = tf.cast(image, tf.float32)[None]
        tf.nn.conv2d(pixels, tf.ones((3, 3, 3, 2)), 1, "SAME", name="features")

    path = tmp_path / "graph.pb"
    path.write_bytes(built(build).SerializeToString())
    samples = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    assert "encoded:0 (string ())" in refused(partial(import_frozen_graph, path, tmp_path, samples))
    told = import_frozen_graph(path, tmp_path, samples, inputs=("decoded",))
    assert told["inputs"] == ["decoded:0"]
    host = HostGraph(tmp_path)
    assert host.whole(samples[:1])[0].shape == (1, 8, 8, 2)
    assert host.before(samples[:1])[0].dtype == np.float32


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((0, 16, 16, 3), np.float32), "no samples"),
        (np.zeros((2, 8, 8, 3), np.float32), "a sample of image:0 has shape"),
        (np.zeros((2, 16, 16, 3), np.complex64), "samples of image:0 are complex64"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path, samples, words):
    (tmp_path / "graph.pb").write_bytes(frozen("nested"))
    with pytest.raises(ValueError, match=words):
        import_frozen_graph(tmp_path / "graph.pb", tmp_path, samples)


def test_package_loads_without_tensorflow():
    import subprocess
    import sys

    check = (
        "import sys; from int8gate.model_zoo.importers.tf1 import importer, cut_network; "
        "import int8gate.runtimes.tensorflow_graphs; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
