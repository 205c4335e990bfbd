"""Remedies as stages of the ONNX toolchain (`Toolchain.remedies`), run in the worker process."""

from __future__ import annotations

from pathlib import Path

from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.remedies import equalization, smoothing
from int8gate.quantizers.toolchains.onnx import weighted_network
from int8gate.runtimes.artifact import ONNX


def equalize(
    float_model: Path, statistics: Path, samples: Path, recipe: Recipe, directory: Path
) -> dict:
    """Writes `directory`/model.onnx, equalized across layers; returns its `notes`.

    Layers with a RELU6 between them stay as they are: ONNX Runtime has no integer kernel of Min.
    """
    network = weighted_network.read(float_model)
    notes = equalization.equalize(network, recipe.per_channel, caps=False)
    network.save(directory / ONNX)
    return {"notes": notes}


def smooth(
    float_model: Path, statistics: Path, samples: Path, recipe: Recipe, directory: Path
) -> dict:
    """Writes `directory`/model.onnx, smoothed behind its normalizations; returns its `notes`."""
    network = weighted_network.read(float_model)
    notes = smoothing.smooth(network, samples)
    network.save(directory / ONNX)
    return {"notes": notes}
