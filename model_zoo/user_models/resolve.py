"""From a declaration and its file to a `ModelSpec`, which goes the way of every model.

What the declaration leaves out is taken from the file; what contradicts the file is refused in a
sentence that names the key.
"""

from __future__ import annotations

from int8gate.calibration_data.preprocessing import AS_THEY_ARE
from int8gate.model_zoo.spec import PREQUANTIZED, ModelSpec, Network
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.decoding import classes_of
from int8gate.model_zoo.user_models.input_checks import (
    array_inputs,
    check_keys,
    checked_fit,
    picture_input,
)
from int8gate.model_zoo.user_models.inspection import ModelFile
from int8gate.model_zoo.user_models.tflite_file import is_half, is_quantized
from int8gate.tasks.registry import task

RECIPES = {  # by format: what such a file is brought to, the default first
    "onnx": ("onnx_int8",),
    "darknet": ("onnx_int8",),
    "pytorch": ("onnx_int8",),
    "torch_qat": ("onnx_int8",),
}
OTHERS = ("tflite_int8",)


def default_recipes(own: OwnModel) -> tuple[str, ...]:
    """The declared recipes, else what such a file goes to first: a quantized one as it is."""
    if own.recipes:
        return own.recipes
    if own.format == "tflite" and is_quantized(own.file):
        return PREQUANTIZED
    return recipes_of(own.format)


def recipes_of(format: str) -> tuple[str, ...]:
    """What a float file of the format is brought to."""
    return RECIPES.get(format, OTHERS)


def declared_spec(own: OwnModel) -> ModelSpec:
    """A model of which the file was not opened yet: name, task, format, recipes."""
    return _spec(own, Network("", (None, None, 3), (0, 0), own.classes))


def resolve(own: OwnModel, file: ModelFile) -> ModelSpec:
    """The model with its input as the file has it.

    Raises ValueError naming table and key for what is missing or contradicts the file.
    """
    _check_recipes(own, file)
    if own.takes_arrays:
        check_keys(own)
        inputs = array_inputs(own, file)
        classes = classes_of(own, file, inputs[0].shape)
        told = _of_head(own)
        sides = (None, None, 0), (0, 0)
        return _spec(own, Network("", *sides, classes, arguments=told, inputs=inputs))
    layout, size, channels = picture_input(own, file)
    fit = checked_fit(own, size, channels)
    told = {  # for the decoders
        "layout": layout,
        "mean": own.preprocessing.mean,
        "std": own.preprocessing.std,
        "colours": fit.colours,
        **_of_head(own),
    }
    if own.format == "darknet" and (heads := _heads(own)):
        told["heads"] = heads
    network = Network(
        "",
        (*size, channels),
        size,
        classes_of(own, file, size, told.get("heads")),
        arguments=told,
        ends=(own.inputs, own.outputs),
    )
    return _spec(own, network)


TRAINING = "train"  # a split: all of `training_data`


def own_samples(spec: ModelSpec, split: str):
    """The `SampleSet` of a resolved own model, of one that comes quantized all pictures.

    Raises ValueError where it declares no data.
    """
    own, network = spec.own_model, spec.full
    data = own.training_data if split == TRAINING else own.data
    is_whole = split == TRAINING or not spec.is_calibrated
    if network.inputs:
        from int8gate.calibration_data.arrays.opening import WHOLE, open_arrays

        kind = task(own.task).arrays
        named = kind, network.classes, own.class_names, own.features
        return open_arrays(data, WHOLE if is_whole else split, network.inputs, *named)
    if data is None:
        raise ValueError(
            f'{own.where}: data is missing: add data = "FOLDER" with real pictures, with labels or '
            "without: calibration needs at least 100 of them"
        )
    from int8gate.calibration_data.folders import WHOLE, open_data

    fit = checked_fit(own, network.size, network.input_shape[-1])
    labels = own.labels, network.classes, own.class_names
    return open_data(data, own.task, WHOLE if is_whole else split, fit, *labels)


def _of_head(own: OwnModel) -> dict:
    """What the declaration says of the outputs."""
    told = {"head": own.head, "class_names": own.class_names}
    return {key: value for key, value in told.items() if value}


def _spec(own: OwnModel, network: Network) -> ModelSpec:
    judged = task(own.task)
    return ModelSpec(
        name=own.name,
        task=own.task,
        source_format=own.format,
        preprocessing=AS_THEY_ARE if own.takes_arrays else own.preprocessing,
        compact=network,
        full=network,
        paper="",
        decode=judged.heads.get(own.decode, own.decode) or judged.decode,
        recipes=default_recipes(own),
        source=own.qat.network if own.qat else None,  # its code makes the network
        own=own,
    )


def _check_recipes(own: OwnModel, file: ModelFile) -> None:
    quantizing = [name for name in own.recipes if name not in PREQUANTIZED]
    if file.is_quantized and quantizing:
        raise ValueError(
            f'{own.where}: recipes has "{quantizing[0]}", and {own.file.name} is quantized '
            "already: leave the key out, or give the float file"
        )
    if not file.is_quantized and len(quantizing) < len(own.recipes):
        raise ValueError(
            f'{own.where}: recipes has "prequantized", and {own.file.name} is a float model: leave '
            "the key out, or give the quantized .tflite file"
        )
    if own.float_file and not file.is_quantized:
        raise ValueError(
            f"{own.where}: float_file names the float model of a quantized one, and "
            f"{own.file.name} is a float model itself: leave the key out"
        )
    if own.format == "tflite" and not file.is_quantized and is_half(own.file):
        raise ValueError(
            f"{own.where}: {own.file.name} has weights of float16, which is not quantized further: "
            "give the float32 file"
        )


def _heads(own: OwnModel) -> list:
    """What the [yolo] sections of a Darknet file say of its outputs."""
    from int8gate.model_zoo.importers.darknet.cfg import read, yolo_head

    return [yolo_head(section) for section in read(own.file)[1] if section.kind == "yolo"]
