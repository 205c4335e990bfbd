"""Training super-resolution networks in colour: random crops, the absolute error of the pixels.

The paper's loss (Lim et al. 2017), in units of `GREY_LEVELS`.
"""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.colour_super_resolution import ColourPairs
from int8gate.calibration_data.synthetic.super_resolution import luminance
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

GREY_LEVELS = 10.0


def _draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Small pictures and, in place of their luminance, the large ones."""
    pairs = ColourPairs(split, spec.network("compact").size, count=stage.samples)
    images = np.stack([pairs.image(index) for index in range(stage.samples)])
    return images, np.stack([pairs.large(index) for index in range(stage.samples)])


def _targets(spec: ModelSpec, labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.float32)


def _scored(labels: np.ndarray) -> np.ndarray:
    """The large pictures' luminance, uint8 (n, h, w, 1)."""
    return luminance(labels)[..., None]


def _absolute_error(spec: ModelSpec):
    def loss(restored, large):
        return (restored - large).abs().mean() / GREY_LEVELS

    return loss


COLOUR_SUPER_RESOLUTION = TrainingTask(
    stages=(
        Stage(epochs=6, samples=8000, scale=0.5, learning_rate=2e-3, final=0.3),
        Stage(epochs=4, samples=2000, learning_rate=1e-3, final=0.0, batch=16),
    ),
    draw=_draw,
    loss=_absolute_error,
    encode=_targets,
    scored=_scored,
)
