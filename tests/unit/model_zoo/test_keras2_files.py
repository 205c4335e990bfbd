"""Models that Keras 2 wrote, in `.h5` files and archives: read, exported, and not trusted."""

from __future__ import annotations

import os

import numpy as np
import pytest
from data_folders import refused

from int8gate.model_zoo.user_models import keras2_file, keras_file
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import inspect
from int8gate.model_zoo.user_models.resolve import resolve
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.network_export import export_keras
from int8gate.runtimes.tensorflow_graphs import SavedModelSession

SIDE = 16


def depthwise(layers, models):
    """As Teachable Machine has it: a model in a Sequential in a Sequential."""
    picture = layers.Input((SIDE, SIDE, 3))
    maps = layers.ZeroPadding2D(((0, 1), (0, 1)))(layers.Conv2D(4, 3, 2, use_bias=False)(picture))
    maps = layers.DepthwiseConv2D(3, 2, use_bias=False)(maps)
    base = models.Model(picture, layers.ReLU(6.0)(layers.BatchNormalization()(maps)), name="base")
    features = models.Sequential([base, layers.GlobalAveragePooling2D()])
    top = models.Sequential([layers.Dense(5, activation="softmax", input_shape=(4,))])
    return models.Sequential([features, top])


def arithmetic(layers, models):
    """With operators of tensors, which Keras 2 keeps as layers that call TensorFlow."""
    import tensorflow as tf

    picture = layers.Input((SIDE, SIDE, 3))
    maps = layers.Conv2D(4, 3)(picture * 2.0 - 1.0)
    maps = tf.nn.relu6(maps[:, 1:, :, :] + 3.0) / 6.0
    return models.Model(picture, layers.Dense(5)(tf.reduce_mean(maps, axis=[1, 2])))


def two_heads(layers, models):
    picture = layers.Input((SIDE, SIDE, 3))
    flat = layers.Flatten()(picture)
    heads = [layers.Dense(2, name="offsets")(flat), layers.Dense(5, name="classes")(flat)]
    return models.Model(picture, heads)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("network", [depthwise, arithmetic, two_heads])
def test_what_keras_2_wrote_is_read_and_exported(network, suffix, tmp_path):
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = network(tf_keras.layers, tf_keras)
    file = tmp_path / f"old{suffix}"
    model.save(file)
    assert keras2_file.is_of_keras_2(file)
    found = inspect(file, "keras")
    assert found.picture == ("nhwc", (SIDE, SIDE), 3)
    assert [end.dtype for end in (*found.inputs, *found.outputs)] == ["float32"] * (
        1 + len(found.outputs)
    )
    own = OwnModel("old", file, "models.toml", "other")
    export_keras(resolve(own, found), "compact", Weights("own", file), 0, tmp_path)
    pictures = np.random.default_rng(0).random((3, SIDE, SIDE, 3), np.float32)
    expected = model.predict(pictures, verbose=0)
    expected = expected if isinstance(expected, list) else [expected]
    exported = SavedModelSession(tmp_path / "saved_model").predict(pictures)
    for wanted, got in zip(expected, exported, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_outputs_are_called_as_their_layers(tmp_path):
    import keras
    import tf_keras

    for library in (keras, tf_keras):
        file = tmp_path / f"{library.__name__}.h5"
        two_heads(library.layers, library).save(file)
        assert [end.name for end in inspect(file, "keras").outputs] == ["offsets", "classes"]


def test_a_single_output_or_a_dictionary_of_them_has_names_too(tmp_path):
    import keras

    picture = keras.Input((SIDE, SIDE, 3), name="picture")
    flat = keras.layers.Flatten()(picture)
    scores = keras.layers.Dense(5, name="classes")(flat)
    boxes = keras.layers.Dense(4, name="corners")(flat)
    for number, (outputs, names) in enumerate(
        [(scores, ["classes"]), ({"scores": scores, "boxes": boxes}, ["boxes", "scores"])]
    ):
        file = tmp_path / f"named{number}.keras"
        keras.Model(picture, outputs).save(file)
        found = inspect(file, "keras")
        assert [end.name for end in found.inputs] == ["picture"]
        assert [end.name for end in found.outputs] == names


def test_a_file_of_keras_3_is_not_taken_for_an_old_one(tmp_path):
    import keras

    for suffix in (".h5", ".keras"):
        file = tmp_path / f"new{suffix}"
        two_heads(keras.layers, keras).save(file)
        assert not keras2_file.is_of_keras_2(file)
        assert isinstance(keras_file.load(file), keras.Model)


@pytest.mark.parametrize("version", [b"2.4.0", "2.2.4-tf", None])
def test_the_version_may_be_bytes_or_missing(version, tmp_path):
    """Early TensorFlow wrote bytes; some converters leave it out."""
    import h5py
    import tf_keras

    file = tmp_path / "old.h5"
    two_heads(tf_keras.layers, tf_keras).save(file)
    with h5py.File(file, "r+") as opened:
        del opened.attrs["keras_version"]
        if version:
            opened.attrs["keras_version"] = version
    assert keras2_file.is_of_keras_2(file)
    assert isinstance(keras_file.load(file), tf_keras.Model)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_lambda_layer_needs_trust(suffix, tmp_path):
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((4, 4, 3)), layers.Lambda(lambda x: x * 2)])
    file = tmp_path / f"code{suffix}"
    model.save(file)
    refused(lambda: keras_file.load(file), file.name, "Lambda layer", "--trust")
    twice = keras_file.load(file, trust=True)(np.ones((1, 4, 4, 3), np.float32))
    assert np.all(np.asarray(twice) == 2)


def test_a_class_of_the_users_own_is_named(tmp_path):
    import tf_keras

    class Swish(tf_keras.layers.Layer):
        pass

    file = tmp_path / "custom.h5"
    tf_keras.Sequential([tf_keras.layers.Input((4, 4, 3)), Swish()]).save(file)
    refused(lambda: keras_file.load(file), file.name, "does not know", "Swish")


@pytest.mark.parametrize(
    "function", ["io.write_file", "py_function", "numpy_function", "io.gfile.copy", "function"]
)
def test_a_function_that_does_more_than_compute_is_refused(function):
    entry = {"class_name": "TFOpLambda", "config": {"name": "evil", "function": function}}
    with pytest.raises(ValueError, match=function):
        keras2_file.check({"config": {"layers": [entry]}})
    entry["config"]["function"] = "math.multiply"
    keras2_file.check({"config": {"layers": [entry]}})


def test_reading_an_old_file_does_not_choose_the_old_keras_for_others(tmp_path):
    import tf_keras

    before = os.environ.get("TF_USE_LEGACY_KERAS")
    file = tmp_path / "old.h5"
    two_heads(tf_keras.layers, tf_keras).save(file)
    keras_file.load(file)
    assert os.environ.get("TF_USE_LEGACY_KERAS") == before
