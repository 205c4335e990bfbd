"""Simulated evaluations of predicted values and of anomaly scores, whose true drop is known.

As `simulated_pairs`: `n` samples, a `tolerance`, and a `drop` among very many samples of that kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.simulated_pairs import Candidates, Pairs
from int8gate.validation.metrics.registry import metric

ERROR = 0.1  # RMSE of the simulated float model, of labels with a spread of 1
FEW = 0.02  # share of the samples that lose all, where few do
AREA = 0.9  # under the ROC curve of the simulated float model


@dataclass(frozen=True)
class Values:
    """A regression: the quantized model's errors are float's and independent ones on top, so that
    the RMSE grows by `drop`: in all samples alike, or with `few` in a share of them alone.
    """

    n: int
    tolerance: float
    drop: float
    few: bool = False
    metric: str = "rmse"

    @property
    def name(self) -> str:
        where = f"in {FEW:.0%}" if self.few else "everywhere"
        return f"rmse within {self.tolerance / ERROR:.0%} of it, errors {where}"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        labels, own = rng.normal(0, 1, self.n), rng.normal(0, ERROR, self.n)
        added = (ERROR + self.drop) ** 2 - ERROR**2  # variance
        more = rng.normal(0, 1, self.n)
        if self.few:
            more *= (rng.random(self.n) < FEW) / np.sqrt(FEW)
        judged = metric("rmse")
        rows = (
            judged.sample_statistics((labels + errors)[:, None], labels[:, None])
            for errors in (own, own + np.sqrt(added) * more)
        )
        return Pairs(judged, *rows, np.arange(self.n))

    def candidates(self, rng: np.random.Generator, count: int) -> Candidates:
        """Several quantized models of one float model, each with errors of its own."""
        labels, own = rng.normal(0, 1, self.n), rng.normal(0, ERROR, self.n)
        added = (ERROR + self.drop) ** 2 - ERROR**2  # variance
        judged = metric("rmse")

        def rows(errors: np.ndarray) -> np.ndarray:
            return judged.sample_statistics((labels + errors)[:, None], labels[:, None])

        models = []
        for _ in range(count):
            more = rng.normal(0, 1, self.n)
            if self.few:
                more *= (rng.random(self.n) < FEW) / np.sqrt(FEW)
            models.append(rows(own + np.sqrt(added) * more))
        return Candidates(judged, rows(own), models, np.arange(self.n))


@dataclass(frozen=True)
class Anomalies:
    """A detector of anomalies, which are a share `presence` of the samples: of some the quantized
    model tells nothing, their scores are those of normal samples.
    """

    n: int
    tolerance: float
    drop: float
    presence: float = 0.1
    metric: str = "auc"

    @property
    def name(self) -> str:
        return f"auc within {self.tolerance:.0%}, anomalies {self.presence:.0%}"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        apart = 1.8123876  # deviations between the two kinds, for `AREA`
        labels = np.arange(self.n) < max(2, round(self.presence * self.n))
        own = rng.normal(0, 1, self.n) + apart * labels
        lost = labels & (rng.random(self.n) < self.drop / (AREA - 0.5))
        second = np.where(lost, rng.normal(0, 1, self.n), own + rng.normal(0, 0.05, self.n))
        judged = metric("auc")
        rows = (
            judged.sample_statistics(scores[:, None], labels.astype(int))
            for scores in (own, second)
        )
        return Pairs(judged, *rows, np.arange(self.n))
