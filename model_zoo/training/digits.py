"""Training classifiers and segmentation networks on digit scenes, easy ones first."""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.scenes import EASY_STYLES, TRAINING_STYLES, DigitScenes
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask


def _draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    network = spec.network("compact")
    hard = TRAINING_STYLES[spec.task] if split == "train" else None
    style = EASY_STYLES[spec.task] if stage.easy else hard
    scenes = DigitScenes(
        spec.task, split, network.size, network.input_shape[-1], stage.samples, style
    )
    return next(scenes.batches(stage.samples))


def _cross_entropy(from_logits: bool):
    def loss(spec: ModelSpec):
        import keras

        return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)

    return loss


CLASSIFICATION = TrainingTask(
    stages=(
        Stage(epochs=5, samples=8000, easy=True, scale=0.5),
        Stage(epochs=5, samples=12000, scale=0.5, final=0.1),
        Stage(epochs=4, samples=8000, learning_rate=1e-3, final=0.0),
    ),
    draw=_draw,
    loss=_cross_entropy(from_logits=False),  # keras.applications end in softmax
    metrics=("accuracy",),
)
SEGMENTATION = TrainingTask(
    stages=(
        Stage(epochs=2, samples=4000, easy=True, batch=16),
        Stage(epochs=8, samples=8000, final=0.0, batch=16),
    ),
    draw=_draw,
    loss=_cross_entropy(from_logits=True),
    metrics=("accuracy",),
)
