"""Quantization-aware training as a stage of the TFLite toolchain, run in the worker process."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.tflite import convert, differentiable, ranges
from int8gate.quantizers.training import trainer
from int8gate.quantizers.training.trained_file import Ranges
from int8gate.runtimes.artifact import TFLITE
from int8gate.runtimes.litert import LiteRTSession


def _quantize(float_model: Path, recipe: Recipe, found: Ranges, directory: Path) -> dict:
    return convert.quantize(float_model, recipe, found, None, directory)


def _run(model: Path, samples: list[np.ndarray]) -> list[np.ndarray]:
    return LiteRTSession(model).predict(*samples)


def _snapped(model: Path, found: Ranges, pixels: tuple[float, float]) -> Ranges:
    ranged = ranges.with_ranges(model.read_bytes(), found)
    _, names = ranges.snapped_to_pixels(ranged, *pixels)
    return {**found, **{name: pixels for name in names if name in found}}


TOOLS = trainer.Differentiable(
    TFLITE, differentiable.read, differentiable.write, _quantize, _run, _snapped
)
train = functools.partial(trainer.train, TOOLS)  # the stage
