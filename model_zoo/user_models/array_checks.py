"""The inputs of an own model of arrays, as the file, the data and the declaration agree on them."""

from __future__ import annotations

from dataclasses import replace

from int8gate.calibration_data.arrays.inputs import Input
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import ModelFile
from int8gate.tasks.registry import task, tasks

FORMATS = ("keras", "saved_model", "onnx", "tflite")
OF_PICTURES = ("size", "channels", "layout", "fit", "interpolation", "colours", "crop", "pad")
OF_PICTURES += ("enlarge", "mean", "std", "scale", "range", "preprocess")


def check_keys(own: OwnModel) -> None:
    """Raises ValueError for keys, and a task, of pictures."""
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
