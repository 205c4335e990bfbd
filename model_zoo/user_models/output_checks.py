"""How many classes an own model tells apart, by its declaration and by its outputs."""

from __future__ import annotations

from int8gate.engine.named import resolve
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import ModelFile
from int8gate.tasks.registry import task


def classes_of(own: OwnModel, file: ModelFile, size: tuple[int, int], heads=None) -> int | None:
    """Those of the declaration, else of the file; None where it does not tell.

    `heads` are those of a Darknet file. Raises ValueError where the two contradict each other.
    """
    found = heads[0].classes if heads else None
    count = task(own.task).classes_of
    if own.decode is None and count:
        found = resolve(count)(own, file, size)
    if own.classes and found not in (None, own.classes):
        raise ValueError(
            f"{own.where}: classes = {own.classes} contradicts the file, whose output is "
            f"{file.outputs[0]}: a network has an output for each class"
        )
    return own.classes or found


def of_classifier(own: OwnModel, file: ModelFile, size) -> int | None:
    """The one side of the first output that is not 1."""
    output = file.outputs[0]
    sides = [side for side in output.shape[1:] if side != 1]
    if len(sides) == 1:
        return sides[0]
    if not output.shape:
        return None
    cure = 'add decode, a function that makes (n, classes) of it, or declare task = "other"'
    if not sides:
        raise ValueError(
            f"{own.where}: output {output} is one number, which does not say which of two classes "
            f"it is for: {cure}"
        )
    raise ValueError(f"{own.where}: output {output} is no row of a score for each class: {cure}")


def of_label_map(own: OwnModel, file: ModelFile, size: tuple[int, int]) -> int | None:
    """The channels of a first output of the input's height and width."""
    shape = file.outputs[0].shape
    if len(shape) != 4 or None in shape[1:]:
        return None
    if shape[1:3] == size and shape[2:] != size:
        return shape[3]
    return shape[1] if shape[2:] == size else None
