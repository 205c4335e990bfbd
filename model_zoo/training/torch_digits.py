"""Training PyTorch classifiers and segmentation networks on the scenes of `digits.py`."""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training import digits
from int8gate.model_zoo.training.training_task import Stage, TrainingTask


def _encode(spec: ModelSpec, labels: np.ndarray) -> np.ndarray:
    """Class numbers (n,) or label maps (n, h, w) as the int64 that PyTorch's losses take."""
    return labels.astype(np.int64)


def _cross_entropy(spec: ModelSpec):
    """Of logits with the classes last, (n, classes) or (n, h, w, classes)."""
    from torch.nn.functional import cross_entropy

    def loss(logits, labels):
        return cross_entropy(logits.flatten(0, -2), labels.flatten())

    return loss


CLASSIFICATION = TrainingTask(
    stages=(
        Stage(epochs=4, samples=8000, easy=True, scale=0.5),
        Stage(epochs=5, samples=12000, scale=0.5, final=0.1),
        Stage(epochs=4, samples=6000, learning_rate=1e-3, final=0.0),
    ),
    draw=digits.CLASSIFICATION.draw,
    loss=_cross_entropy,
    encode=_encode,
)
# A transformer has no convolution's prior of locality: it needs many more scenes, seen less often.
TRANSFORMER = TrainingTask(
    stages=(
        Stage(epochs=4, samples=32000, easy=True, scale=0.75, learning_rate=2e-3, batch=64),
        Stage(epochs=6, samples=80000, scale=0.75, learning_rate=1e-3, final=0.1, batch=64),
        Stage(epochs=3, samples=50000, learning_rate=5e-4, final=0.0, batch=64),
    ),
    draw=digits.CLASSIFICATION.draw,
    loss=_cross_entropy,
    encode=_encode,
)
SEGMENTATION = TrainingTask(
    stages=(
        Stage(epochs=3, samples=6000, easy=True, scale=0.5),
        Stage(epochs=4, samples=10000, scale=0.5),
        Stage(epochs=4, samples=8000, final=0.0, batch=16),
    ),
    draw=digits.SEGMENTATION.draw,
    loss=_cross_entropy,
    encode=_encode,
)
