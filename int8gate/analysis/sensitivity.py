"""How much each layer of a network costs when it is quantized, by measurement.

    found = measure(pipeline, spec, recipe, samples=64, with_metric=True, budget_s=120)
    found.rows[:3]          the three layers that cost most

A layer is quantized alone, all else float (`alone`), and kept float, all else as the recipe has it
(`wide`). Both are measured at the network's outputs: as signal to quantization noise ratio
(`validation.fidelity`), and, of a model with labels, as the change of its metric with a 95%
interval.

Layers are measured in batches, a task each in the worker process: a crash there costs its batch,
which is then tried layer by layer. What was measured stays in the artifact cache, so that after a
kill, or a budget that ended, a second call goes on. A first round looks at all layers with a few
samples, the second one measures the worst first: so a budget that ends early has those.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from int8gate.analysis.layer_runs import MODES, Question
from int8gate.engine import code_identity
from int8gate.engine.cache import cache_key
from int8gate.engine.worker import WorkerError
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers import steps
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.file_scales import why_unchanged
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe_type import INT8, Recipe
from int8gate.quantizers.stages import check_route
from int8gate.runtimes.artifact import STATISTICS
from int8gate.validation.around_network import Scoring
from int8gate.validation.case_run import CaseRun
from int8gate.validation.case_stages import scored_by
from int8gate.validation.fidelity import SQNR_CEILING_DB
from int8gate.validation.metrics.registry import metric

FEW = 4  # samples of the first round
BATCH = 6  # layers of a task
STEP_BY_STEP = (
    "the host calls the network step by step: what a layer costs is measured at its output, over "
    "calibration's calls of all steps"
)
_RUNS = "int8gate.analysis.layer_runs"

Interval = tuple[float, float]


@dataclass(frozen=True)
class LayerRow:
    """What a layer costs. SQNR in dB at the worst output (None where no float output varies).

    `drop_alone` is how much worse the metric is than float's where the layer alone is quantized,
    `gain_wide` how much better than the recipe's where it alone stays float, in the metric's unit;
    intervals are 95%. None where no metric was measured. `samples` is how many were run, fewer than
    asked where a budget ended, `seconds` what it took.
    """

    layer: Layer
    sqnr_alone_db: float | None
    sqnr_wide_db: float | None
    drop_alone: float | None
    drop_alone_interval: Interval | None
    gain_wide: float | None
    gain_wide_interval: Interval | None
    seconds: float
    samples: int


@dataclass(frozen=True)
class Sensitivity:
    """The layers of a recipe's network, worst first: the least SQNR alone, then wide the greatest.

    `unmeasured` are those that the budget did not reach, `failed` say of others why they could not
    be measured. `sqnr_all_db`, `drop_all` and its interval are of the whole recipe, `score_float`
    is the metric of the float network on the same samples; `metric` is its name and `unit` its
    unit, None where `why_no_metric`. `edges` are pairs of layers, producer and consumer.
    """

    model: str
    recipe: str
    samples: int
    rows: list[LayerRow]
    unmeasured: list[Layer]
    sqnr_all_db: float | None
    failed: dict[str, str] = field(default_factory=dict)
    metric: str | None = None
    unit: str | None = None
    score_float: float | None = None
    drop_all: float | None = None
    drop_all_interval: Interval | None = None
    why_no_metric: str | None = None
    seconds: float = 0.0
    edges: tuple[tuple[str, str], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every layer was measured on all samples."""
        return not self.unmeasured and all(row.samples >= self.samples for row in self.rows)


@dataclass(frozen=True)
class Progress:
    """So many of the batches are `done`; `left_s` is about how long the others take, None before
    the first. `so_far` is what a call that ends now would return.
    """

    done: int
    total: int
    left_s: float | None
    so_far: Sensitivity


def measure(
    pipeline: Pipeline,
    spec: ModelSpec,
    recipe: Recipe,
    *,
    samples: int,
    with_metric: bool,
    budget_s: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    modes: tuple[str, ...] = MODES,
    width: str = INT8,
    only: Collection[str] | None = None,
) -> Sensitivity:
    """Measures every layer of a model with a calibrated recipe on the first evaluation samples,
    or those named `only`; each in that width, which its toolchain has.

    `budget_s` counts from the call, conversion and calibration included; a batch that has begun is
    finished. `progress` is called after each batch.
    Raises ValueError for a recipe without calibrated ranges or a toolchain that cannot measure, and
    what preparing the model raises.
    """
    start = time.monotonic()
    work = _Work(pipeline, spec, recipe, samples, with_metric, modes, width, only)
    found = _Found(work)
    counts = [work.count] if work.count <= FEW else [FEW, work.count]
    total, sample_layers = len(counts) * len(work.batches), 0
    for count in counts:
        for names in found.worst_first(work.batches):
            if budget_s is not None and time.monotonic() - start > budget_s:
                return found.result(time.monotonic() - start)
            found.add(count, names)
            done, sample_layers = found.batches, sample_layers + count * len(names)
            if progress:
                took = time.monotonic() - start
                left = took / sample_layers * (sum(counts) * len(work.layers) - sample_layers)
                progress(Progress(done, total, left, found.result(took)))
    return found.result(time.monotonic() - start)


class _Work:
    """The question, and its answers from the worker process or the cache."""

    def __init__(
        self,
        pipeline: Pipeline,
        spec: ModelSpec,
        recipe: Recipe,
        samples: int,
        with_metric: bool,
        modes: tuple[str, ...],
        width: str,
        only: Collection[str] | None,
    ) -> None:
        run = CaseRun(spec, recipe, pipeline)
        plan, self._runner = run.plan, pipeline.runner
        opened = plan.toolchain.segmented
        _check(recipe, opened)
        if samples < 1:
            raise ValueError(f"{samples} samples: a measurement takes at least one")
        check_route(plan.spec, recipe)
        if pipeline.has_scales(plan.spec):
            raise ValueError(why_unchanged(spec.name))
        scoring, host = run.scoring, run.result("host")
        steps_of_loop = STEP_BY_STEP if plan.network.drawn else None
        self.why_no_metric = scoring.unscored_reason or steps_of_loop
        self.why_no_metric = self.why_no_metric if with_metric else "not asked for"
        self.metric = None if self.why_no_metric else scoring.metrics[0]
        self.model, self.recipe = spec.name, recipe
        self.count = min(samples, scoring.available)
        listed = pipeline.steps(plan.spec, recipe)
        made = steps.run_steps(
            [step for step in listed if step.name not in (steps.QUANTIZED, steps.NAMED)],
            pipeline.runner,
        )
        sources = [
            made[steps.after(name, recipe.remedies)] for name in (steps.FLOAT, steps.STATISTICS)
        ]
        asked = () if self.metric is None else (self.metric,)
        decode = scoring.decode if asked else None
        pixels = plan.spec.preprocessing.range
        self._parts = {
            "inputs": [entry.key for entry in sources],
            "recipe": repr(replace(recipe.all_in(width), name="", summary="")),
            "pixel_range": pixels,
            "samples": scoring.digest,
            "preprocessing": repr(plan.spec.preprocessing),
            "metrics": asked,
            "around": [decode, host and host.key, repr(plan.network)],
            "modes": modes,
            "seed": pipeline.settings.seed,
            "host": platform.machine(),  # kernels differ between hosts
            **code_identity.identity(
                f"{_RUNS}:measured", opened, *scored_by(asked, decode, plan.spec.preprocessing)
            ),
        }
        around = (plan.network, decode, host and host.path)
        self._question = Question(
            cache_key({**self._parts, "count": self.count}),
            opened,
            sources[0].path / plan.toolchain.file,
            sources[1].path / STATISTICS,
            recipe.all_in(width),
            pixels,
            Scoring(
                pipeline.data.evaluation(plan.spec),
                plan.spec.preprocessing,
                asked,
                *around,
            ),
            self.count,
            bool(asked),
            modes,
            pipeline.settings.seed,
            steps.arrays_of(made[steps.INPUTS]) if plan.network.drawn else None,
        )
        listed = map(_layer, self._answer("layers", {}))
        self.layers = [layer for layer in listed if only is None or layer.name in only]
        self.edges = tuple((first, second) for first, second in self._answer("edges", {}))
        names = [layer.name for layer in self.layers]
        self.batches = [tuple(names[i : i + BATCH]) for i in range(0, len(names), BATCH)]

    def about(self, count: int) -> dict:
        return self._answer("about", {"count": count}, count)

    def measured(self, names: tuple[str, ...], count: int) -> list[dict]:
        """Rows of figures, or of why there are none."""
        try:
            return self._answer("measured", {"names": names, "count": count}, names, count)
        except (WorkerError, ConversionFailed) as error:
            if len(names) == 1:
                return [{"name": names[0], "error": str(error).splitlines()[0]}]
        return [row for name in names for row in self.measured((name,), count)]

    def _answer(self, function: str, parts: dict, *arguments):
        is_all = {"with_metric": parts.get("count", self.count) >= self.count}
        entry = self._runner.kept(
            "sensitivity",
            {**self._parts, **parts, **is_all, "asked": function},
            f"{_RUNS}:{function}",
            lambda: (self._question, *arguments),
        )
        return entry.meta["result"]


def _check(recipe: Recipe, opened: str) -> None:
    """Raises ValueError for a recipe of which no layer can be measured by itself."""
    if not recipe.is_calibrated:
        raise ValueError(
            f"{recipe.name} takes no calibrated ranges, so that no layer of it can be measured by "
            "itself: choose a recipe of int8 activations, such as onnx_int8 or tflite_int8"
        )
    if not opened:
        raise ValueError(
            f"{recipe.name} is of the toolchain {recipe.toolchain}, which quantizes no single "
            "layers: choose an onnx or a tflite recipe"
        )


class _Found:
    """What was measured so far."""

    def __init__(self, work: _Work) -> None:
        self._work, self.batches = work, 0
        self._rows: dict[str, LayerRow] = {}
        self._failed: dict[str, str] = {}
        self._about: dict = {}
        self._layers = {layer.name: layer for layer in work.layers}

    def worst_first(self, batches: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The batches by the worst of their layers, as far as these were measured."""

        def worst(names: tuple[str, ...]) -> tuple[float, float]:
            return min((_badness(self._rows[n]) for n in names if n in self._rows), default=(0, 0))

        return sorted(batches, key=worst)

    def add(self, count: int, names: tuple[str, ...]) -> None:
        if self._about.get("count") != count:
            self._about = self._work.about(count) | {"count": count}
        wanted = tuple(name for name in names if name not in self._failed)
        for row in self._work.measured(wanted, count) if wanted else ():
            name = row["name"]
            if row["error"]:
                self._failed[name] = row["error"]
            else:
                self._rows[name] = _row(self._layers[name], row, self._rows.get(name))
        self.batches += 1

    def result(self, seconds: float) -> Sensitivity:
        work, about = self._work, self._about
        scored = work.metric and metric(work.metric)
        known = self._rows.keys() | self._failed.keys()
        return Sensitivity(
            model=work.model,
            recipe=work.recipe.name,
            samples=work.count,
            rows=sorted(self._rows.values(), key=_badness),
            unmeasured=[layer for layer in work.layers if layer.name not in known],
            sqnr_all_db=about.get("sqnr_all_db"),
            failed=dict(self._failed),
            metric=scored.name if scored else None,
            unit=scored.unit if scored else None,
            score_float=about.get("score_float"),
            drop_all=about.get("drop_all"),
            drop_all_interval=_interval(about.get("drop_all_interval")),
            why_no_metric=work.why_no_metric,
            seconds=seconds,
            edges=work.edges,
        )


def _badness(row: LayerRow) -> tuple[float, float]:
    """Least for the worst layer."""
    alone = SQNR_CEILING_DB if row.sqnr_alone_db is None else row.sqnr_alone_db
    return alone, -(row.sqnr_wide_db or 0.0)


def _row(layer: Layer, row: dict, before: LayerRow | None) -> LayerRow:
    return LayerRow(
        layer,
        row.get("sqnr_alone_db"),
        row.get("sqnr_wide_db"),
        row.get("drop_alone"),
        _interval(row.get("drop_alone_interval")),
        row.get("gain_wide"),
        _interval(row.get("gain_wide_interval")),
        row["seconds"] + (before.seconds if before else 0.0),
        row["samples"],
    )


def _interval(found: Sequence[float] | None) -> Interval | None:
    return None if found is None else (found[0], found[1])


def _layer(fields: dict) -> Layer:
    lists = {name: tuple(fields[name]) for name in ("operators", "outputs", "widths")}
    return Layer(**fields | lists)
