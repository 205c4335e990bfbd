"""What a training learns from labels, beside what it learns from the float network.

A task's loss is that of its outputs as a network gives them: cross-entropy of classes, of pixels
too, and squared errors of numbers. A user's own is a function, ``module:function``, called with
the outputs, float32 tensors (n, ...), one or a list of several, and the labels (n, ...); it returns
a scalar tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models.user_hooks import raised
from int8gate.quantizers.training.differentiable_graph import Graph
from int8gate.quantizers.training.distillation import class_axes
from int8gate.quantizers.training.label_tasks import refusal, where_of
from int8gate.quantizers.training.training_samples import TrainingSamples
from int8gate.tasks.registry import task


class LabelLoss:
    """The loss of the samples of a step, by the labels of `samples`; `classes` is their number.

    `tensors` are those of the network that it reads: outputs, or what is before their softmax.
    Raises ValueError where a model has no such loss, or its samples have no labels.
    """

    def __init__(
        self, spec: ModelSpec, graph: Graph, samples: TrainingSamples, classes: int | None
    ) -> None:
        if why := refusal(spec):
            raise ValueError(why)
        if not samples.has_labels:
            raise ValueError(
                f"{where_of(spec)}: training_data has no labels, and a training with labels "
                "was asked for: add labels, or leave it to the float network's answers"
            )
        self._place = spec.own and spec.own.train_loss
        self._hook = resolve(self._place) if self._place else None
        self._spec, self._samples, self._classes = spec, samples, classes
        self.tensors = tuple(graph.outputs) if self._hook else graph.ends()[:1]

    def __call__(self, found: Sequence[torch.Tensor], rows: np.ndarray) -> torch.Tensor:
        """`found` are the values (n, ...) of `tensors` for the samples `rows`."""
        labels = self._samples.labels(rows)
        if self._hook is not None:
            return self._by_hook(self._hook, found, labels)
        (values,) = found
        if task(self._spec.task).label_loss == "squared_error":
            wanted = torch.from_numpy(np.asarray(labels, np.float32)).reshape(len(rows), -1)
            values = values.reshape(len(rows), -1)
            if values.shape != wanted.shape:
                raise ValueError(self._misfit(values, labels))
            return F.mse_loss(values, wanted)
        (axis,) = class_axes([values.shape], self._classes)
        if axis is None:
            raise ValueError(self._misfit(values, labels))
        scores = values.movedim(axis, 1).reshape(len(rows), self._classes, -1)
        wanted = torch.from_numpy(np.asarray(labels).astype(np.int64)).reshape(len(rows), -1)
        if scores.shape[2] != wanted.shape[1]:
            raise ValueError(self._misfit(values, labels))
        return F.cross_entropy(scores, wanted)

    def _by_hook(
        self, hook: Callable, found: Sequence[torch.Tensor], labels: np.ndarray
    ) -> torch.Tensor:
        told = f"qat.loss = {self._place!r}"
        wanted = torch.from_numpy(labels) if labels.dtype.kind in "biuf" else labels
        try:
            loss = hook(found[0] if len(found) == 1 else list(found), wanted)
        except Exception as error:  # it is not our code: anything
            raise ValueError(raised(told, error)) from error
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
            what = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise ValueError(
                f"{told} returned {what}, expected a scalar tensor that is computed of the outputs"
            )
        return loss.reshape(())

    def _misfit(self, values: torch.Tensor, labels: np.ndarray) -> str:
        return (
            f"{where_of(self._spec)}: outputs {tuple(values.shape)} and labels {np.shape(labels)} "
            f"do not fit the loss of {self._spec.task}"
            + (f" with {self._classes} classes" if self._classes else "")
            + ': declare one, [models.NAME.qat] loss = "module:function", or train without labels'
        )
