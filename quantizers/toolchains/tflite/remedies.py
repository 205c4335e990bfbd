"""Remedies as stages of the TFLite toolchain (`Toolchain.remedies`), run in the worker process."""

from __future__ import annotations

from pathlib import Path

from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.remedies import equalization, smoothing
from int8gate.quantizers.toolchains.tflite import weighted_network
from int8gate.runtimes.artifact import TFLITE


def equalize(
    float_model: Path, statistics: Path, samples: Path, recipe: Recipe, directory: Path
) -> dict:
    """Writes `directory`/model.tflite, equalized across layers; returns its `notes`."""
    network = weighted_network.read(float_model)
    notes = equalization.equalize(network, recipe.per_channel)
    network.save(directory / TFLITE)
    return {"notes": notes}


def smooth(
    float_model: Path, statistics: Path, samples: Path, recipe: Recipe, directory: Path
) -> dict:
    """Writes `directory`/model.tflite, smoothed behind its normalizations; returns its `notes`."""
    network = weighted_network.read(float_model)
    notes = smoothing.smooth(network, samples)
    network.save(directory / TFLITE)
    return {"notes": notes}
