"""The TOML that `int8gate init FILE` begins with: what the file tells, and what is left to say.

The inputs are one picture, or arrays (`takes_arrays`): each asks for other keys.
"""

from __future__ import annotations

import json
import re
from math import prod
from pathlib import Path

from int8gate.model_zoo.registry import zoo
from int8gate.model_zoo.spec import PREQUANTIZED
from int8gate.model_zoo.user_models.guesses import Guess, guess
from int8gate.model_zoo.user_models.inspection import End, ModelFile
from int8gate.model_zoo.user_models.resolve import recipes_of
from int8gate.model_zoo.user_models.toml_file import NAME
from int8gate.tasks.registry import names, tasks

LIKELY_SIZE = 224
COMMENT_AT = 34  # column
LONGEST_REMARK = 200  # characters
KEY_REMARKS = {
    "box_order": 'a guess; or "yxyx"',
    "box_unit": 'of the input, a guess; or "pixels"',
    "background": 'which of the scores is no class, a guess; or "last", "none"',
    "classes": "how many, a number: a map of class numbers does not tell",
    "blank": 'which column is no symbol: "first" (PyTorch, PaddleOCR) or "last" (TensorFlow)',
}
OF_CTC = {"classes": "the symbols in the outputs' order, a list, or a file with one a line"}
BYTES = {"int8": (-128, 127), "uint8": (0, 255)}
LEAST_VOCABULARY = 64  # fewer scores for each token are tags more often than the tokens that follow


def takes_arrays(found: ModelFile) -> bool:
    """Whether the file tells that it takes no picture: several inputs, or other than four sides."""
    first, *others = found.inputs
    return bool(others) or len(first.shape) not in (0, 4)


def guessed_task(found: ModelFile) -> str | None:
    """A reconstruction of the input is an autoencoder's, scores of a vocabulary for each token are
    a language model's, a row has scores of classes, one number is a value; None where the outputs
    tell nothing.
    """
    if len(found.outputs) != 1:
        return None
    (end,), taken = found.outputs, found.inputs[0]
    if len(found.inputs) == 1 and end.shape[1:] == taken.shape[1:]:
        return "anomaly"
    if len(found.inputs) == 1 and _scores_of_tokens(taken, end):
        return "language"
    sides = [side for side in end.shape[1:] if side != 1]
    if not end.shape or None in sides or len(sides) > 1:
        return None
    return "regression" if prod(sides) == 1 else "classification"


def _scores_of_tokens(taken: End, given: End) -> bool:
    """Numbers of tokens (n, length), and for each of them scores (n, length, vocabulary)."""
    if len(taken.shape) != 2 or len(given.shape) != 3 or given.shape[1] != taken.shape[1]:
        return False
    vocabulary = given.shape[2] or 0
    are_numbers = taken.dtype.startswith(("int", "uint")) and taken.scale is None
    return are_numbers and given.dtype.startswith("float") and vocabulary >= LEAST_VOCABULARY


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


def template(
    file: Path, found: ModelFile, signature: str | None = None, name: str | None = None
) -> str:
    """A commented table for the model; keys that the file settles are comments.

    `file` is the path that the TOML will hold, `signature` that of a SavedModel which was looked
    into, `name` the model's, by default after the file.
    """
    are_arrays = takes_arrays(found)
    made = Guess(guessed_task(found)) if are_arrays else guess(found)
    rule = (tasks()[made.task].accuracy if made.task else None) or "0.99 * float"
    lines = [
        _remark(f"{file.name}: {found.format}{_state_of(found)}"),
        *(_remark(f"  takes {end}") for end in found.inputs),
        *(_remark(f"  gives {end}") for end in found.outputs),
        f"[models.{name or _name(file)}]",
        f"file = {_text(file.as_posix())}",
        *([f"signature = {_text(signature)}"] if signature else []),
        _commented(*task_line(made.task)) if are_arrays else _task(made),
        *(data_lines(found, made.task) if are_arrays else _of_pictures(found, made)),
        *_recipes(found),
        f'# expect = {{ accuracy = "{rule}" }}',
    ]
    return "\n".join(lines) + "\n"


def _state_of(found: ModelFile) -> str:
    """Whether a file is no plain float model."""
    if found.is_quantized:
        return ", quantized"
    return ", with scales (QDQ), which are what ships" if found.has_scales else ""


def _of_pictures(found: ModelFile, made: Guess) -> list[str]:
    data = tasks()[made.task].data if made.task else "the folder of your pictures"
    return [
        _commented('data = "pictures"', data),
        _commented('# data = "samples.npz"', "in its place: arrays as inference feeds them"),
        *_decode(found, made),
        *_picture(found),
        *_numbers(found),
    ]


def check_name(name: str) -> None:
    """Raises ValueError for a name that no model of a team may have."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"--name {name}: expected letters, digits and underscores, beginning with a letter"
        )
    if name in zoo():
        raise ValueError(f"--name {name}: a model of int8gate's zoo is called so: choose another")


def _name(file: Path) -> str:
    """Of the table: letters, digits and underscores, and no name of the zoo."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", file.stem).strip("_") or "model"
    name = name if name[0].isalpha() else f"model_{name}"
    return f"my_{name}" if name in zoo() else name


def _task(made: Guess) -> str:
    if made.task is None:
        return _commented('task = ""', f"the file does not tell: choose one of {names()}")
    return _commented(f'task = "{made.task}"', f"a guess; one of {names()}")


def _decode(found: ModelFile, made: Guess) -> list[str]:
    """How the outputs become what is scored, with the keys that a known head takes."""
    known = tasks()[made.task].heads if made.task else {}
    lines = []
    if made.decode:
        listed = ", ".join([*known, "module:function"])
        lines = [_commented(f'decode = "{made.decode}"', f"a guess; one of {listed}")]
    elif made.needs_decode:
        listed = ", ".join([*known, "module:function"])
        lines = [_commented('decode = ""', f"the file does not tell: choose one of {listed}")]
    elif known and found.format != "darknet":
        listed = ", ".join(known)
        told = f"outputs to {made.task}; or one of {listed}"
        lines = [_commented('# decode = "module:function"', told)]
    remarks = KEY_REMARKS | (OF_CTC if made.decode == "ctc" else {})
    return lines + [
        _commented(f"{key} = {_text(value)}", remarks[key]) for key, value in made.keys.items()
    ]


def _picture(found: ModelFile) -> list[str]:
    layout, (height, width), channels = found.picture
    if layout is None:
        return ["# the file does not tell the input's shape"]
    lines = [f"# layout: {layout}, {found.inputs[0].dtype}, read from the file"]
    if height and width:
        lines.append(f"# size: {height} x {width}, read from the file")
    else:
        free = [side or LIKELY_SIZE for side in (height, width)]
        lines.append(_commented(f"size = {free}", "[height, width]: the file leaves it free"))
    if channels is None:
        lines.append(_commented("channels = 3", "the file leaves it free"))
    lines.append(
        '# fit = "stretch"                 # or "crop" (with crop = 0.875), or "letterbox"'
    )
    if channels == 1:
        return [*lines, '# colours: "gray", for there is one channel']
    if channels not in (None, 3):
        told = f"makes the {channels} channels, with range = [low, high]"
        return [*lines, _commented('preprocess = "module:function"', told)]
    return [*lines, '# colours = "rgb"                 # or "bgr"']


def _numbers(found: ModelFile) -> list[str]:
    """How pixels become what the network takes."""
    entry = found.inputs[0]
    if entry.scale is not None:
        return _range_of(entry)
    if entry.dtype != "float32" and found.format != "frozen_graph":
        told = f"# the input takes {entry.dtype}, and int8gate gates networks of float32 pixels:"
        return [told, "# export the model without its Cast, or pytest refuses it"]
    if entry.dtype == "uint8":
        return ["# the input takes pixels as they are, uint8: no scale, mean, std or range"]
    if not entry.dtype.startswith("float"):
        return [f"# the input takes {entry.dtype}: say what pixels 0 and 255 become", 'range = ""']
    return [
        "# (pixel * scale - mean) / std, as inference does it; the file does not tell: the next",
        "# three lines are a guess, in their place range = [-1, 1] or [0, 255] may be right",
        'scale = "1/255"',
        "mean = 0.0",
        "std = 1.0",
    ]


def _range_of(entry: End) -> list[str]:
    """What the first and the last byte stand for: fed so, pixels are stored as they are."""
    scale, zero_point = entry.quantization
    told = f"scale {scale:.9g} and zero point {zero_point}"
    if entry.dtype not in BYTES:
        return [
            f"# the input is {entry.dtype} of {told}: say what pixels 0 and 255 become",
            "range = [-1, 1]",
        ]
    low, high = ((level - zero_point) * scale for level in BYTES[entry.dtype])
    return [
        f"# what pixels 0 and 255 become, from the input's {told}",
        f"range = [{low:.9g}, {high:.9g}]",
    ]


def _recipes(found: ModelFile) -> list[str]:
    names = PREQUANTIZED if found.is_quantized else recipes_of(found.format)
    listed = ", ".join(f'"{name}"' for name in names)
    return [f"recipes = [{listed}]"]


def _remark(text: str) -> str:
    """A comment of one line, whatever names stand in the file."""
    return "# " + "".join(c if c.isprintable() else "?" for c in text)[:LONGEST_REMARK]


def _commented(line: str, comment: str) -> str:
    return f"{line.ljust(COMMENT_AT)}# {comment}"


def _text(value: str) -> str:
    """A basic string of TOML, of which JSON's are."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
