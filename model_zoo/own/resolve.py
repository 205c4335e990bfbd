"""From a declaration and its file to a `ModelSpec`, which goes the way of every model.

What the declaration leaves out is taken from the file; what contradicts the file is refused in a
sentence that names the key.
"""

from __future__ import annotations

from model_zoo.own.declaration import OwnModel
from model_zoo.own.inspection import ModelFile
from model_zoo.spec import ModelSpec, Network

RECIPES = {  # by format: what such a file is brought to, the default first
    "onnx": ("onnx_int8",),
    "darknet": ("onnx_int8",),
    "pytorch": ("onnx_int8",),
}
OTHERS = ("tflite_int8",)
PREQUANTIZED = ("prequantized",)


def default_recipes(own: OwnModel) -> tuple[str, ...]:
    """The declared recipes, else what the file's format goes to first."""
    return own.recipes or RECIPES.get(own.format, OTHERS)


def declared_spec(own: OwnModel) -> ModelSpec:
    """A model of which the file was not opened yet: name, task, format, recipes."""
    return _spec(own, Network("", (None, None, 3), (0, 0), own.classes))


def resolve(own: OwnModel, file: ModelFile) -> ModelSpec:
    """The model with its input as the file has it.

    Raises ValueError naming table and key for what is missing or contradicts the file.
    """
    if len(file.inputs) != 1:
        listed = ", ".join(map(str, file.inputs))
        raise ValueError(
            f"{own.where}: {own.file.name} has {len(file.inputs)} inputs ({listed}), expected one "
            "picture: cut the model behind the others or make them constants"
        )
    (entry,) = file.inputs
    layout, sides, channels = file.picture
    if layout is None:
        raise ValueError(f"{own.where}: input {entry} is no picture, expected four sides")
    if own.layout and own.layout != layout and None not in entry.shape[1:]:
        raise ValueError(
            f"{own.where}: layout = {own.layout!r} contradicts the file, whose input is {entry}: "
            "leave the key out"
        )
    size = _agreed(own, "size", own.size, sides, str(entry))
    channels = _agreed(own, "channels", own.channels, channels, str(entry))
    batch = entry.shape[0]
    if batch not in (None, 1):
        raise ValueError(
            f"{own.where}: input {entry} has a batch of {batch}, expected 1 or a free one: export "
            "the model with batch 1"
        )
    _fit(own, size)
    declared = own.preprocessing.channels
    if declared not in (None, channels):
        raise ValueError(
            f"{own.where}: mean or std has {declared} numbers, the input {entry} has {channels} "
            "channels: give one for each, or one number for all"
        )
    ends = (own.inputs, own.outputs)
    return _spec(own, Network("", (*size, channels), size, _classes(own, file), ends=ends))


def own_samples(spec: ModelSpec, split: str):
    """The `SampleSet` of a resolved own model; raises ValueError where it declares no data."""
    from calibration_data.folders import open_data

    own = spec.own
    if own.data is None:
        raise ValueError(
            f'{own.where}: data is missing: add data = "FOLDER" with real pictures, with labels or '
            "without: calibration needs at least 100 of them"
        )
    fit, names = _fit(own, spec.compact.size), own.class_names
    return open_data(own.data, own.task, split, fit, own.labels, spec.compact.classes, names)


def _spec(own: OwnModel, network: Network) -> ModelSpec:
    return ModelSpec(
        name=own.name,
        task=own.task,
        source_format=own.format,
        preprocessing=own.preprocessing,
        compact=network,
        full=network,
        paper="",
        decode=own.decode,
        recipes=default_recipes(own),
        own=own,
    )


def _agreed(own: OwnModel, key: str, declared, found, entry: str):
    """What the file says, or the declaration where the file leaves it free."""
    fixed = found if isinstance(found, tuple) else (found,)
    given = declared if isinstance(declared, tuple) else (declared,)
    if declared is None:
        if None in fixed:
            example = "[224, 224]" if key == "size" else "3"
            raise ValueError(
                f"{own.where}: {key} is missing and the file leaves it free (input {entry}): add "
                f"{key} = {example}"
            )
        return found
    if any(side not in (None, want) for side, want in zip(fixed, given, strict=True)):
        raise ValueError(
            f"{own.where}: {key} = {list(given) if key == 'size' else declared} contradicts the "
            f"file, whose input is {entry}: leave the key out, or export the model at that size"
        )
    return declared


def _fit(own: OwnModel, size: tuple[int, int]):
    """The `Fit` of a declaration."""
    from calibration_data.fit import Fit  # Pillow: not while pytest collects

    try:
        return Fit(size, **own.fit)
    except ValueError as error:
        raise ValueError(f"{own.where}: {error}") from error


def _classes(own: OwnModel, file: ModelFile) -> int | None:
    """Those of the declaration; a classifier's outputs must be as many."""
    if own.task != "classification" or own.decode:
        return own.classes
    width = file.outputs[0].shape[-1] if file.outputs[0].shape else None
    if own.classes and width not in (None, own.classes):
        raise ValueError(
            f"{own.where}: classes = {own.classes} contradicts the file, whose output is "
            f"{file.outputs[0]}: a classifier has an output for each class"
        )
    return own.classes or width
