"""A recipe of a model as its last run found it: its record and the predictions that it kept."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from int8gate.quantizers.recipe import find as find_recipe
from int8gate.validation.case_summary import Figures, figures_of
from int8gate.validation.comparing.history import Run
from int8gate.validation.comparing.paired import assumed_interval, drop_bounds, score_interval
from int8gate.validation.comparing.sample_scores import Predictions, find
from int8gate.validation.metrics.registry import metric_of_file
from int8gate.validation.shipping import latency_on
from int8gate.validation.verdict import case_state, run_answer

SIZE = "size"  # the cost beside the targets
SCORING = "evaluate"  # among a case's seconds: no preparation


@dataclass(frozen=True)
class Method:
    """A recipe of the model, as its last run found it.

    `interval` are one-sided 95% bounds of the score, `drop_interval` those of the drop from float,
    None where not known. `rank` is None of what was not scored. `fronts` are the costs (targets,
    `SIZE`) in which it is on the Pareto front, of those in `by_chance` only by a score that cannot
    be told from that of a cheaper one there.
    """

    record: dict
    run: Run
    figures: Figures
    may_ship: bool
    predictions: Predictions | None = None
    of_float: Predictions | None = None
    interval: tuple[float, float] | None = None
    drop_interval: tuple[float | None, float | None] = (None, None)
    rank: int | None = None
    fronts: tuple[str, ...] = ()
    by_chance: tuple[str, ...] = ()

    @property
    def recipe(self) -> str:
        return self.record["recipe"]

    @property
    def state(self) -> str:
        return case_state(self.record).replace("_", " ")

    @property
    def is_float(self) -> bool:
        known = find_recipe(self.recipe)
        return known.is_reference if known else self.recipe.endswith("_fp32")

    @property
    def score(self) -> float | None:
        return self.figures.accuracy.quantized if self.figures.accuracy else None

    @property
    def drop(self) -> float | None:
        return (self.record.get("accuracy") or {}).get("drop")

    @property
    def size(self) -> int | None:
        return self.figures.size_bytes.quantized if self.figures.size_bytes else None

    @property
    def preparation_s(self) -> float | None:
        """Seconds from the export to the artifact, as far as they were measured."""
        seconds = self.record.get("seconds") or {}
        known = [each for name, each in seconds.items() if each is not None and name != SCORING]
        return sum(known) if known else None

    def cost(self, which: str) -> float | None:
        """Bytes, or milliseconds on a target."""
        return self.size if which == SIZE else latency_on(self.record, which)

    def coverage(self, target: str) -> float | None:
        """The share of operators that run on an NPU."""
        return self.figures.npu[target].coverage if target in self.figures.npu else None


def method_of(record: dict, run: Run, declared: Collection[str]) -> Method:
    figures = figures_of(record, run.environment)
    ships = any(record is each for each in run_answer(_results(run)).may_ship)
    method = Method(record, run, figures, ships)
    accuracy = figures.accuracy
    if accuracy is None:
        return method
    entry = record["accuracy"]
    kept, of_float = (
        _predictions(entry.get(name), run) for name in ("predictions", "float_predictions")
    )
    interval, drops = None, (entry.get("drop_lower_95"), entry.get("drop_upper_95"))
    with suppress(ValueError):  # a metric that is not known here
        interval = score_interval(kept, declared=declared) if kept else assumed_interval(accuracy)
        if kept and of_float:
            count = len(kept.sources)
            judged = metric_of_file(kept.metric, declared)
            rows = of_float.statistics[:count], kept.statistics
            drops = drop_bounds(judged, *rows, kept.sources)
    return replace(
        method, predictions=kept, of_float=of_float, interval=interval, drop_interval=drops
    )


def _results(run: Run) -> dict:
    return {"environment": run.environment, "cases": run.cases}


def _predictions(sha256: str | None, run: Run) -> Predictions | None:
    if not sha256:
        return None
    try:
        return find(run.folders, sha256)
    except (OSError, ValueError):
        return None
