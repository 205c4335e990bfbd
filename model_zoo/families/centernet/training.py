"""Training CenterNet: heat maps by the penalty-reduced focal loss, sizes and offsets by L1.

Zhou et al., "Objects as Points", 2019; radii of the heat's peaks as in CornerNet (Law and Deng,
2018): a corner that far off still leaves an IoU of 0.7.
"""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.figures import EASY_STYLE, STYLE
from int8gate.calibration_data.synthetic.helmets import HelmetScenes
from int8gate.model_zoo.families.centernet.network import STRIDE
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

OVERLAP_KEPT = 0.7
FOCUS, REDUCTION = 2.0, 4.0  # alpha and beta of the focal loss
SIZE, OFFSET = 0.3, 1.0  # weights of the parts of the loss; heat has 1
USEFUL_LOGIT, TOO_LARGE = 6.0, 0.05  # logits beyond say nothing more, and cost int8 its resolution


def draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Helmet scenes at the network's size."""
    network = spec.network("compact")
    style = EASY_STYLE if stage.easy else STYLE
    scenes = HelmetScenes(split, network.size, network.input_shape[-1], stage.samples, style)
    return next(scenes.batches(stage.samples))


def encode(spec: ModelSpec, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Targets from labels (n, G, 5): heat, cells, and what stands in them.

    Heat float32 (n, h, w, classes) in 0..1; the cell of each object's centre int64 (n, G), row by
    row; float32 (n, G, 5) of height, width, offset y, offset x and 1, or zeros where a label pads.
    """
    cells = np.array([side // STRIDE for side in spec.network("compact").size])
    real = labels[..., 0] >= 0
    boxes = np.where(real[..., None], labels[..., 1:], 0) * np.tile(cells, 2)
    extent = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    corner = np.minimum(centre.astype(int), cells - 1)
    heat = np.zeros((len(labels), *cells, spec.network("compact").classes), np.float32)
    spread = (2 * _radius(extent) + 1) / 6
    sample, which = np.nonzero(real)
    for i, j in zip(sample, which, strict=True):
        row, column = (
            np.exp(-((np.arange(count) - at) ** 2) / (2 * spread[i, j] ** 2))
            for count, at in zip(cells, corner[i, j], strict=True)
        )
        plane = heat[i, :, :, int(labels[i, j, 0])]
        np.maximum(plane, np.outer(row, column), out=plane)
    place = corner[..., 0] * cells[1] + corner[..., 1]
    values = np.concatenate([extent, centre - corner, np.ones_like(extent[..., :1])], axis=-1)
    return heat, place.astype(np.int64), (values * real[..., None]).astype(np.float32)


def loss(spec: ModelSpec):
    """Means over the objects of a batch."""
    import torch

    def of_maps(outputs, targets):
        heat, sizes, offsets = outputs
        wanted, place, values = targets
        objects = values[..., 4].sum().clamp(min=1)
        excess = (torch.relu(heat.abs() - USEFUL_LOGIT) ** 2).sum()
        total = _focal(heat, wanted) + TOO_LARGE * excess
        for given, part, weight in (
            (sizes, values[..., :2], SIZE),
            (offsets, values[..., 2:4], OFFSET),
        ):
            found = given.flatten(1, 2).gather(1, place[..., None].expand(-1, -1, 2))
            total = total + weight * ((found - part).abs() * values[..., 4:]).sum()
        return total / objects

    return of_maps


def _focal(logits, wanted):
    """Summed over all cells; cells near a centre are blamed less."""
    import torch
    from torch.nn.functional import logsigmoid

    chance = torch.sigmoid(logits)
    is_centre = (wanted > 0.999).float()
    found = is_centre * (1 - chance) ** FOCUS * logsigmoid(logits)
    wrong = (1 - is_centre) * (1 - wanted) ** REDUCTION * chance**FOCUS * logsigmoid(-logits)
    return -(found + wrong).sum()


def _radius(extent: np.ndarray) -> np.ndarray:
    """How far, in cells, both corners of a box (..., 2) may move: (...)."""
    height, width = extent[..., 0], extent[..., 1]
    area, half = height * width, height + width
    kept = OVERLAP_KEPT
    apart = half - np.sqrt(np.maximum(half**2 - 4 * area * (1 - kept) / (1 + kept), 0))
    smaller = half - np.sqrt(np.maximum(half**2 - 4 * area * (1 - kept), 0))
    larger = np.sqrt(half**2 + 4 * area * (1 - kept) / kept) - half
    return np.minimum.reduce([apart / 2, smaller / 4, larger / 4])


CENTERNET = TrainingTask(
    stages=(
        Stage(epochs=4, samples=6000, easy=True, scale=0.5),
        Stage(epochs=8, samples=10000, final=0.0),
    ),
    draw=draw,
    loss=loss,
    encode=encode,
)
