"""The samples that a training takes: of the training split, whose last part is the validation part.

Neither calibration's nor evaluation's are among them: a task's training draws them from pictures of
a split of their own (`calibration_data/synthetic/picture_sources.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training import training_of
from int8gate.model_zoo.training.training_task import TrainingTask
from int8gate.runtimes.session import in_layout

SPLIT = "train"


def refusal(spec: ModelSpec, profile: str) -> str | None:
    """Why a model has no samples to train with, and what to do; None where it has some."""
    if spec.own:
        return (
            f"{spec.name} comes as a file, and no samples of a training are declared beside it: "
            "calibration and evaluation samples must not be trained on"
        )
    if profile != "compact":
        return f"{spec.name} has training samples of its compact profile alone: leave {profile} out"
    try:
        training_of(spec)
    except ValueError as error:
        return str(error)
    return None


def drawn_by(spec: ModelSpec) -> str:
    """What draws the samples, ``module:NAME``."""
    return training_of(spec)


class TrainingSamples:
    """Pictures uint8 (n, h, w, c) and labels (n, ...): `count` for training, then `validation`.

    `named` are what metrics take as the preprocessed inputs.
    """

    def __init__(self, spec: ModelSpec, count: int, validation: int) -> None:
        task: TrainingTask = resolve(training_of(spec))
        stage = replace(task.stages[-1], samples=count + validation, scale=1.0, easy=False)
        self._images, self._labels = task.draw(spec, SPLIT, stage)
        self._preprocessing = spec.preprocessing
        self.count = len(self._images) - validation

    def inputs(self, rows: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list:
        """Tensors of the network's inputs, of those samples of training."""
        import torch

        (shape,) = shapes
        real = in_layout(self._preprocessing.apply(self._images[rows]), shape)
        return [torch.from_numpy(np.ascontiguousarray(real))]

    def validation(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The numbers of the validation part's samples and their labels, `batch` at a time."""
        for start in range(self.count, len(self._images), batch):
            rows = np.arange(start, min(start + batch, len(self._images)))
            yield rows, self._labels[rows]

    def prepared(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Preprocessed samples by input, as what is around a network takes them."""
        return {"image": self._preprocessing.apply(self._images[rows])}
