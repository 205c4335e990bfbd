"""How much of the evaluation's activations the ranges of calibration would clip.

Pictures may look alike and excite a network differently. Here the same float network has run over
both sets, and what is compared are the statistics of its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration_data.audit.findings import Finding
from quantizers.calibration.expected_error import saturation
from quantizers.calibration.statistics import TensorStatistics
from quantizers.calibration.thresholds import Range

BITS = 8
# Share of a tensor's evaluated elements that may be clipped beyond those that calibration's own
# elements lose to the range. See benchmarks/activation_audit.py.
MOST_CLIPPED = 0.01
NAMED = 5  # tensors


@dataclass(frozen=True)
class Clipping:
    """Shares 0..1 of a tensor's elements outside its range, in calibration and in evaluation."""

    tensor: str
    calibration: float
    evaluation: float

    @property
    def unforeseen(self) -> float:
        return max(0.0, self.evaluation - self.calibration)


def clippings(
    calibration: Mapping[str, TensorStatistics],
    evaluation: Mapping[str, TensorStatistics],
    ranges: Mapping[str, Range],
    bits: int = BITS,
) -> list[Clipping]:
    """Of every tensor that has a range and values in both tables, the worst first.

    `calibration` and `evaluation` are statistics by tensor name of one float network, `ranges`
    what was chosen from the first. Raises ValueError when they have no tensor in common.
    """
    names = [
        name
        for name in ranges
        if name in calibration
        and name in evaluation
        and calibration[name].count
        and evaluation[name].count
    ]
    if not names:
        raise ValueError(
            f"calibration's {len(calibration)}, evaluation's {len(evaluation)} and the "
            f"{len(ranges)} ranged tensors have none in common: collect both over one network"
        )
    found = [
        Clipping(
            name,
            saturation(calibration[name], *ranges[name], bits),
            saturation(evaluation[name], *ranges[name], bits),
        )
        for name in names
    ]
    return sorted(found, key=lambda clipping: (-clipping.unforeseen, clipping.tensor))


def activation_mismatch(
    calibration_statistics: Mapping[str, TensorStatistics],
    evaluation_statistics: Mapping[str, TensorStatistics],
    ranges: Mapping[str, Range],
    most: float = MOST_CLIPPED,
) -> Finding | None:
    """A finding when some tensor would lose more than `most` of its elements; else None.

    Arguments and errors as of `clippings`.
    """
    found = clippings(calibration_statistics, evaluation_statistics, ranges)
    beyond = [clipping for clipping in found if clipping.unforeseen > most]
    if not beyond:
        return None
    worst = beyond[:NAMED]
    counts = np.array([evaluation_statistics[clipping.tensor].count for clipping in found])
    shares = np.array([clipping.evaluation for clipping in found])
    said = ", ".join(
        f"{clipping.tensor} {clipping.evaluation:.1%} (calibration's own "
        f"{clipping.calibration:.1%})"
        for clipping in worst
    )
    return Finding(
        "activation_mismatch",
        "warning",
        f"{(counts * shares).sum() / counts.sum():.2%} of the evaluation's activations lie outside "
        f"the calibrated ranges; of {len(beyond)} of {len(found)} tensors more than {most:.1%} are "
        f"clipped, worst of {said}",
        "calibrate on samples like those of evaluation, preprocessed the same: what they reach and "
        "calibration does not is clipped",
        tuple(clipping.tensor for clipping in worst),
    )
