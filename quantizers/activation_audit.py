"""How much of the evaluation's activations the ranges of calibration would clip.

Pictures may look alike and excite a network differently, or differ without a value being lost. Here
the same float network has run over both sets, and what is compared are statistics of its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from int8gate.quantizers.calibration import table, thresholds
from int8gate.quantizers.calibration.expected_error import saturation
from int8gate.quantizers.calibration.statistics import TensorStatistics
from int8gate.quantizers.calibration.thresholds import Range
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.tflite.ranges import MARGIN, OVERSHOOT

if TYPE_CHECKING:
    from int8gate.calibration_data.audit import Finding

BITS = 8
SAMPLES = 128  # of evaluation that the float network runs over: two shards
SEVERITIES = ("error", "warning", "advice")  # as in calibration_data.audit, slow to import
# Share of a tensor's evaluated elements that may be clipped beyond those that calibration's own
# elements lose to the range. Two of 128 samples, wholly clipped, are beyond it; clean splits reach
# 0.86%, in a head of ten outputs (benchmarks/activation_audit.py).
MOST_CLIPPED = 0.01
# Elements of a small tensor that lie beyond calibration's extremes by chance. Of m new values k or
# more exceed the largest of n with probability near (m / (n + m))**k (Gumbel and von Schelling,
# "The distribution of the number of exceedances", 1950): 0.1% for 12 of 128 beyond 100.
BY_CHANCE = 12
NAMED = 5  # tensors


@dataclass(frozen=True)
class Clipping:
    """Shares 0..1 of a tensor's elements outside its range, in calibration and in evaluation.

    `elements` are those of evaluation that were counted.
    """

    tensor: str
    calibration: float
    evaluation: float
    elements: int

    @property
    def unforeseen(self) -> float:
        return max(0.0, self.evaluation - self.calibration)

    def is_beyond(self, most: float) -> bool:
        """More is clipped than `most` and what chance puts beyond the extremes."""
        return self.unforeseen > most + BY_CHANCE / self.elements


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
            evaluation[name].count,
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
    from int8gate.calibration_data.audit import (
        Finding,
    )  # with SciPy's statistics, a second to import

    found = clippings(calibration_statistics, evaluation_statistics, ranges)
    beyond = [clipping for clipping in found if clipping.is_beyond(most)]
    if not beyond:
        return None
    worst = beyond[:NAMED]
    counts = np.array([clipping.elements for clipping in found])
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


def judge(
    calibration: Path,
    evaluation: Path,
    recipe: Recipe,
    pixel_range: Range,
    directory: Path | None = None,
) -> list[dict]:
    """The findings, as the record has them, of two files of statistics (`table`) of one network.

    `recipe` says how ranges are chosen, `pixel_range` what pixels 0 and 255 become. Runs in the
    worker process; writes nothing to the `directory` that a stage is called with.
    """
    own, scored = table.read_table(calibration), table.read_table(evaluation)
    ranged = {name: of_tensor for name, of_tensor in own.items() if of_tensor.count}
    chosen = thresholds.ranges_of(ranged, recipe)
    if recipe.pixel_ranges and pixel_range:
        chosen = {name: _snapped(found, *pixel_range) for name, found in chosen.items()}
    finding = activation_mismatch(own, scored, chosen)
    return [finding.as_dict()] if finding else []


def not_compared(error: Exception) -> dict:
    """What the record says where the float network's activations could not be collected."""
    from int8gate.calibration_data.audit import Finding

    return Finding(
        "activations_not_compared",
        "advice",
        f"how evaluation excites the network is not known: {error}",
        "look at the sample or the tensor that it names",
    ).as_dict()


def _snapped(found: Range, low: float, high: float) -> Range:
    """What `pixel_ranges` makes of a range."""
    inset = (found[0] - low) / (high - low), (high - found[1]) / (high - low)
    return (low, high) if all(-OVERSHOOT <= end <= MARGIN for end in inset) else found


def worst_first(found: list[dict]) -> list[dict]:
    """Findings of several audits, as the record has them, in the order of their severity."""
    return sorted(found, key=lambda finding: SEVERITIES.index(finding["severity"]))
