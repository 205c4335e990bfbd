"""The TOML that `int8gate init FILE` begins with: what the file tells, and what is left to say."""

from __future__ import annotations

import re
from pathlib import Path

from model_zoo.own.declaration import OwnModel
from model_zoo.own.inspection import ModelFile
from model_zoo.own.resolve import default_recipes

LIKELY_SIZE = 224


def template(file: Path, found: ModelFile) -> str:
    """A commented table for the model; keys that the file settles are comments."""
    layout, (height, width), channels = found.picture
    name = re.sub(r"\W+", "_", file.stem).strip("_") or "model"
    name = name if name[0].isalpha() else f"model_{name}"
    own = OwnModel(name, file, "", recipes=("prequantized",) if found.is_quantized else ())
    lines = [
        f"# {file.name}: {found.format}",
        *(f"#   takes {end}" for end in found.inputs),
        *(f"#   gives {end}" for end in found.outputs),
        f"[models.{name}]",
        f'file = "{file.as_posix()}"',
        f'task = "{_task(found)}"'.ljust(34) + "# " + _TASKS,
        'data = "pictures"                 # a folder of real pictures, see the README',
        *_size(height, width),
    ]
    if channels is None:
        lines.append("channels = 3                      # the file leaves it free")
    if layout:
        lines.append(f"# layout: {layout}, read from the file")
    lines += [
        '# fit = "stretch"                 # or "crop" (with crop = 0.875), or "letterbox"',
        '# colours = "rgb"                 # or "bgr", "gray"',
        "# (pixel * scale - mean) / std, as inference does it; or range = [-1, 1] for all of it",
        *_numbers(found, channels),
        f"recipes = {_listed(default_recipes(own))}",
        '# expect = { accuracy = "0.99 * float" }',
    ]
    return "\n".join(lines) + "\n"


_TASKS = "classification, segmentation, detection, pose, keypoints, super_resolution, other"


def _task(found: ModelFile) -> str:
    """A guess from the outputs: (1, classes) is a classifier's, four sides are a label map's."""
    shapes = [end.shape for end in found.outputs]
    if len(shapes) > 1:
        return "detection"
    sides = len(shapes[0])
    if sides == 2:
        return "classification"
    return "segmentation" if sides == 4 else "other"


def _size(height: int | None, width: int | None) -> list[str]:
    if height and width:
        return [f"# size: {height} x {width}, read from the file"]
    free = [side or LIKELY_SIZE for side in (height, width)]
    return [f"size = {free}".ljust(34) + "# [height, width]: the file leaves it free, say it"]


def _numbers(found: ModelFile, channels: int | None) -> list[str]:
    if found.is_quantized:
        return ["# the file takes integers: say the range that its scale and zero point stand for"]
    return ['scale = "1/255"', "mean = 0.0", "std = 1.0"]


def _listed(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
