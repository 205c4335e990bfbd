"""Which layers of a case stay float32, so that it passes and costs least: found, then confirmed.

    found = mix(run, objective="size", method="integer", layers=12, budget_s=300)
    found.ending            a sentence
    found.declaration       what to write into a TOML

Those layers may stay float that lose most where they alone are quantized: noise power at the
output, of the first evaluation samples without their labels. What each costs is measured
(`mix_costs.py`). A candidate of the search is judged by the case's accuracy test on one part of the
evaluation set, the winner once on the other (`confirm.py`), whose labels the search never sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from int8gate.analysis.attempts import FAILURES, LEAST_STAGE_S, first_line_of, worst_layers
from int8gate.analysis.confirm import Confirmed, Judge, split_by_source
from int8gate.analysis.ladder_results import declaration
from int8gate.analysis.mix_costs import (
    FLOAT32,
    INT8,
    LATENCY,
    OBJECTIVES,
    Costs,
    Variants,
    measure_costs,
)
from int8gate.analysis.mix_results import Mixed, MixedLayer, ending, latencies, sizes
from int8gate.analysis.search import METHODS, search
from int8gate.analysis.search_budget import Budget
from int8gate.engine.errors import instead
from int8gate.quantizers.layer import Layer
from int8gate.targets.registry import HOST, check_target, find
from int8gate.validation import gates
from int8gate.validation.case_run import CaseRun
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import NonInferiority

LAYERS = 12
TO_ORDER, TO_MEASURE = 0.4, 0.8  # of the budget: when the next step begins at the latest
ROUNDS = 8  # searches, each below the loss at which the one before failed


def mix(
    run: CaseRun,
    *,
    objective: str = LATENCY,
    method: str = "integer",
    layers: int = LAYERS,
    budget_s: float | None = None,
    target: str = HOST,
    progress: Callable[[str], None] = lambda line: None,
) -> Mixed:
    """The cheapest mix of int8 and float32 layers that passes, of those `layers` that lose most.

    The budget of seconds counts from the call; what it left is judged and confirmed even so, which
    may take one artifact and its evaluation longer. So does KeyboardInterrupt end the search; then
    only what was judged before is.
    Raises ValueError in a sentence for what cannot be mixed, and what preparing the case raises.
    """
    _check(run, objective, method, layers, target)
    return _Mixing(run, objective, method, layers, budget_s, progress).mixed()


def _check(run: CaseRun, objective: str, method: str, layers: int, target: str) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(f"no objective {objective!r}: {instead(objective, OBJECTIVES)}")
    if method not in METHODS:
        raise ValueError(f"no search method {method!r}: {instead(method, METHODS)}")
    if layers < 1:
        raise ValueError(f"{layers} layers: expected one or more that may stay float")
    check_target(target)
    recipe, case = run.recipe, run.case_id
    if target != HOST:
        asked = find(target)
        if not asked.runs_float:
            raise ValueError(
                f"{target} runs integer operators alone, so that it takes no mixed widths: try "
                f"int8gate rescue {case} --target {target}, whose other remedies leave all int8"
            )
        if asked.format != recipe.toolchain or objective == LATENCY:
            raise ValueError(
                f"latency of {case} is measured on {HOST} alone: leave --target {target} out, or "
                "name a target of its format with --objective size"
            )
    if not recipe.is_calibrated or not run.plan.toolchain.widths:
        raise ValueError(
            f"{case}: {recipe.name} has no layers that may stay float: choose an int8 recipe of "
            "onnx or tflite, such as onnx_int8"
        )
    if why := run.scoring.unscored_reason:
        raise ValueError(f"{case} cannot be mixed, as no candidate can be judged: {why}")


class _OutOfTime(Exception):
    """The budget ended in the middle of a candidate."""


class _Mixing:
    def __init__(
        self,
        run: CaseRun,
        objective: str,
        method: str,
        count: int,
        budget_s: float | None,
        progress: Callable[[str], None],
    ) -> None:
        self.run, self.objective, self.method, self.count = run, objective, method, count
        self.budget_s, self.progress, self.started = budget_s, progress, time.monotonic()
        self.variants = Variants(run)
        self.layers: list[Layer] = []
        self.noise: dict[str, float] = {}
        self.total_noise, self.other_layers = 0.0, 0
        self.costs = Costs(objective, 0.0)
        self.passing: list[tuple[float, frozenset[str]]] = []  # cost by the table, float layers
        self.notes: list[str] = []
        self.floats: frozenset[str] | None = None
        self.is_cut = self.is_interrupted = False

    def mixed(self) -> Mixed:
        """Raises KeyboardInterrupt where nothing was found before it."""
        self.judge = self._judge()
        try:
            edges = self._order_layers()
            self._measure_costs(edges)
            self._search()
        except KeyboardInterrupt:
            if not self.layers:
                raise
            self.is_interrupted = True
        except _OutOfTime:
            self.is_cut = True
        if self.floats is None:
            self.floats = self._best_so_far
        return self._result(self.floats)

    def _judge(self) -> Judge:
        run = self.run
        reference, scored = run.float_evaluation, metric(run.plan.metrics[0])
        labels = reference.answers.label if reference.answers else None
        seed = run.pipeline.settings.seed
        parts = split_by_source(reference.sources, labels, seed=seed)
        tolerance = run.expected.tolerance(
            float(scored.score(reference.statistics)), scored.higher_is_better
        )
        judge = Judge.of(scored, reference, tolerance, parts, seed=seed)
        lossless = judge.without_loss(parts.confirmation)
        if lossless.verdict != "passed":
            self.notes.append(
                f"the {len(reference.sources)} evaluation samples are too few to be split: on the "
                f"{lossless.samples} for the confirmation not even a mix without any loss would "
                f"pass (at most {lossless.drop_upper_95:.4g} at 95%, allowed {tolerance:.4g}); "
                "add samples, the figures are given even so"
            )
        self.by_bound = judge.without_loss(parts.search).verdict == "passed"
        if not self.by_bound:
            self.notes.append(
                "on the samples of the search the bound of the drop cannot pass either: candidates "
                "were judged there by the drop alone"
            )
        return judge

    def _order_layers(self) -> tuple[tuple[str, str], ...]:
        self.progress("which layers lose most")
        found = worst_layers(self.run, None if self.budget_s is None else TO_ORDER * self.budget_s)
        decibels = {row.layer.name: row.sqnr_alone_db for row in found.rows}
        noise = {name: 0.0 if db is None else 10 ** (-db / 10) for name, db in decibels.items()}
        unmeasured = sorted(found.unmeasured, key=lambda layer: -layer.share)
        listed = [*(row.layer for row in found.rows), *unmeasured]
        most = min(self.count, len(listed) - 1)  # what is float as a whole is no mix
        self.layers, self.total_noise = listed[:most], sum(noise.values())
        self.noise = {layer.name: noise[layer.name] for layer in self.layers if layer.name in noise}
        self.other_layers = len(listed) - len(self.layers) + len(found.failed)
        if unmeasured:
            self.is_cut = True
            self.notes.append(
                f"the budget ended before {len(unmeasured)} of {len(listed)} layers were measured"
            )
        if not self.layers:
            raise ValueError(
                f"{self.run.case_id} has {len(listed)} layers that can be measured, and a mix "
                "takes two or more: choose int8 or float32 for the whole"
            )
        return found.edges

    def _measure_costs(self, edges: tuple[tuple[str, str], ...]) -> None:
        known = [layer for layer in self.layers if layer.name in self.noise]

        def is_over() -> bool:
            over = self.budget_s is not None and self._seconds > TO_MEASURE * self.budget_s
            self.is_cut |= over
            return over

        self.costs = measure_costs(
            self.variants, known, edges, self.objective, is_over, self.progress
        )

    def _search(self) -> None:
        """The search; again below the least loss that failed, where it found nothing but all
        float.
        """
        table = self.costs.table(self.layers, self.noise)
        everything = float(table.losses_of(np.zeros(len(table.layers), int)))
        bound, least = everything, float(table.losses_of(table.least_lossy))

        def passes(widths: dict[str, str]) -> bool:
            floats = frozenset(name for name, width in widths.items() if width == FLOAT32)
            passed = self._passes(floats)
            if passed:
                cost = float(table.costs_of(table.numbered(widths)))
                self.passing.append((cost, floats))
            return passed

        for _ in range(ROUNDS):
            left = self._time_left
            found = search(
                table,
                bound,
                method=self.method,
                budget=Budget(seconds=left),
                seed=self.run.pipeline.settings.seed,
                verify=passes,
            )
            failed = [each.loss for each in found.candidates if not each.passed]
            is_widest = table.numbered(found.widths).tolist() == table.widest.tolist()
            bound = min(failed, default=0.0) * (1 - 1e-6)
            if left is not None and self._time_left == 0:
                self.is_cut = True
                return
            if not (is_widest and len(failed) > 0 and bound > least + table.tolerance):
                break
        self.floats = frozenset(n for n, width in found.widths.items() if width == FLOAT32)

    def _passes(self, floats: frozenset[str]) -> bool:
        """Whether a candidate passes on the search part, and the floor that fidelity sets."""
        self.progress(f"judged with {len(floats)} layers in float32")
        try:
            with self.run.pipeline.runner.within(self._stage_s):
                gate = self._judged(floats)
        except FAILURES as error:
            if self._time_left == 0:
                raise _OutOfTime from error
            self.notes.append(f"{len(floats)} layers in float32: {first_line_of(error)}")
            return False
        fidelity = self.variants.of(floats).evaluation.fidelity or []
        if gates.floor_gate(fidelity, self.run.case_id):
            return False
        return gate.verdict == "passed" if self.by_bound else gate.drop <= gate.tolerance

    def _judged(self, floats: frozenset[str]) -> NonInferiority:
        run = self.variants.of(floats)
        rows = run.evaluation.statistics
        return self.judge.on_search(run.recipe.name, rows[self.judge.parts.search])

    @property
    def _best_so_far(self) -> frozenset[str]:
        """The cheapest that passed; all that may be float where none did."""
        if self.passing:
            return min(self.passing, key=lambda each: each[0])[1]
        return frozenset(n.name for n in self.layers if n.name not in self.costs.failed)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def _time_left(self) -> float | None:
        return None if self.budget_s is None else max(0.0, self.budget_s - self._seconds)

    @property
    def _stage_s(self) -> float | None:
        left = self._time_left
        return None if left is None else max(LEAST_STAGE_S, left)

    def _result(self, floats: frozenset[str]) -> Mixed:
        run = self.variants.of(floats)
        known = {name for _, name in self.passing}
        confirmed: Confirmed | None = None
        if not self.is_interrupted or floats in known:
            try:
                self._judged(floats)
                rows = run.evaluation.statistics[self.judge.parts.confirmation]
                confirmed = self.judge.confirm(run.recipe.name, rows)
            except KeyboardInterrupt:
                self.is_interrupted = True
            except FAILURES as error:
                self.notes.append(f"{run.recipe.name} could not be judged: {first_line_of(error)}")
        made = confirmed is not None
        times = self._latencies(run) if made and not self.is_interrupted else {}
        what = f"{len(floats)} of {len(self.layers) + self.other_layers} layers in float32"
        return Mixed(
            case=self.run.case_id,
            objective=self.objective,
            method=self.method,
            recipe=run.recipe.name,
            metric=metric(self.run.plan.metrics[0]).name,
            cost_unit=OBJECTIVES[self.objective],
            layers=tuple(self._row(layer.name, floats) for layer in self.layers),
            other_layers=self.other_layers,
            on_search=confirmed.on_search if confirmed else None,
            on_confirmation=confirmed.on_confirmation if confirmed else None,
            candidates=self.judge.candidates,
            is_confirmed=bool(confirmed and confirmed.passed),
            size_bytes=sizes(self.run, run) if made else {},
            latency_ms=times,
            declaration=declaration(self.run.recipe, run.recipe),
            ending=ending(self._begin(floats), run.recipe.name, what, confirmed),
            notes=tuple(self.notes),
            is_interrupted=self.is_interrupted,
        )

    def _row(self, name: str, floats: frozenset[str]) -> MixedLayer:
        share = self.noise.get(name)
        if share is not None:
            share = share / self.total_noise if self.total_noise else 0.0
        note = self.costs.failed.get(name, "")
        if not note and name not in self.costs.alone:
            note = "not measured in the budget: it stays float32"
        return MixedLayer(
            name, share, self.costs.alone.get(name), FLOAT32 if name in floats else INT8, note
        )

    def _latencies(self, run: CaseRun) -> dict[str, float]:
        try:
            self.progress("latency of the mix, in turn with all int8 and all float32")
            return latencies(self.run, run)
        except KeyboardInterrupt:
            self.is_interrupted = True
        except FAILURES as error:
            self.notes.append(f"latency was not measured: {first_line_of(error)}")
        return {}

    def _begin(self, floats: frozenset[str]) -> str:
        """How the search ended, where it did not run to its end."""
        if self.is_interrupted:
            return "interrupted; the best so far is "
        if self.is_cut:
            return f"the budget of {self.budget_s:g} s ended; the best so far is "
        if all(floats != passed for _, passed in self.passing):
            more = ": let more layers stay float with --layers" if self.other_layers > 1 else ""
            return f"no mix passed in the search{more}; the one that loses least is "
        return ""
