"""The ladder of remedies: for a case that does not pass, the cheapest recipe that does.

Every rung (`rungs.py`) is quantized and judged by its gates as any case is, on the same samples.
One is refused where a gate fails that the case itself passes, and one that changes no byte is not
judged again. The first that passes ends the ladder.

Each further try on one evaluation set is another chance to pass by luck. So the bound of the drop
of what passes is given twice: as its gate has it, and at the confidence that all tries together
have an error of 5% (Bonferroni).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from int8gate.analysis.attempts import (
    FAILURES,
    LEAST_STAGE_S,
    attempt,
    first_line_of,
    worst_layers,
)
from int8gate.analysis.ladder_results import (
    Ladder,
    Tried,
    best_so_far,
    declaration,
    first_line,
    gained,
    helped,
)
from int8gate.analysis.rungs import Rung, rungs
from int8gate.quantizers.file_scales import why_unchanged
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe_type import FLOAT32, INT16
from int8gate.targets.registry import HOST, find, taking
from int8gate.targets.target import Target
from int8gate.validation import measure
from int8gate.validation.bootstrap import CONFIDENCE
from int8gate.validation.case_run import CaseRun
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import upper_bound

DONE = ("passed", "recorded", "unsupported", "not_measured")  # a gate that ended so refuses nothing


def rescue(
    run: CaseRun,
    *,
    targets: tuple[str, ...],
    core: str = "Cortex-A55",
    budget_s: float | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Ladder:
    """Climbs until a recipe passes, nothing is left, or the budget of seconds ends, which begins
    once the case itself is judged.

    What is done is kept in the artifact cache: called again it goes on where it was interrupted.
    Raises ValueError for a case that no remedy is for, in a sentence; and what the case itself ends
    with where it cannot be converted.
    """
    return _Climb(run, targets, core, budget_s, progress).climb()


class _Climb:
    def __init__(
        self,
        run: CaseRun,
        targets: tuple[str, ...],
        core: str,
        budget_s: float | None,
        progress: Callable[[str], None],
    ):
        self.run, self.targets, self.core, self.progress = run, targets, core, progress
        self.ends: float | None = None
        self.budget_s = budget_s
        self.runs: dict[str, CaseRun] = {}  # by recipe
        self.tolerance: float | None = None  # of the case, in the metric's unit

    def climb(self) -> Ladder:
        run, recipe = self.run, self.run.recipe
        if not recipe.is_calibrated:
            raise ValueError(
                f"{run.case_id}: {recipe.name} takes no calibrated ranges, and remedies are for "
                "recipes that do: name such a case"
            )
        if run.pipeline.has_scales(run.spec):
            raise ValueError(why_unchanged(run.case_id))
        started, base = time.monotonic(), Tried(recipe.name, "the case itself")
        self._judged(run, base)
        base.seconds = time.monotonic() - started
        self.ends = None if self.budget_s is None else time.monotonic() + self.budget_s
        unit = metric(run.plan.metrics[0]).name if run.scoring.metrics else None
        ladder = Ladder(run.case_id, unit, self.tolerance, base)
        if base.gates["accuracy"] == "passed":
            ladder.ending = f"{run.case_id} passes as it is: there is nothing to rescue"
            ladder.winner = recipe.name
            return ladder
        if base.gates["accuracy"] not in ("failed", "inconclusive"):
            ladder.ending = (
                f"no remedy can help: accuracy is {base.gates['accuracy']}: {base.message}"
            )
            return ladder
        self._climb(ladder)
        return ladder

    def _climb(self, ladder: Ladder) -> None:
        known, left_out = {}, []
        climbing = rungs(
            self.run.recipe,
            self.run.plan.toolchain,
            lambda name: (
                known[name].gain if name in known and helped(known[name], ladder.base) else None
            ),
            self._worst_layers,
            self._widths,
        )
        try:
            for rung in climbing:
                if not all(target.takes(rung.recipe) for target in self._asked):
                    left_out.append(rung.recipe.name)
                    continue
                if self.ends and time.monotonic() > self.ends:
                    ladder.ending = self._out_of_time(ladder)
                    return
                self.progress(f"{rung.recipe.name}: {rung.what}")
                tried = known[rung.recipe.name] = self._try(rung, ladder)
                ladder.tried.append(tried)
                if tried.verdict == "passed":
                    self._won(ladder, rung, tried)
                    return
        except KeyboardInterrupt:
            ladder.is_interrupted = True
            ladder.ending = (
                f"interrupted after {len(ladder.tried)} recipes; {best_so_far(ladder)}; called "
                "again it goes on"
            )
            return
        ladder.ending = f"none of {len(ladder.tried)} recipes passes; {best_so_far(ladder)}"
        if left_out:
            asked = " and ".join(target.name for target in self._asked)
            ladder.ending += (
                f". Not tried, for their scales are not what {asked} takes: {', '.join(left_out)}"
            )
        if self._integers_alone:
            ladder.ending += (
                f". Layers in float were not tried: {' and '.join(self._integers_alone)} runs "
                f"integer operators alone; --target {HOST} tries them"
            )

    @property
    def _asked(self) -> list[Target]:
        """The targets of the case, but the host."""
        return [find(name) for name in taking(self.run.recipe.toolchain, self.targets)]

    @property
    def _integers_alone(self) -> list[str]:
        """The targets of the case that run no float operator."""
        return [target.name for target in self._asked if not target.runs_float]

    @property
    def _widths(self) -> list[str]:
        """What single layers may have on all targets, by cost: of NPUs int16 before float32. On the
        host alone int16 is slower than float32, and loses more.
        """
        if not self._asked:
            return [FLOAT32]
        widths = [target.widths for target in self._asked]
        return [width for width in (INT16, FLOAT32) if all(width in each for each in widths)]

    def _worst_layers(self) -> Sequence[Layer]:
        """Those first that lose most where they alone are quantized."""
        self.progress("which layers lose most")
        left = self._time_left()
        try:
            found = worst_layers(self.run, None if left is None else left / 2)
        except FAILURES as error:  # what was tried so far is not lost by it
            self.progress(f"not known: {first_line_of(error)}")
            return []
        return [row.layer for row in found.rows]

    def _try(self, rung: Rung, ladder: Ladder) -> Tried:
        started, tried = time.monotonic(), Tried(rung.recipe.name, rung.what)
        try:
            with self.run.pipeline.runner.within(self._time_left()):
                run = self.runs[rung.recipe.name] = attempt(self.run, rung.recipe)
                tried.sha256 = run.built.artifact.sha256
                tried.notes = list(run.built.notes)
                same = next(
                    (each for each in (ladder.base, *ladder.tried) if each.sha256 == tried.sha256),
                    None,
                )
                if same:
                    done = f": {tried.notes[-1]}" if tried.notes else ""
                    tried.verdict = "same"
                    tried.message = f"the file of {same.recipe} once more{done}"
                else:
                    self._judged(run, tried, ladder.base)
        except FAILURES as error:
            tried.message = first_line_of(error)
        tried.seconds = time.monotonic() - started
        return tried

    def _judged(self, run: CaseRun, tried: Tried, base: Tried | None = None) -> Tried:
        """Measures the gates of a case; those that cost time only where a rung may pass."""
        found = measure.accuracy(run)
        tried.sha256 = run.built.artifact.sha256
        tried.gates["accuracy"] = tried.verdict = found.result.status
        tried.message = first_line(found.result.message)
        accuracy = found.fields.get("accuracy") or {}
        tried.drop, tried.drop_upper_95 = accuracy.get("drop"), accuracy.get("drop_upper_95")
        tried.sqnr_db = (found.fields.get("fidelity") or {}).get("sqnr_db")
        tried.size_bytes = run.built.artifact.size_bytes
        if base:
            tried.gain = gained(base, tried)
        else:
            self.tolerance = accuracy.get("tolerance")
        for gate in run.recipe.gates:
            if gate in ("io_dtype", "integer_only", "size"):
                tried.gates[gate] = getattr(measure, gate)(run).result.status
        if HOST in self.targets and "cpu_speedup" in run.recipe.gates:
            timed = measure.host_latency(run)
            tried.gates["cpu_speedup"] = timed.result.status
            tried.latency_ms[HOST] = (timed.fields.get("cpu") or {}).get("quantized_ms")
        for target in self._asked:
            self._on_target(run, tried, target.name)
        if base and tried.verdict == "passed":
            self._refuse(tried, base)
        return tried

    def _on_target(self, run: CaseRun, tried: Tried, target: str) -> None:
        found = measure.npu_speedup(run, target, self.core)
        (entry,) = found.fields["npu"]
        on_npu, on_cpu = entry.get("npu_ops"), entry.get("cpu_ops")
        tried.latency_ms[target] = entry.get("latency_ms")
        tried.gates[f"npu_speedup {target}"] = found.result.status
        if on_npu is not None and on_npu + on_cpu:
            tried.coverage = min(
                1.0 if tried.coverage is None else tried.coverage, on_npu / (on_npu + on_cpu)
            )

    @staticmethod
    def _refuse(tried: Tried, base: Tried) -> None:
        """A rung that buys accuracy by a gate that the case itself passes is no rescue."""
        lost = [
            gate
            for gate, status in tried.gates.items()
            if status not in DONE and base.gates.get(gate, "passed") in DONE
        ]
        if lost:
            tried.verdict = "refused"
            tried.message = f"accuracy passes, but {' and '.join(lost)} does not any more"

    def _won(self, ladder: Ladder, rung: Rung, tried: Tried) -> None:
        ladder.winner = tried.recipe
        ladder.declaration = declaration(self.run.recipe, rung.recipe)
        run = self.runs[tried.recipe]
        ladder.ending = f"{tried.recipe} passes: {tried.what}; dearer ones were not needed"
        if tried.drop is None:
            return
        scored, tries = metric(run.plan.metrics[0]), len(ladder.tried) + 1
        own, count = run.evaluation, len(run.evaluation.statistics)
        ladder.drop_together = upper_bound(
            scored,
            run.float_evaluation.statistics[:count],
            own.statistics,
            own.sources,
            1 - (1 - CONFIDENCE) / tries,
            self.run.pipeline.settings.seed,
        )
        if ladder.tolerance is not None and ladder.drop_together > ladder.tolerance:
            ladder.ending += (
                f". Of {tries} recipes on the same samples one may pass by chance: at 95% for all "
                f"of them together the drop is at most {ladder.drop_together:.4g}, of "
                f"{ladder.tolerance:.4g} allowed: confirm it on samples that it has not seen"
            )

    def _time_left(self) -> float | None:
        return None if self.ends is None else max(LEAST_STAGE_S, self.ends - time.monotonic())

    def _out_of_time(self, ladder: Ladder) -> str:
        return (
            f"the budget of {self.budget_s:.0f} s ended after {len(ladder.tried)} recipes, and "
            f"there are more; {best_so_far(ladder)}: give it a larger --budget, what is done is "
            "kept"
        )
