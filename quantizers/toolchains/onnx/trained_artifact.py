"""Quantization-aware training as a stage of the ONNX toolchain, run in the worker process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.recipe import Recipe
from int8gate.quantizers.toolchains.onnx import differentiable
from int8gate.quantizers.toolchains.onnx.quantize import quantize
from int8gate.quantizers.training.trainer import Differentiable
from int8gate.quantizers.training.trainer import train as train_shared
from int8gate.quantizers.training.training_schedule import Schedule
from int8gate.runtimes.artifact import ONNX


def _run(model: Path, samples: list[np.ndarray]) -> list[np.ndarray]:
    return exact_session(model).predict(*samples)


TOOLS = Differentiable(ONNX, differentiable.read, differentiable.write, quantize, _run)


def train(
    float_model: Path,
    statistics: Path,
    spec: ModelSpec,
    recipe: Recipe,
    profile: str,
    schedule: Schedule,
    host: Path | None,
    checkpoint: Path,
    directory: Path,
) -> dict:
    """See `stage.train`."""
    chosen = spec, recipe, profile, schedule, host, checkpoint, directory
    return train_shared(TOOLS, float_model, statistics, *chosen)
