"""What a task brings to training: stages, data and loss for the loop, or a training of its own."""

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
    """

    stages: tuple[Stage, ...]
    draw: Callable[[ModelSpec, str, Stage], tuple[np.ndarray, np.ndarray]]
    loss: Callable[[ModelSpec], object]
    encode: Callable[[ModelSpec, np.ndarray], object] | None = None
    scored: Callable[[np.ndarray], np.ndarray] | None = None
    metrics: tuple[str, ...] = ()
    start: Callable[[ModelSpec, object], None] | None = None


@dataclass(frozen=True)
class SeveralNetworks:
    """How a model of several networks is trained, in place of the loop over one network's stages.

    `train` is called with (spec, PyTorch network that holds them, epochs of a stage at most or
    None); it trains them in place and returns how many epochs all stages took.
    """

    train: Callable[[ModelSpec, Any, int | None], int]
