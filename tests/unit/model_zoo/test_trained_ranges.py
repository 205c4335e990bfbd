"""Files of TensorFlow that a quantization-aware training left are refused, with what to do.

tensorflow-model-optimization 0.8.1 writes FakeQuantWithMinMaxVars and layers QuantizeWrapperV2,
TF1's contrib.quantize the same operators, NVIDIA's toolkit QuantizeAndDequantizeV2.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from int8gate.model_zoo.importers.tf1.importer import import_frozen_graph
from int8gate.model_zoo.user_models import keras2_file, keras_file
from int8gate.model_zoo.user_models.saved_model_file import signature

WHAT_TO_DO = "export it as ONNX in QDQ form .python -m tf2onnx.convert., or convert it"
SHAPE = (1, 4, 4, 2)


def fake(values):
    return tf.quantization.fake_quant_with_min_max_vars(values, -1.0, 1.0)


def of_nvidia(values):
    return tf.quantization.quantize_and_dequantize_v2(values, -1.0, 1.0, range_given=True)


def frozen(rounding) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, SHAPE, name="image")
        kernel = tf.constant(np.ones((1, 1, 2, 3), np.float32))
        tf.nn.conv2d(rounding(image), kernel, 1, "SAME", name="maps")
    return graph.as_graph_def()


@pytest.mark.parametrize("rounding", [fake, of_nvidia])
def test_a_frozen_graph(tmp_path, rounding):
    (tmp_path / "graph.pb").write_bytes(frozen(rounding).SerializeToString())
    with pytest.raises(ValueError, match=WHAT_TO_DO) as error:
        import_frozen_graph(tmp_path / "graph.pb", tmp_path, np.zeros(SHAPE, np.float32))
    assert "was trained quantization-aware (node " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_frozen_graph_whose_training_is_left_over(tmp_path):
    graph = frozen(lambda image: image)
    with tf.Graph().as_default() as extra:
        fake(tf.compat.v1.placeholder(tf.float32, SHAPE, name="unread"))
    graph.node.extend(extra.as_graph_def().node)
    (tmp_path / "graph.pb").write_bytes(graph.SerializeToString())
    ends = ("image",), ("maps",)
    import_frozen_graph(tmp_path / "graph.pb", tmp_path, np.zeros(SHAPE, np.float32), *ends)


def test_a_saved_model(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec(SHAPE, tf.float32, name="image")
    serve = tf.function(lambda image: {"maps": fake(image)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": serve})
    with pytest.raises(ValueError, match=WHAT_TO_DO) as error:
        signature(tmp_path / "saved")
    assert "is a FakeQuantWithMinMaxVars" in str(error.value)


@pytest.mark.parametrize("layer", ["QuantizeLayer", "QuantizeWrapperV2"])
def test_a_keras_file(tmp_path, monkeypatch, layer):
    import tf_keras

    file = tmp_path / "trained.h5"
    tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))]).save(file)
    stated = keras2_file._stated(file)[1].replace('"Dense"', f'"{layer}"')
    monkeypatch.setattr(keras2_file, "_stated", lambda _: ("2.15.0", stated))
    with pytest.raises(ValueError, match=WHAT_TO_DO) as error:
        keras_file.load(file)
    assert f"by tensorflow-model-optimization (a layer {layer})" in str(error.value)
