"""The TFLite toolchain: Keras network to SavedModel, SavedModel to calibrated and quantized TFLite.

These functions run in the worker process (`worker.py`): TensorFlow's converter can segfault.
The canonical source form is a frozen, fixed-shape concrete function saved as a `tf.Module` with a
signature: it converts in every mode, for dynamic input shapes and for Keras 3 models, which direct
routes do not (README, "Why the export looks the way it does").
"""

from __future__ import annotations

from pathlib import Path

from model_zoo import weights as zoo_weights
from model_zoo.networks import build, settle_normalization
from model_zoo.spec import ModelSpec
from quantizers.recipe import Recipe

SAVED_MODEL = "saved_model"
CALIBRATED = "calibrated.tflite"
MODEL = "model.tflite"


def export_saved_model(
    spec: ModelSpec, profile: str, weights: zoo_weights.Weights, seed: int, directory: Path
) -> None:
    """Writes `directory`/saved_model: the network frozen at its declared size, batch 1."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    keras.utils.clear_session()  # automatic layer names count from 0, whatever was built before
    keras.utils.set_random_seed(seed)
    network = build(spec, profile, official=weights.kind == "official")
    if weights.path:
        zoo_weights.load(network, weights.path)
    if weights.kind == "random":
        settle_normalization(network, spec.preprocessing.range, seed)
    declared = spec.network(profile)
    signature = tf.TensorSpec(
        (1, *declared.size, declared.input_shape[-1]), tf.float32, name="image"
    )
    traced = tf.function(lambda image: network(image, training=False))
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(signature))
    module = tf.Module()
    module.serve = tf.function(
        lambda image: {"output": frozen(image)[0]}, input_signature=[signature]
    )
    tf.saved_model.save(
        module,
        str(directory / SAVED_MODEL),
        signatures={"serving_default": module.serve},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),  # swish has one
    )


def calibrate(saved_model: Path, samples: Path, directory: Path) -> None:
    """Runs the float network on the samples (.npy, float32 (n, h, w, c)) and keeps every range.

    Writes `directory`/calibrated.tflite: the float graph with each tensor's minimum and maximum in
    its quantization field (TFLite schema, `QuantizationParameters`). Any int8 recipe reads it.
    """
    import tensorflow as tf

    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _representative(samples)
    converter._experimental_calibrate_only = True  # the converter offers no public way
    (directory / CALIBRATED).write_bytes(converter.convert())


def convert(
    saved_model: Path,
    recipe: Recipe,
    calibrated: Path | None,
    samples: Path | None,
    directory: Path,
) -> None:
    """Writes `directory`/model.tflite by the recipe.

    `calibrated` is needed for int8 activations, `samples` for int16 (its quantizer calibrates by
    itself, with the same minimum and maximum).
    """
    (directory / MODEL).write_bytes(
        _quantize_calibrated(calibrated, recipe)
        if recipe.activations == "int8"
        else _convert_directly(saved_model, recipe, samples)
    )


def _quantize_calibrated(calibrated: Path, recipe: Recipe) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    return mlir_quantize(
        calibrated.read_bytes(),
        input_data_type=tf.dtypes.as_dtype(recipe.io),
        output_data_type=tf.dtypes.as_dtype(recipe.io),
    )


def _convert_directly(saved_model: Path, recipe: Recipe, samples: Path | None) -> bytes:
    import tensorflow as tf

    converter = _converter(saved_model)
    if not recipe.is_reference:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.activations == "int16":
        converter.representative_dataset = _representative(samples)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = tf.int16
    return converter.convert()


def _converter(saved_model: Path):
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(saved_model))


def _representative(samples: Path):
    import numpy as np

    batch = np.load(samples, allow_pickle=False)
    return lambda: ([sample[None]] for sample in batch)
