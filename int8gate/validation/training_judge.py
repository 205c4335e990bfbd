"""What the validation part of a training says: the case's own accuracy test on other samples.

`quantizers/training/trainer.py` looks it up by its name, in the worker process: trainings stand in
a room below, and know no metric.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from int8gate.model_zoo.spec import ModelSpec
from int8gate.validation.bootstrap import CONFIDENCE
from int8gate.validation.evaluation import Around, Scoring
from int8gate.validation.expectations import expectations_of, metrics_of
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import lower_bound, upper_bound

Batch = tuple[dict[str, np.ndarray], list[np.ndarray], np.ndarray]  # inputs, outputs, labels


class Judge:
    """Scores of a model and recipe, as its accuracy gate has them; none without labels.

    `host` is the imported graph that the model was cut out of, None of others.
    """

    def __init__(
        self, spec: ModelSpec, recipe: str, profile: str, host: Path | None, has_labels: bool = True
    ) -> None:
        self._metric = metric(metrics_of(spec)[0]) if has_labels and metrics_of(spec) else None
        if self._metric is None:
            return
        network = spec.network(profile)
        around: dict = {"samples": None, "metrics": (self._metric.name,), "network": network}
        self._around = Around(
            Scoring(preprocessing=spec.preprocessing, decode=spec.decode, host=host, **around)
        )
        self._expected = expectations_of(spec, recipe, profile)

    def statistics(self, batches: Iterable[Batch]) -> np.ndarray:
        """The metric's rows (n, k) of prepared inputs by name, outputs and labels, all (b, ...);
        k is 0 where there is none.
        """
        if self._metric is None:
            return np.concatenate([np.zeros((len(labels), 0)) for _, _, labels in batches])
        rows = [
            self._metric.sample_statistics(self._around.after(inputs, outputs), labels)
            for inputs, outputs, labels in batches
        ]
        return np.concatenate(rows)

    def compare(self, of_float: np.ndarray, quantized: np.ndarray) -> dict:
        """The drop, its one-sided bounds at 95% and the tolerance, by the names of a `Look`."""
        if self._metric is None:
            return {}
        score = float(self._metric.score(of_float))
        pairs = self._metric, of_float, quantized, np.arange(len(of_float))
        return {
            "drop": float(self._metric.drop(score, float(self._metric.score(quantized)))),
            "drop_upper_95": upper_bound(*pairs, CONFIDENCE),
            "drop_lower_95": lower_bound(*pairs, CONFIDENCE),
            "tolerance": self._expected.tolerance(score, self._metric.higher_is_better),
        }
