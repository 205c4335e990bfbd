"""What a task brings to the training loop: stages, data, loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from int8gate.model_zoo.spec import ModelSpec


@dataclass(frozen=True)
class Stage:
    """Some epochs over `samples` scenes at `scale` times the network's size.

    The learning rate warms up over a tenth of the stage, then falls by a cosine to `final` of it.
    """

    epochs: int
    samples: int
    easy: bool = False
    scale: float = 1.0
    learning_rate: float = 2e-3
    final: float = 0.3
    batch: int = 32


@dataclass(frozen=True)
class TrainingTask:
    """How networks of a task are trained.

    Attributes
    ----------
    stages : run one after another; a network keeps its weights from stage to stage.
    draw : (spec at the stage's scale, split "train" or "calibration", stage) to images uint8
        (n, h, w, channels) and labels (n, ...), drawn once and kept.
    loss : spec to what `keras.Model.compile` takes.
    encode : (spec, labels of a batch) to the targets of the loss; None where labels are targets.
    scored : labels (n, ...) as the model's metric takes them, where those are others.
    metrics : names of Keras metrics to show.
    start : (spec, PyTorch network) sets its first weights where random ones do not learn.
    train : (spec, PyTorch network, epochs at most) in place of the loop over the stages, where a
        model is several networks: trains them in place, returns how many epochs that took.
    """

    stages: tuple[Stage, ...]
    draw: Callable[[ModelSpec, str, Stage], tuple[np.ndarray, np.ndarray]]
    loss: Callable[[ModelSpec], object]
    encode: Callable[[ModelSpec, np.ndarray], object] | None = None
    scored: Callable[[np.ndarray], np.ndarray] | None = None
    metrics: tuple[str, ...] = ()
    start: Callable[[ModelSpec, object], None] | None = None
    train: Callable[[ModelSpec, Any, int | None], int] | None = None
