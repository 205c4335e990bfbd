"""Which widths the layers of a case have, so that it passes and costs least: found, then confirmed.

    found = mix(run, MixQuestion(objective="size", method="integer", layers=12), budget_s=300)
    found.ending            a sentence
    found.declaration       what to write into a TOML

Those layers may be wider that lose most where they alone are quantized (noise power at the output,
of the first evaluation samples without their labels); those that have most weights may be narrower,
int4, too. What each costs is measured
(`mix_costs.py`). A candidate of the search is judged by the case's accuracy test on one part of the
evaluation set, the winner once on the other (`confirm.py`), whose labels the search never sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from int8gate.analysis.attempts import (
    FAILURES,
    LEAST_STAGE_S,
    first_line_of,
    worst_layers,
)
from int8gate.analysis.confirm import Confirmed, Judge, split_by_source
from int8gate.analysis.ladder_results import declaration
from int8gate.analysis.mix_costs import Costs, Meter, Variants, Wide, measure_costs
from int8gate.analysis.mix_question import MixQuestion, candidates, checked
from int8gate.analysis.mix_results import (
    Mixed,
    MixedLayer,
    ending,
    latencies,
    latencies_on_target,
    sizes,
    told_widths,
)
from int8gate.analysis.search import search
from int8gate.analysis.search_budget import Budget
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe_type import INT4, INT8
from int8gate.targets.registry import HOST
from int8gate.validation import gates
from int8gate.validation.case_run import CaseRun
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import NonInferiority

LOSSY = ("int4", "int16", "float16")  # what layers lose in these is measured; in float32 nothing
TO_ORDER, TO_MEASURE = 0.4, 0.8  # of the budget: when the next step begins at the latest
ROUNDS = 8  # searches, each below the loss at which the one before failed


def mix(
    run: CaseRun,
    asked: MixQuestion | None = None,
    *,
    budget_s: float | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Mixed:
    """The cheapest mix of int8 layers and those of other widths that passes.

    The budget of seconds counts from the call; what it left is judged and confirmed even so, which
    may take one artifact and its evaluation longer. So does KeyboardInterrupt end the search; then
    only what was judged before is.
    Raises ValueError in a sentence for what cannot be mixed, and what preparing the case raises.
    """
    return _Mixing(run, checked(run, asked or MixQuestion()), budget_s, progress).mixed()


class _OutOfTime(Exception):
    """The budget ended in the middle of a candidate."""


class _Mixing:
    def __init__(
        self,
        run: CaseRun,
        asked: MixQuestion,
        budget_s: float | None,
        progress: Callable[[str], None],
    ) -> None:
        self.run, self.asked = run, asked
        self.budget_s, self.progress, self.started = budget_s, progress, time.monotonic()
        self.variants = Variants(run)
        self.layers: list[Layer] = []
        self.noise: dict[tuple[str, str], float] = {}  # by layer and width
        self.failed: dict[tuple[str, str], str] = {}  # likewise, why it cannot be
        self.total_noise, self.other_layers = 0.0, 0
        self.costs = Costs(asked.widths)
        self.passing: list[tuple[float, Wide]] = []  # cost by the table
        self.notes: list[str] = []
        self.wide: Wide | None = None
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
        if self.wide is None:
            self.wide = self._best_so_far
        return self._result(self.wide)

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
        noise = {name: _noise(db) for name, db in decibels.items()}
        unmeasured = sorted(found.unmeasured, key=lambda layer: -layer.share)
        listed = [*(row.layer for row in found.rows), *unmeasured]
        self.layers, self.failed = candidates(listed, self.asked)
        self.total_noise = sum(noise.values())
        names = [layer.name for layer in self.layers]
        self.noise = {(name, INT8): noise[name] for name in names if name in noise}
        self._measure_widths(names)
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

    def _measure_widths(self, names: list[str]) -> None:
        """What the layers lose in those widths that are integer, too."""
        for width in self.asked.widths:
            if width not in LOSSY:
                continue
            self.progress(f"what these layers lose in {width}")
            left = None if self.budget_s is None else TO_ORDER * self.budget_s - self._seconds
            if left is not None and left <= 0:
                self.is_cut = True
                return
            able = [name for name in names if (name, width) not in self.failed]
            if not able:
                continue
            found = worst_layers(self.run, left, width, able)
            self.noise |= {(r.layer.name, width): _noise(r.sqnr_alone_db) for r in found.rows}
            self.failed |= {(name, width): why for name, why in found.failed.items()}

    def _measure_costs(self, edges: tuple[tuple[str, str], ...]) -> None:
        known = [layer for layer in self.layers if (layer.name, INT8) in self.noise]

        def is_over() -> bool:
            over = self.budget_s is not None and self._seconds > TO_MEASURE * self.budget_s
            self.is_cut |= over
            return over

        meter = Meter(self.variants, self.asked)
        self.costs = measure_costs(meter, known, edges, is_over, self.progress, self.failed)

    def _search(self) -> None:
        """The search; again below the least loss that failed, where it found nothing but all
        wide.
        """
        table = self.costs.table(self.layers, self.noise)
        everything = float(table.losses_of(np.zeros(len(table.layers), int)))
        bound, least = everything, float(table.losses_of(table.least_lossy))

        def passes(widths: dict[str, str]) -> bool:
            wide = _wide(widths)
            passed = self._passes(wide)
            if passed:
                cost = float(table.costs_of(table.numbered(widths)))
                self.passing.append((cost, wide))
            return passed

        for _ in range(ROUNDS):
            left = self._time_left
            found = search(
                table,
                bound,
                method=self.asked.method,
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
        self.wide = _wide(found.widths)

    def _passes(self, wide: Wide) -> bool:
        """Whether a candidate passes on the search part, and the floor that fidelity sets."""
        self.progress(f"judged with {told_widths(wide)}")
        try:
            with self.run.pipeline.runner.within(self._stage_s):
                gate = self._judged(wide)
        except FAILURES as error:
            if self._time_left == 0:
                raise _OutOfTime from error
            self.notes.append(f"{told_widths(wide)}: {first_line_of(error)}")
            return False
        fidelity = self.variants.of(wide).evaluation.fidelity or []
        if gates.floor_gate(fidelity, self.run.case_id):
            return False
        return gate.verdict == "passed" if self.by_bound else gate.drop <= gate.tolerance

    def _judged(self, wide: Wide) -> NonInferiority:
        run = self.variants.of(wide)
        rows = run.evaluation.statistics
        return self.judge.on_search(run.recipe.name, rows[self.judge.parts.search])

    @property
    def _best_so_far(self) -> Wide:
        """The cheapest that passed; all that may be wide where none did."""
        if self.passing:
            return min(self.passing, key=lambda each: each[0])[1]
        possible = {layer.name: self.costs.possible(layer.name) for layer in self.layers}
        return {name: of[-1] for name, of in possible.items() if of and of[-1] != INT4}

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

    def _result(self, wide: Wide) -> Mixed:
        run, asked = self.variants.of(wide), self.asked
        confirmed: Confirmed | None = None
        if not self.is_interrupted or any(wide == passed for _, passed in self.passing):
            try:
                self._judged(wide)
                rows = run.evaluation.statistics[self.judge.parts.confirmation]
                confirmed = self.judge.confirm(run.recipe.name, rows)
            except KeyboardInterrupt:
                self.is_interrupted = True
            except FAILURES as error:
                self.notes.append(f"{run.recipe.name} could not be judged: {first_line_of(error)}")
        made = confirmed is not None
        times = self._latencies(run) if made and not self.is_interrupted else {}
        count = len(self.layers) + self.other_layers
        what = f"{told_widths(wide)}, of {count}"
        return Mixed(
            case=self.run.case_id,
            objective=asked.objective,
            method=asked.method,
            target=asked.target,
            widths=asked.widths,
            recipe=run.recipe.name,
            metric=metric(self.run.plan.metrics[0]).name,
            cost_unit=asked.unit,
            layers=tuple(self._row(layer.name, wide) for layer in self.layers),
            other_layers=self.other_layers,
            on_search=confirmed.on_search if confirmed else None,
            on_confirmation=confirmed.on_confirmation if confirmed else None,
            candidates=self.judge.candidates,
            is_confirmed=bool(confirmed and confirmed.passed),
            size_bytes=sizes(self.run, run) if made else {},
            latency_ms=times,
            declaration=declaration(self.run.recipe, run.recipe),
            ending=ending(self._begin(wide), run.recipe.name, what, confirmed),
            notes=tuple(self.notes),
            is_interrupted=self.is_interrupted,
        )

    def _row(self, name: str, wide: Wide) -> MixedLayer:
        share = self.noise.get((name, INT8))
        if share is not None:
            share = share / self.total_noise if self.total_noise else 0.0
        costs = {width: self.costs.alone.get((name, width)) for width in self.asked.widths}
        told = {w: why for (layer, w), why in self.costs.failed.items() if layer == name}
        is_bound = not self.costs.possible(name)  # a width of several that it lacks is no matter
        note = "; ".join(f"{width}: {why}" for width, why in told.items()) if is_bound else ""
        if not note and all(cost is None for cost in costs.values()):
            note = f"not measured in the budget: it has {wide.get(name, INT8)}"
        return MixedLayer(name, share, costs, wide.get(name, INT8), note)

    def _latencies(self, run: CaseRun) -> dict[str, float]:
        try:
            if self.asked.target != HOST:
                return latencies_on_target(self.run, run, self.asked.target, self.asked.core)
            self.progress("latency of the mix, in turn with all int8 and all float32")
            return latencies(self.run, run)
        except KeyboardInterrupt:
            self.is_interrupted = True
        except FAILURES as error:
            self.notes.append(f"latency was not measured: {first_line_of(error)}")
        return {}

    def _begin(self, wide: Wide) -> str:
        """How the search ended, where it did not run to its end."""
        if self.is_interrupted:
            return "interrupted; the best so far is "
        if self.is_cut:
            return f"the budget of {self.budget_s:g} s ended; the best so far is "
        if all(wide != passed for _, passed in self.passing):
            more = ": let more layers be wide with --layers" if self.other_layers > 1 else ""
            return f"no mix passed in the search{more}; the one that loses least is "
        return ""


def _noise(decibels: float | None) -> float:
    """Noise power over that of the outputs; none where SQNR says none."""
    return 0.0 if decibels is None else 10 ** (-decibels / 10)


def _wide(widths: Wide) -> Wide:
    return {name: width for name, width in widths.items() if width != INT8}
