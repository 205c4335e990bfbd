"""What the validation part of a training says: the case's own accuracy test on other samples.

`quantizers/training/trainer.py` looks it up by its name, in the worker process: trainings stand in
a room below, and know no metric.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from int8gate.model_zoo.spec import ModelSpec
from int8gate.tasks.registry import task
from int8gate.validation.agreement import Agreement
from int8gate.validation.around_network import Around, Scoring
from int8gate.validation.bootstrap import CONFIDENCE
from int8gate.validation.expectations import expectations_of, metrics_of
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import lower_bound, upper_bound

Answers = tuple[dict[str, np.ndarray], list[np.ndarray], list[np.ndarray]]
Batch = tuple[dict[str, np.ndarray], list[np.ndarray], np.ndarray]  # inputs, outputs, labels


class Judge:
    """Scores of a model and recipe, as its accuracy gate has them; none without labels.

    `host` is the imported graph that the model was cut out of, None of others.
    """

    def __init__(
        self, spec: ModelSpec, recipe: str, profile: str, host: Path | None, has_labels: bool = True
    ) -> None:
        self._metric = metric(metrics_of(spec)[0]) if has_labels and metrics_of(spec) else None
        self._agrees = task(spec.task).agreement
        around: dict = {"samples": None, "metrics": (), "network": spec.network(profile)}
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

    def drop(self, of_float: np.ndarray, quantized: np.ndarray) -> float | None:
        """By how much the second rows score less than the first; None without a metric."""
        if self._metric is None:
            return None
        scores = (float(self._metric.score(rows)) for rows in (of_float, quantized))
        return float(self._metric.drop(*scores))

    def compare(self, of_float: np.ndarray, quantized: np.ndarray) -> dict:
        """The drop, its one-sided bounds at 95% and the tolerance, by the names of a `Look`.

        The lower bound is asked for where the drop is beyond the tolerance alone.
        """
        drop = self.drop(of_float, quantized)
        if self._metric is None or drop is None:
            return {}
        pairs = self._metric, of_float, quantized, np.arange(len(of_float))
        score = float(self._metric.score(of_float))
        tolerance = self._expected.tolerance(score, self._metric.higher_is_better)
        return {
            "drop": drop,
            "drop_upper_95": upper_bound(*pairs, CONFIDENCE),
            "drop_lower_95": lower_bound(*pairs, CONFIDENCE) if drop > tolerance else None,
            "tolerance": tolerance,
        }

    def agreement(self, batches: Iterable[Answers]) -> float | None:
        """How often two executions of one network answer alike, 0 to 1, by the task's own measure
        (`agreement.py`); None where the task has none.
        """
        if not self._agrees:
            return None
        counted = Agreement(self._agrees)
        for inputs, first, second in batches:
            counted.add(self._around.after(inputs, first), self._around.after(inputs, second))
        return counted.share()
