"""What a quantized network learns from the float one, without labels.

Classes: the Kullback-Leibler divergence of the float network's distribution and the quantized one's
(Hinton et al., 2015, arXiv:1503.02531), at a temperature of 1. Anything else: squared errors, as a
part of each output's own variance, so that outputs of different units weigh alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def distillation_loss(found: Sequence, wanted: Sequence, classes: Sequence[int | None]):
    """The mean over outputs (n, ...); `classes` gives the axis of each output's classes, or None.

    Outputs are those before a softmax.
    """
    losses = []
    for output, teacher, axis in zip(found, wanted, classes, strict=True):
        if axis is not None:
            logs = F.log_softmax(output, axis), F.log_softmax(teacher, axis)
            divergence = (logs[1].exp() * (logs[1] - logs[0])).sum(axis)
            losses.append(divergence.mean())
        else:
            spread = teacher.detach().var() + 1e-12
            losses.append(((output - teacher) ** 2).mean() / spread)
    return torch.stack(losses).mean()


def class_axes(shapes: Sequence[Sequence[int]], classes: int | None) -> list[int | None]:
    """Of each output of a batch the one axis that has as many entries as there are classes."""
    found = []
    for shape in shapes:
        axes = [axis for axis, side in enumerate(shape) if axis and side == classes]
        found.append(axes[0] if classes and classes > 1 and len(axes) == 1 else None)
    return found
