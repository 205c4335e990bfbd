"""Training CPN on crops of drawn people, with the losses of its paper (Chen et al. 2018).

Each heatmap is to be a Gaussian of peak 1 around its keypoint. GlobalNet's are compared with the
squared error of all labelled keypoints, RefineNet's with that of the `HARDEST` of each person
(online hard keypoint mining). The coarser a level, the wider its Gaussian, as in the authors' code.
"""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.figure_drawing import KEYPOINTS
from int8gate.calibration_data.synthetic.single_figures import EASY_STYLE, STYLE, SingleFigures
from int8gate.model_zoo.families.cpn.decoding import STRIDE
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

HARDEST = 8
# In places of the heatmap: OpenCV's for the kernels 7 (RefineNet), then 7, 9, 11, 15, finest first.
SIGMAS = (1.4, 1.4, 1.7, 2.0, 2.6)
SHARE = 0.05  # of the squared error, summed over a heatmap: of the order of 1 to begin with


def _draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    network = spec.network("compact")
    style = EASY_STYLE if stage.easy else STYLE
    crops = SingleFigures(split, network.size, network.input_shape[-1], stage.samples, style)
    return next(crops.batches(stage.samples))


def _targets(spec: ModelSpec, labels: np.ndarray) -> np.ndarray:
    """Labels (n, 1, 52) to row, column and weight of each keypoint on the heatmap, (n, 17, 3)."""
    keypoints = labels[:, 0, 1:].reshape(-1, KEYPOINTS, 3)
    places = (keypoints[..., :2] + 0.5) / STRIDE - 0.5
    return np.concatenate([places, keypoints[..., 2:] > 0], axis=-1).astype(np.float32)


def _loss(spec: ModelSpec):
    """In eval mode, where only refined heatmaps are given, of these alone."""

    def loss(outputs, targets):
        refined, *coarse = outputs if isinstance(outputs, tuple) else (outputs,)
        errors = _errors(refined, targets, SIGMAS[0])
        total = errors.topk(HARDEST, dim=1).values.sum(dim=1).mean() / HARDEST
        for heatmaps, sigma in zip(coarse, SIGMAS[1:], strict=False):
            total = total + _errors(heatmaps, targets, sigma).mean()
        return total * SHARE

    return loss


def _errors(heatmaps, targets, sigma: float):
    """Squared error of each keypoint's heatmap (n, h, w, 17), summed over it, (n, 17)."""
    import torch

    height, width = heatmaps.shape[1:3]
    row, column, weight = targets.unbind(dim=-1)
    rows = torch.arange(height)[None, :, None] - row[:, None]
    columns = torch.arange(width)[None, :, None] - column[:, None]
    vertical, horizontal = (torch.exp(-(away**2) / (2 * sigma**2)) for away in (rows, columns))
    wanted = vertical[:, :, None] * horizontal[:, None]
    return torch.square(heatmaps - wanted).sum(dim=(1, 2)) * weight


CPN = TrainingTask(
    stages=(
        Stage(epochs=3, samples=4000, easy=True),
        Stage(epochs=10, samples=8000, final=0.0),
    ),
    draw=_draw,
    loss=_loss,
    encode=_targets,
)
