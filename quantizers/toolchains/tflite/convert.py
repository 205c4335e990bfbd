"""The TFLite toolchain: from a SavedModel (`export.py`) or a float `.tflite` to quantized TFLite.

These functions run in the worker process (`worker.py`): TensorFlow's converter can segfault.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from int8gate.quantizers.file_scales import FileScales
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import AFFINE, FLOAT32, INT4, Recipe
from int8gate.quantizers.toolchains.tflite.attention_masks import with_near_masks
from int8gate.quantizers.toolchains.tflite.float_operators import note, of_widths
from int8gate.quantizers.toolchains.tflite.given_scales import with_given_scales
from int8gate.quantizers.toolchains.tflite.int4_weights import with_int4_weights
from int8gate.quantizers.toolchains.tflite.int16_forms import with_int16_forms
from int8gate.quantizers.toolchains.tflite.mixed_widths import quantized_mix
from int8gate.quantizers.toolchains.tflite.ranges import snapped_to_pixels, with_ranges
from int8gate.quantizers.toolchains.tflite.silicon_scales import with_silicon_scales
from int8gate.runtimes.artifact import SAVED_MODEL, TFLITE, in_order
from int8gate.runtimes.litert import describe
from int8gate.runtimes.tflite_graph import read_graph

NO_PICTURE = (
    "{} had no effect: no tensor has a range that is nearly that of pixels ({:g}..{:g}) and not "
    "exactly that; the figures are those of tflite_int8"
)


def to_tflite(exported: Path, directory: Path) -> dict:
    """Writes `directory`/model.tflite, the float reference of `exported`/saved_model.

    Returns its description (`describe`).
    """
    return convert(exported / SAVED_MODEL, RECIPES["tflite_fp32"], None, directory)


def quantize(
    float_model: Path,
    recipe: Recipe,
    ranges: Mapping[str, tuple[float, float]],
    pixel_range: tuple[float, float] | None,
    directory: Path,
    of_file: FileScales | None = None,
) -> dict:
    """Writes `directory`/model.tflite, full INT8 by the recipe; returns its description,
    with `notes` for the record.

    `float_model` is a float `.tflite`, whoever wrote it, `ranges` are those of its tensors
    (`tflite_collector`, `thresholds`), `pixel_range` is what pixels 0 and 255 become, None of
    arrays. Weights get the scales that the model came with, `of_file`, where it has some.
    """
    ranged, notes = with_ranges(*with_near_masks(float_model.read_bytes(), ranges)), []
    if recipe.pixel_ranges and pixel_range is None:
        notes.append(f"{recipe.name} had no effect: its samples are no pictures")
    elif recipe.pixel_ranges and pixel_range is not None:
        ranged, snapped = snapped_to_pixels(ranged, *pixel_range)
        if not snapped:
            notes.append(NO_PICTURE.format(recipe.name, *pixel_range))
    graph = read_graph(float_model)
    chosen = of_widths(graph, recipe)
    quantized, told = quantized_mix(ranged, graph, recipe, chosen, recipe.io)
    if recipe.weights == INT4:
        quantized = with_int4_weights(quantized, ranged, recipe)
    if recipe.scales != AFFINE:
        quantized = with_silicon_scales(quantized, float_model.read_bytes(), recipe.scales)
    if of_file:
        quantized, clipped = with_given_scales(quantized, float_model.read_bytes(), of_file)
        told = [*told, *clipped]
    (directory / TFLITE).write_bytes(quantized)
    notes += told
    if chosen[FLOAT32]:
        notes += note(directory / TFLITE, graph, chosen[FLOAT32])
    return describe(directory / TFLITE) | {"notes": notes}


def convert(source: Path, recipe: Recipe, samples: Path | None, directory: Path) -> dict:
    """Writes `directory`/model.tflite by a recipe that needs no ranges of ours.

    `source` is a SavedModel, or for int16 activations also a float `.tflite` file.
    `samples` are needed for int16 (its quantizer calibrates by itself, with minimum and maximum):
    float32 (n, h, w, c), .npy, or .npz with an array for each input of the network. Returns the
    file's description.
    """
    import tensorflow as tf

    if source.suffix == ".tflite":
        (directory / TFLITE).write_bytes(_to_int16(source.read_bytes(), samples))
        return describe(directory / TFLITE)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
    if not recipe.is_reference:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.activations == "int16":
        converter.representative_dataset = _representative(samples, source)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = tf.int16
        quantize_float = converter._quantize  # called with the float model, before calibration
        converter._quantize = lambda model, *rest: quantize_float(with_int16_forms(model), *rest)
    (directory / TFLITE).write_bytes(converter.convert())
    return describe(directory / TFLITE)


def _to_int16(model: bytes, samples: Path) -> bytes:
    """A float `.tflite` with int16 activations: what the converter does after its conversion."""
    import numpy as np
    import tensorflow as tf
    from tensorflow.lite.python.optimize import calibrator

    loaded = np.load(samples, allow_pickle=False)
    arrays = [loaded] if samples.suffix == ".npy" else [loaded[n] for n in in_order(loaded.files)]
    ready = calibrator.add_intermediate_tensors(with_int16_forms(model))
    return calibrator.Calibrator(ready).calibrate_and_quantize(
        lambda: ([array[i : i + 1] for array in arrays] for i in range(len(arrays[0]))),
        tf.int16,
        tf.int16,
        allow_float=False,
        activations_type=tf.int16,
        bias_type=tf.int64,
    )


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
