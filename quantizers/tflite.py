"""The TFLite toolchain: a SavedModel (`export.py`) to calibrated and quantized TFLite.

These functions run in the worker process (`worker.py`): TensorFlow's converter can segfault.
"""

from __future__ import annotations

from pathlib import Path

from quantizers.pixel_ranges import snapped_to_pixels
from quantizers.recipe import Recipe
from runtimes.artifact import in_order
from runtimes.litert import describe

CALIBRATED = "calibrated.tflite"
MODEL = "model.tflite"


def calibrate(float_model: Path, saved_model: Path, samples: Path, directory: Path) -> None:
    """Runs the float `.tflite` on the samples and keeps every range.

    Samples are float32 (n, h, w, c): .npy, or .npz with an array for each input of the network,
    which `saved_model` names. Writes `directory`/calibrated.tflite: the float graph with each
    tensor's minimum and maximum in its quantization field (TFLite schema,
    `QuantizationParameters`). Any int8 recipe reads it. It is what the converter does inside, but
    in steps of their own, so that a network of 550 MB does not stand in memory a dozen times.
    """
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    calibrator = Calibrator(float_model.read_bytes())
    ranged = calibrator.calibrate(_representative(samples, saved_model))
    (directory / CALIBRATED).write_bytes(ranged)


def convert(
    saved_model: Path,
    recipe: Recipe,
    calibrated: Path | None,
    samples: Path | None,
    pixel_range: tuple[float, float],
    directory: Path,
) -> dict:
    """Writes `directory`/model.tflite by the recipe; returns its description (`describe`).

    `calibrated` is needed for int8 activations, `samples` for int16 (its quantizer calibrates by
    itself, with the same minimum and maximum). `pixel_range` is what pixels 0 and 255 become.
    """
    (directory / MODEL).write_bytes(
        _quantize_calibrated(calibrated, recipe, pixel_range)
        if recipe.activations == "int8"
        else _convert_directly(saved_model, recipe, samples)
    )
    return describe(directory / MODEL)


def _quantize_calibrated(
    calibrated: Path, recipe: Recipe, pixel_range: tuple[float, float]
) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    ranged = calibrated.read_bytes()
    if recipe.pixel_ranges:
        ranged = snapped_to_pixels(ranged, *pixel_range)
    return mlir_quantize(
        ranged,
        input_data_type=tf.dtypes.as_dtype(recipe.io),
        output_data_type=tf.dtypes.as_dtype(recipe.io),
        disable_per_channel=not recipe.per_channel,
    )


def _convert_directly(saved_model: Path, recipe: Recipe, samples: Path | None) -> bytes:
    import tensorflow as tf

    converter = _converter(saved_model)
    if not recipe.is_reference:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.activations == "int16":
        converter.representative_dataset = _representative(samples, saved_model)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = tf.int16
    return converter.convert()


def _converter(saved_model: Path):
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(saved_model))


def _representative(samples: Path, saved_model: Path):
    import numpy as np

    loaded = np.load(samples, allow_pickle=False)
    if samples.suffix == ".npy":
        return lambda: ([sample[None]] for sample in loaded)
    arrays = [loaded[name] for name in in_order(loaded.files)]
    if len(arrays) == 1:
        return lambda: ([sample[None]] for sample in arrays[0])
    names = _input_names(saved_model)
    return lambda: (
        {name: array[i : i + 1] for name, array in zip(names, arrays, strict=True)}
        for i in range(len(arrays[0]))
    )


def _input_names(saved_model: Path) -> list[str]:
    import tensorflow as tf

    signature = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    return in_order(signature.structured_input_signature[1])
