"""Scales that a network came with (a file in QDQ form), as ranges and scales of a float artifact.

The importer leaves the float network and what its pairs said (`importers/onnx/qdq`);
`scale_matching.py` finds the tensors and weights of a toolchain's float artifact that they are of.

`file_scales.json` stands beside the float artifact. The quantizer takes its ranges in place of
calibration's, and its weight scales in place of those of the largest weight.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from int8gate.engine.errors import some_of
from int8gate.quantizers.recipe_type import AFFINE, EIGHT_BITS, INT8, Recipe

FILE_SCALES = "file_scales.json"
SAME_SCALE = 1e-6  # relative


@dataclass(frozen=True)
class LayerScales:
    """Of a layer's weights: int8 scales and zero points (outputs,), of one value where the file has
    one scale for all."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    is_per_tensor: bool


@dataclass
class FileScales:
    """`ranges` by tensor of the float artifact, `weights` by the name of the constant.

    `names` says for each tensor which of the file it is, `unused` are those of the file that the
    artifact has no tensor for.
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    weights: dict[str, LayerScales] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    layers: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Shipped:
    """What an artifact has: scale and zero point (of int8) by tensor, scales by constant."""

    activations: Mapping[str, tuple[float, int]]
    weights: Mapping[str, np.ndarray]


def of_artifact(float_model: Path) -> FileScales | None:
    """What stands beside a float artifact; None of a network that came without scales."""
    file = float_model.with_name(FILE_SCALES)
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    content["ranges"] = {name: (low, high) for name, (low, high) in content["ranges"].items()}
    content["weights"] = {
        name: LayerScales(tuple(of["scales"]), tuple(of["zero_points"]), of["is_per_tensor"])
        for name, of in content["weights"].items()
    }
    return FileScales(**content)


def check_recipe(name: str, recipe: Recipe) -> None:
    """Raises ValueError where a recipe would not ship the scales that a model came with."""
    why = ""
    if recipe.is_reference:
        return
    if recipe.is_trained:
        why = "trains scales of its own"
    elif recipe.remedies:
        why = f"changes the weights that they are of (+{recipe.remedies[0]})"
    elif recipe.activations not in EIGHT_BITS or recipe.weights != INT8:
        why = f"has {recipe.weights} weights and {recipe.activations} activations"
    elif recipe.scales != AFFINE:
        why = f"makes scales {recipe.scales.replace('_', ' ')}"
    if why:
        raise ValueError(
            f"{name} came with scales (QDQ), and {recipe.name} {why}: choose onnx_int8, "
            "tflite_int8 or tflite_uint8, which ship those of the file, or give the float model"
        )


def why_unchanged(name: str) -> str:
    """Why no remedy and no other width is for a model that came with scales, and what is."""
    return (
        f"{name} came with scales (QDQ), which ship as they are, and remedies and other widths "
        "change them: train it further, or give the float model"
    )


def check_weights(of_file: FileScales, recipe: Recipe) -> None:
    """Raises ValueError where weights with a scale for each channel would get one for all."""
    for name, of in of_file.weights.items():
        if not recipe.per_channel and not of.is_per_tensor:
            raise ValueError(
                f"{recipe.name} gives weights one scale, and the file has {len(of.scales)} for the "
                f"channels of {name}: choose the recipe per channel, which ships those"
            )


def notes(
    of_file: FileScales, ranges: Mapping[str, tuple[float, float]], shipped: Shipped
) -> list[str]:
    """Sentences for the record: how many scales of an artifact are the file's, and which are not.

    `ranges` are all that the quantizer was given.
    """
    ranged = [name for name in shipped.activations if name in ranges]
    differing = [
        name
        for name in ranged
        if name in of_file.ranges and not _ships(of_file.ranges[name], *shipped.activations[name])
    ]
    of_files = {shipped.activations[name] for name in ranged if name in of_file.ranges}
    calibrated = [  # what is moved alone has the scale of what it is moved from
        name
        for name in ranged
        if name not in of_file.ranges and shipped.activations[name] not in of_files
    ]
    count = len(calibrated)
    same = len(ranged) - len(differing) - count
    kept = [
        name
        for name, of in of_file.weights.items()
        if name in shipped.weights
        and np.allclose(shipped.weights[name], of.scales, rtol=SAME_SCALE, atol=0)
    ]
    told = [
        f"Scales of {same} of {len(ranged)} activations and of the weights of {len(kept)} of "
        f"{of_file.layers} layers are those that the file came with; "
        + (
            f"{count} {'was' if count == 1 else 'were'} calibrated ({some_of(calibrated)})"
            if calibrated
            else "none was calibrated"
        ),
        *of_file.notes,
        "It is compared with the network as it was trained, its fake quantization included",
    ]
    if differing:
        name = differing[0]
        low, high = of_file.ranges[name]
        told.append(
            f"{len(differing)} of the activations ({some_of(differing)}) with another scale than "
            f"the file's: {name} has {shipped.activations[name][0]:.6g} in place of "
            f"{(high - low) / 255:.6g}, which its operator fixes or shares with another tensor"
        )
    unread = [*of_file.unused]
    unread += [of for name, of in of_file.names.items() if name not in shipped.activations]
    unread = [of for of in dict.fromkeys(unread) if of not in _names_of(of_file, ranged)]
    if unread:
        told.append(
            f"{len(unread)} of the scales that it came with are of tensors that are not rounded "
            f"here ({some_of(unread)})"
        )
    other = [name for name in of_file.weights if name not in kept]
    if other:
        told.append(f"the weights {some_of(other)} have other scales than the file's")
    return told


def _names_of(of_file: FileScales, tensors: Iterable[str]) -> set[str]:
    return {of_file.names[name] for name in tensors if name in of_file.names}


def _ships(limits: tuple[float, float], scale: float, zero_point: int) -> bool:
    """Whether that scale and zero point of int8 are those of a range."""
    low, high = limits
    step = (high - low) / 255
    return abs(scale / step - 1) <= SAME_SCALE and round(-128 - low / step) == zero_point
