"""Where a model begins and ends when its file leaves a choice: signatures, no shapes."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused

from int8gate.cli.init import begin
from int8gate.model_zoo.importers.tf1.importer import import_frozen_graph
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import inspect
from int8gate.model_zoo.user_models.resolve import resolve
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.network_export import export_saved_model
from int8gate.runtimes.tensorflow_graphs import SavedModelSession

SIDE = 8
PICTURES = np.random.default_rng(0).random((2, SIDE, SIDE, 3), np.float32)


def save(folder, *names: str):
    """A SavedModel whose signatures give the mean of a picture, once, twice, thrice ..."""
    import tensorflow as tf

    module, image = tf.Module(), tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")

    def times(factor: int):
        def serve(image):
            mean = factor * tf.reduce_mean(image, [1, 2])
            return {"output_10": mean, "output_2": -mean}

        return tf.function(serve, input_signature=[image])

    functions = {name: times(number + 1) for number, name in enumerate(names)}
    tf.saved_model.save(module, str(folder), signatures=functions)
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    return save(tmp_path_factory.mktemp("saved") / "model", "classify", "embed")


def test_a_model_of_several_signatures_lists_them(several):
    refused(
        lambda: inspect(several, "saved_model"), "2 signatures", "classify, embed", "signature = "
    )
    refused(
        lambda: inspect(several, "saved_model", signature="clasify"), "'clasify'", "classify, embed"
    )


@pytest.mark.parametrize(("signature", "factor"), [("classify", 1), ("embed", 2)])
def test_the_named_signature_is_the_model(several, signature, factor, tmp_path):
    own = OwnModel("gadget", several, "models.toml", "other", signature=signature)
    found = inspect(several, "saved_model", signature=signature)
    assert [end.name for end in found.outputs] == ["output_2", "output_10"]
    export_saved_model(resolve(own, found), "compact", Weights("own", several), 0, tmp_path)
    low, high = SavedModelSession(tmp_path / "saved_model").predict(PICTURES)
    np.testing.assert_allclose(high, factor * PICTURES.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(low, -high, rtol=1e-5)


@pytest.mark.parametrize("names", [("only",), ("serving_default", "embed")])
def test_the_only_one_and_the_default_need_no_name(names, tmp_path):
    folder = save(tmp_path / "model", *names)
    assert inspect(folder, "saved_model").inputs[0].name == "image"


def test_init_takes_the_name_and_writes_it(several, worker, tmp_path):
    output = tmp_path / "models.toml"
    refused(lambda: begin(several, output, worker), "--signature")
    text = begin(several, output, worker, signature="embed")
    output.write_text(text.replace('task = ""', 'task = "other"'))  # two outputs do not tell it
    (model,) = read_zoo(output)
    assert model.signature == "embed"
    assert model.format == "saved_model"


def test_the_key_is_of_saved_models(tmp_path):
    (tmp_path / "gadget.onnx").touch()
    table = '[models.gadget]\nfile = "gadget.onnx"\ntask = "other"\nsignature = "x"\n'
    (tmp_path / "models.toml").write_text(table)
    refused(
        lambda: read_zoo(tmp_path / "models.toml"), "[models.gadget]", "signature", "SavedModel"
    )


def test_a_placeholder_without_a_shape_is_declared(tmp_path):
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, None, "image")
        kernel = np.random.default_rng(1).normal(0, 1, (3, 3, 3, 5)).astype(np.float32)
        tf.reduce_mean(tf.nn.conv2d(image, kernel, 1, "SAME"), [1, 2], name="scores")
    file = tmp_path / "shapeless.pb"
    file.write_bytes(graph.as_graph_def().SerializeToString())
    found = inspect(file, "frozen_graph")
    own = OwnModel("gadget", file, "models.toml, [models.gadget]", "other")
    refused(lambda: resolve(own, found), "size is missing", "leaves it free")
    declared = OwnModel("g", file, "models.toml", "other", size=(SIDE, SIDE), channels=3)
    spec = resolve(declared, found)
    assert spec.compact.picture_shape == (SIDE, SIDE, 3)
    report = import_frozen_graph(file, tmp_path / "out", PICTURES, *spec.compact.ends)
    assert report["static_shapes"]["image:0"] == [1, SIDE, SIDE, 3]


def test_a_model_of_text_is_refused(tmp_path):
    """An encoded picture, for one: nothing of it is a range of pixels."""
    import onnx

    text = """<ir_version: 8, opset_import: ["" : 17]>
    reader (string[1] encoded) => (string[1] same) { same = Identity (encoded) }"""
    file = tmp_path / "reader.onnx"
    onnx.save(onnx.parser.parse_model(text), file)
    refused(lambda: inspect(file, "onnx"), file.name, "takes text", "encoded", "picture as numbers")
