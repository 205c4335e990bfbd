"""What `int8gate init FILE` proposes for a model whose inputs are arrays, not one picture."""

from __future__ import annotations

from math import prod

from int8gate.model_zoo.user_models.inspection import End, ModelFile
from int8gate.tasks.registry import tasks


def takes_arrays(found: ModelFile) -> bool:
    """Whether the file tells that it takes no picture: several inputs, or other than four sides."""
    first, *others = found.inputs
    return bool(others) or len(first.shape) not in (0, 4)


def guessed_task(found: ModelFile) -> str | None:
    """A reconstruction of the input is an autoencoder's, a row has scores of classes, one number is
    a value; None where the outputs tell nothing.
    """
    if len(found.outputs) != 1:
        return None
    (end,), taken = found.outputs, found.inputs[0]
    if len(found.inputs) == 1 and end.shape[1:] == taken.shape[1:]:
        return "anomaly"
    sides = [side for side in end.shape[1:] if side != 1]
    if not end.shape or None in sides or len(sides) > 1:
        return None
    return "regression" if prod(sides) == 1 else "classification"


def task_line(task: str | None) -> tuple[str, str]:
    """The key `task` and its remark: those that take arrays."""
    listed = ", ".join(each.name for each in tasks().values() if each.arrays)
    return (
        f'task = "{task or ""}"',
        f"{'a guess' if task else 'the file does not tell'}; one of {listed}",
    )


def data_lines(found: ModelFile, task: str | None) -> list[str]:
    """The key `data`, and what the file has to hold."""
    lines = ['data = "samples.npz"              # or a .npy, a .csv, a folder of them; it holds']
    lines += [f"#   {_array(end)}" for end in found.inputs]
    lines.append(
        f"#   labels (n,): {tasks()[task].array_labels if task else 'what is to be found'}"
    )
    lines.append("#   sources (n,) where samples belong together (of a speaker, of a day)")
    if len(found.inputs) == 1 and found.inputs[0].dtype == "float32":
        lines.append('# data = "recordings"             # CLASS/*.wav instead, with')
        lines.append('# features = "module:function"    # float32 (t,) in -1..1 to the input')
    return lines


def _array(end: End) -> str:
    sides = ", ".join("?" if side is None else str(side) for side in ("n", *end.shape[1:]))
    name = "".join(c if c.isprintable() else "?" for c in end.name)
    return f"{name} ({sides}) {end.dtype}: values as inference feeds them"
