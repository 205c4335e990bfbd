"""Training language models on the training documents of `calibration_data.texts`."""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.texts.windows import training_windows
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask


def _draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 and the tokens that follow, int64 (samples, length), of a split's documents."""
    network = spec.network("compact")
    assert network.tokenizer is not None  # of every language model of the zoo
    (length,) = network.inputs[0].shape
    assert length is not None
    return training_windows(split, stage.samples, length, resolve(network.tokenizer)())


def _cross_entropy(spec: ModelSpec):
    """Of logits (n, length, vocabulary) and token numbers (n, length), in nats a token."""
    from torch.nn.functional import cross_entropy

    def loss(logits, labels):
        return cross_entropy(logits.flatten(0, -2), labels.flatten())

    return loss


LANGUAGE = TrainingTask(
    stages=(Stage(epochs=4, samples=16000, batch=16, learning_rate=5e-3, final=0.0),),
    draw=_draw,
    loss=_cross_entropy,
)
