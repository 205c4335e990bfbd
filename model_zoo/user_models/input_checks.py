"""The inputs of an own model, as the file, the declaration and the data agree on them.

One picture (`picture_input`), or arrays of any shape (`array_inputs`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.preprocessing import Hooked
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import LAYOUT_OF_FORMAT, End, ModelFile
from int8gate.tasks.registry import task, tasks

PICTURES = (1, 3)  # channels of what a data folder gives

FORMATS = ("keras", "saved_model", "pytorch", "onnx", "tflite")
OF_PICTURES = ("size", "channels", "layout", "fit", "interpolation", "colours", "crop", "pad")
OF_PICTURES += ("enlarge", "mean", "std", "scale", "range", "preprocess")


def picture_input(own: OwnModel, file: ModelFile) -> tuple[str, tuple[int, int], int]:
    """Layout, (height, width) and channels of the one input.

    Raises ValueError naming table and key for what is missing or contradicts the file.
    """
    if len(file.inputs) != 1:
        listed = ", ".join(map(str, file.inputs))
        raise ValueError(
            f"{own.where}: {own.file.name} has {len(file.inputs)} inputs ({listed}), expected one "
            "picture: cut the model behind the others or make them constants, or give data as "
            'arrays, data = "samples.npz" with one for each input'
        )
    (entry,) = file.inputs
    layout, sides, channels = file.picture
    if layout is None:
        raise ValueError(
            f"{own.where}: input {entry} is no picture, expected four sides: of other inputs data "
            'are arrays, data = "samples.npz"'
        )
    if own.layout and own.layout != layout and None not in entry.shape[1:]:
        raise ValueError(
            f"{own.where}: layout = {own.layout!r} contradicts the file, whose input is {entry}: "
            "leave the key out"
        )
    _check_dtype(own, file, entry)
    if layout == "nchw" and LAYOUT_OF_FORMAT.get(own.format) != layout:
        raise ValueError(
            f"{own.where}: input {entry} has its channels first, expected them last in a model of "
            "TensorFlow: export it with an input (1, height, width, channels)"
        )
    size = _agreed(own, "size", own.size, sides, entry)
    channels = _agreed(own, "channels", own.channels, channels, entry)
    batch = entry.shape[0]
    if batch not in (None, 1):
        raise ValueError(
            f"{own.where}: input {entry} has a batch of {batch}, expected 1 or a free one: export "
            "the model with batch 1"
        )
    declared = own.preprocessing.channels
    if declared not in (None, channels):
        raise ValueError(
            f"{own.where}: mean or std has {declared} numbers, the input {entry} has {channels} "
            "channels: give one for each, or one number for all"
        )
    return layout, size, channels


def checked_fit(own: OwnModel, size: tuple[int, int], channels: int):
    """The `Fit` of a declaration; pictures of a network of one channel are gray.

    Raises ValueError naming the key where the pictures would not have the network's channels.
    """
    from int8gate.calibration_data.fit import Fit  # Pillow: not while pytest collects

    colours = {"colours": "gray"} if channels == 1 else {}
    try:
        fit = Fit(size, **colours | own.fit)
    except ValueError as error:
        raise ValueError(f"{own.where}: {error}") from error
    if fit.channels != channels and not isinstance(own.preprocessing, Hooked):
        cure = (
            "leave the key out"
            if channels in PICTURES
            else "add preprocess, a function that makes the others"
        )
        raise ValueError(
            f'{own.where}: colours = "{fit.colours}" gives pictures of {fit.channels} channels, '
            f"the network takes {channels}: {cure}"
        )
    return fit


def _check_dtype(own: OwnModel, file: ModelFile, entry: End) -> None:
    """A frozen graph's preprocessing, which the host runs, may take bytes; a network may not."""
    if file.is_quantized or entry.dtype == "float32" or own.format == "frozen_graph":
        return
    raise ValueError(
        f"{own.where}: input {entry} takes {entry.dtype}, expected float32: export the model "
        "without the cast, from float32 pixels"
    )


def _agreed(own: OwnModel, key: str, declared: Any, found: Any, entry: End) -> Any:
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


def check_keys(own: OwnModel) -> None:
    """Raises ValueError for keys, and a task, of pictures."""
    assert own.data is not None  # it holds arrays
    if given := [key for key in own.keys if key in OF_PICTURES]:
        raise ValueError(
            f"{own.where}: {given[0]} is of pictures, and {own.data.name} holds arrays, which the "
            "network gets as they are: leave the key out, and save the samples as inference makes "
            "them"
        )
    if task(own.task).arrays is None:
        known = ", ".join(each.name for each in tasks().values() if each.arrays)
        raise ValueError(
            f"{own.where}: task {own.task} takes pictures, and {own.data.name} holds arrays: "
            f"expected one of {known}"
        )


def array_inputs(own: OwnModel, file: ModelFile) -> tuple[Input, ...]:
    """Every input of the file, with the sides that it leaves free as the data have them.

    Raises ValueError naming table and key for what is missing or contradicts the file.
    """
    from int8gate.calibration_data.arrays.opening import first_rows, matched  # with Pillow

    assert own.data is not None  # it holds arrays
    if own.format not in FORMATS:
        raise ValueError(
            f"{own.where}: {own.file.name} is read for pictures alone; arrays are taken by "
            f"{', '.join(FORMATS)}: export the model to one of these"
        )
    for end in file.inputs:
        if end.shape[:1] not in ((None,), (1,)):
            raise ValueError(
                f"{own.where}: input {end} has a batch of {(*end.shape, 'none')[0]}, expected 1 or "
                "a free one: export the model with batch 1"
            )
    declared = tuple(Input(end.name, end.shape[1:], end.dtype) for end in file.inputs)
    if file.is_quantized:
        declared = tuple(
            replace(each, dtype="float32") if end.scale is not None else each
            for each, end in zip(declared, file.inputs, strict=True)
        )
    try:
        rows = first_rows(own.data, own.features)
        names = matched(declared, rows, own.data)
    except (ValueError, OSError) as error:
        raise type(error)(f"{own.where}: {error}") from error
    found = []
    for each, name in zip(declared, names, strict=True):
        given = rows.shapes[name]
        fits = len(given) == len(each.shape) and all(
            side in (None, have) for side, have in zip(each.shape, given, strict=True)
        )
        if not fits:
            sides = ", ".join(map(str, ("n", *given)))
            raise ValueError(
                f"{own.where}: array {name} of {own.data.name} is ({sides}), the network takes "
                f"{each}: save it in that shape, without the network's batch"
            )
        found.append(replace(each, shape=tuple(map(int, given))))
    return tuple(found)
