"""Remedies against rounding, as stages of the TFLite toolchain, run in the worker process."""

from __future__ import annotations

from pathlib import Path

from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.remedies import adaptive_rounding, bias_correction
from int8gate.quantizers.remedies.trial import Tools
from int8gate.quantizers.toolchains.tflite import collector, convert, weighted_network
from int8gate.quantizers.toolchains.tflite.rounded_weights import rounded
from int8gate.runtimes.artifact import TFLITE


def _quantize(float_model: Path, recipe: Recipe, ranges, directory: Path) -> dict:
    return convert.quantize(float_model, recipe, ranges, None, directory)


TOOLS = Tools(TFLITE, collector.collect, _quantize, weighted_network.read, rounded)


def correct_bias(
    float_model: Path, statistics: Path, samples: Path, recipe: Recipe, directory: Path
) -> dict:
    """See `bias_correction.correct`."""
    return bias_correction.correct(TOOLS, float_model, statistics, samples, recipe, directory)


def round_adaptively(
    float_model: Path, statistics: Path, samples: Path, recipe: Recipe, directory: Path
) -> dict:
    """See `adaptive_rounding.round_adaptively`."""
    return adaptive_rounding.round_adaptively(
        TOOLS, float_model, statistics, samples, recipe, directory
    )
