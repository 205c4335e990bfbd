"""The samples that a training takes: of the training split, whose last part is the validation part.

Neither calibration's nor evaluation's are among them: a task's training draws them from pictures of
a split of their own (`calibration_data/synthetic/picture_sources.py`), and a user's `training_data`
are compared with both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from int8gate.calibration_data.sample_set import PICTURE, SampleSet
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training import training_of
from int8gate.model_zoo.training.training_task import SeveralNetworks, TrainingTask
from int8gate.model_zoo.user_models.resolve import TRAINING, own_samples
from int8gate.runtimes.session import in_layout

SPLIT = TRAINING
LEAST = 64  # samples: a quarter of them says whether it goes the right way


def refusal(spec: ModelSpec, profile: str) -> str | None:
    """Why a model has no samples to train with, and what to do; None where it has some."""
    if spec.own:
        if spec.own.training_data:
            return None
        return (
            f"{spec.own.where}: training_data is missing: add a folder or file as data has, with "
            "other samples: those of calibration and evaluation must not be trained on"
        )
    if profile != "compact":
        return f"{spec.name} has training samples of its compact profile alone: leave {profile} out"
    try:
        task: TrainingTask | SeveralNetworks = resolve(training_of(spec))
    except ValueError as error:
        return str(error)
    if isinstance(task, SeveralNetworks):
        return (
            f"{spec.name} is trained as several networks, not as its denoiser alone: choose a "
            "recipe without training"
        )
    return None


def drawn_by(spec: ModelSpec) -> str | None:
    """What draws the samples, ``module:NAME``; None of a user's own."""
    return None if spec.own else training_of(spec)


class TrainingSamples:
    """Samples and labels (n, ...): `count` for training, then `validation`, of a user's own at most
    a quarter of all.

    `host` is an imported frozen graph, whose pre-processing runs before the network. Raises
    ValueError where a user's own are too few, or are among those of calibration or evaluation.
    """

    def __init__(
        self, spec: ModelSpec, count: int, validation: int, host: Path | None = None
    ) -> None:
        if spec.own:
            drawn = own_samples(spec, SPLIT)
            self._arrays, self._labels = _own(spec, drawn, count + validation)
            self.has_labels = drawn.has_labels
            validation = min(validation, len(self._labels) // 4)
        else:
            task: TrainingTask = resolve(training_of(spec))
            stage = replace(task.stages[-1], samples=count + validation, scale=1.0, easy=False)
            images, labels = task.draw(spec, SPLIT, stage)
            self._labels = task.scored(labels) if task.scored else labels
            self._arrays, self.has_labels = {PICTURE: images}, True
        self._preprocessing = spec.preprocessing
        self.count = len(self._labels) - validation
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

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Labels (n, ...) of those samples of training, as the model's metric takes them."""
        return np.asarray(self._labels)[rows]

    def validation(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The numbers of the validation part's samples and their labels, `batch` at a time."""
        for start in range(self.count, len(self._labels), batch):
            rows = np.arange(start, min(start + batch, len(self._labels)))
            yield rows, self._labels[rows]

    def prepared(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Preprocessed samples by input, as what is around a network takes them."""
        as_pixels = self._host is not None and self._preprocessing.is_identity
        taken = {name: values[rows] for name, values in self._arrays.items()}
        if as_pixels:
            return taken
        return {name: self._preprocessing.apply(values) for name, values in taken.items()}


def _own(spec: ModelSpec, drawn: SampleSet, most: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """At most so many of a user's samples, by input, and their labels, in an order of chance."""
    if len(drawn) < LEAST:
        raise ValueError(
            f"{spec.own_model.where}: training_data holds {len(drawn)} samples, expected at least "
            f"{LEAST}: add some"
        )
    judged = {}
    for split in ("calibration", "evaluation"):
        others = own_samples(spec, split)
        judged |= {_digest(others.named(row)[0]): split for row in range(len(others))}
    chosen = np.random.default_rng(0).permutation(len(drawn))[:most]
    arrays, labels = zip(*(drawn.named(int(row)) for row in chosen), strict=True)
    for row, each in zip(chosen, arrays, strict=True):
        if split := judged.get(_digest(each)):
            raise ValueError(
                f"{spec.own_model.where}: sample {row} of training_data is among those of {split}, "
                "which must not be trained on: remove it from one of them"
            )
    return {name: np.stack([a[name] for a in arrays]) for name in arrays[0]}, np.stack(labels)


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    content = hashlib.sha256()
    for values in arrays.values():
        content.update(np.ascontiguousarray(values))
    return content.digest()
