"""The samples that a training takes: of the training split, whose last part is the validation part.

Neither calibration's nor evaluation's are among them: a task's training draws them from pictures of
a split of their own (`calibration_data/synthetic/picture_sources.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from int8gate.calibration_data.sample_set import PICTURE
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

    `host` is an imported frozen graph, whose pre-processing runs before the network.
    """

    def __init__(
        self, spec: ModelSpec, count: int, validation: int, host: Path | None = None
    ) -> None:
        task: TrainingTask = resolve(training_of(spec))
        stage = replace(task.stages[-1], samples=count + validation, scale=1.0, easy=False)
        self._images, self._labels = task.draw(spec, SPLIT, stage)
        self._preprocessing = spec.preprocessing
        self.count = len(self._images) - validation
        self._host, self._before = None, {}
        if host is not None:
            from int8gate.runtimes.tensorflow_graphs import HostGraph

            self._host = HostGraph(host)

    def inputs(self, rows: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list:
        """Tensors of the network's inputs, of those samples of training."""
        import torch

        return [
            torch.from_numpy(np.ascontiguousarray(in_layout(real, shape)))
            for real, shape in zip(self.real(rows), shapes, strict=True)
        ]

    def real(self, rows: np.ndarray) -> list[np.ndarray]:
        """What the network takes, real values (n, ...) of each input."""
        if self._host is None or not self._host.has_preprocessing:
            return list(self.prepared(rows).values())
        for row in map(int, rows):
            if row not in self._before:
                (picture,) = self.prepared(np.array([row])).values()
                self._before[row] = self._host.before(picture)
        found = [self._before[int(row)] for row in rows]
        return [np.concatenate(column) for column in zip(*found, strict=True)]

    def validation(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The numbers of the validation part's samples and their labels, `batch` at a time."""
        for start in range(self.count, len(self._images), batch):
            rows = np.arange(start, min(start + batch, len(self._images)))
            yield rows, self._labels[rows]

    def prepared(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Preprocessed samples by input, as what is around a network takes them."""
        images = self._images[rows]
        as_pixels = self._host is not None and self._preprocessing.is_identity
        return {PICTURE: images if as_pixels else self._preprocessing.apply(images)}
