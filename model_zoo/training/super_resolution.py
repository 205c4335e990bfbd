"""Training super-resolution networks: random crops, the squared error of the luminance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from int8gate.calibration_data.synthetic.super_resolution import SuperResolutionPairs
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask


def _draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    pairs = SuperResolutionPairs(split, spec.network("compact").size, count=stage.samples)
    return next(pairs.batches(stage.samples))


def _targets(spec: ModelSpec, labels: np.ndarray) -> np.ndarray:
    """Labels in the network's unit."""
    return spec.preprocessing.apply(labels)


def _squared_error(spec: ModelSpec):
    import keras

    return keras.losses.MeanSquaredError()


SUPER_RESOLUTION = TrainingTask(
    stages=(
        Stage(epochs=8, samples=16000, scale=0.5, learning_rate=2e-3, final=0.3, batch=32),
        Stage(epochs=5, samples=5000, learning_rate=1e-3, final=0.0, batch=16),
    ),
    draw=_draw,
    loss=_squared_error,
    encode=_targets,
)

# Of a network that has to learn the enlargement itself.
WITHOUT_SKIP = replace(
    SUPER_RESOLUTION,
    stages=(
        Stage(epochs=12, samples=16000, scale=0.5, learning_rate=4e-3, final=0.3, batch=32),
        Stage(epochs=30, samples=5000, learning_rate=2e-3, final=0.0, batch=16),
    ),
)
