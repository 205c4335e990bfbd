"""What changed of a case between two runs: each figure better, worse, drifted or the same.

    same      equal
    better    really better: a deterministic figure moved, a score did by more than its scatter
    worse     the same in the other direction; whether it is too much, `limits.py` says
    drifted   moved, and no verdict can be drawn from it: a score within its scatter, fidelity on
              another host or with other versions, a measured time within its noise

Sizes, coverage and modelled latency depend on no machine, so that they are compared exactly; the
versions that made them are named where they differ. To swap the runs swaps better and worse.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from int8gate.validation.case_summary import Accuracy, Figures
from int8gate.validation.comparing import change_words as words
from int8gate.validation.comparing.paired import MetricChange, paired_change, unpaired_change
from int8gate.validation.comparing.sample_scores import Predictions

EPSILON = 1e-6  # relative: what is left of the rounding of a deterministic figure
DRIFT_DB = 1.0  # of SQNR between hosts or versions, whose kernels round elsewhere
CPU_NOISE = 0.30  # of a measured speedup: three runs of one file on a busy machine differed by 28%
GATE_OF = {  # the gate that measures a figure; figures in the order in which they are told
    "accuracy": "accuracy",
    "size": "size",
    "npu_latency": "npu_speedup",
    "coverage": "npu_speedup",
    "fidelity": "accuracy",
    "cpu_speedup": "cpu_speedup",
}
FIGURES = tuple(GATE_OF)


@dataclass(frozen=True)
class Change:
    """One figure of a case, before and now.

    `loss` is how much worse it got, in the figure's unit (fraction, dB, B, ms, x): negative is
    better, infinite a figure that is gone or cannot be compared. `tolerance` is the loss that the
    case's own rule allows, None where it has none. `summary` is what changed, `cure` what to do.
    """

    case: str
    figure: str
    before: float
    now: float | None
    verdict: str
    loss: float
    summary: str
    cure: str = ""
    unit: str = "fraction"
    target: str | None = None
    tolerance: float | None = None

    @property
    def sentence(self) -> str:
        return f"{self.summary}; {self.cure}" if self.cure else self.summary


@dataclass(frozen=True)
class _Pair:
    """A figure before and now (None: its gate was run, and it was not measured)."""

    figure: str
    name: str
    before: float
    now: float | None
    unit: str
    less_is_better: bool = False
    target: str | None = None


def compare(
    case: str,
    before: Figures,
    now: Figures,
    predictions: tuple[Predictions, Predictions] | str = "no predictions were kept",
    declared: Collection[str] = (),
) -> list[Change]:
    """The changes of every figure that `before` has and whose gate was run `now`.

    `predictions` are those of both runs, or why they are not at hand. Metrics of the user's own are
    looked up where `declared` names them: the figures may come from anybody's file.
    """
    found = [_change(case, pair, before, now) for pair in _pairs(before, now)]
    if before.accuracy and (now.accuracy or "accuracy" in now.judged):
        found.append(_accuracy(case, before, now, predictions, declared))
    return sorted(found, key=lambda each: (FIGURES.index(each.figure), each.target or ""))


def _pairs(before: Figures, now: Figures) -> list[_Pair]:
    pairs = []

    def add(figure: str, name: str, was: float | None, is_now: float | None, *about) -> None:
        if was is not None and (is_now is not None or GATE_OF[figure] in now.judged):
            pairs.append(_Pair(figure, name, was, is_now, *about))

    sizes = [each.size_bytes and each.size_bytes.quantized for each in (before, now)]
    add("size", "size", *sizes, "B", True)
    for target in sorted(before.npu.keys() & now.npu.keys()):
        was, is_now = before.npu[target], now.npu[target]
        latencies, shares = (was.latency_ms, is_now.latency_ms), (was.coverage, is_now.coverage)
        add("npu_latency", f"modelled latency on {target}", *latencies, "ms", True, target)
        add("coverage", f"share of operators on {target}", *shares, "fraction", False, target)
    add("fidelity", "SQNR", before.sqnr_db, now.sqnr_db, "dB")
    if now.cpu_speedup is not None:
        add("cpu_speedup", "measured CPU speedup", before.cpu_speedup, now.cpu_speedup, "x")
    return pairs


def _change(case: str, pair: _Pair, before: Figures, now: Figures) -> Change:
    about = (pair.unit, pair.target)
    if pair.now is None:
        return _gone(case, pair.figure, pair.name, pair.before, *about)
    moved = bool(words.differences(before.environment, now.environment))
    verdict = _verdict(pair, pair.now, moved)
    rise = pair.now - pair.before
    loss = rise if pair.less_is_better else -rise
    summary = words.of_figure(case, pair, verdict, words.remarks(before, now))
    cure = words.cure(case, verdict)
    return Change(case, pair.figure, pair.before, pair.now, verdict, loss, summary, cure, *about)


def _verdict(pair: _Pair, now: float, moved: bool) -> str:
    """`now` is the pair's, measured; `moved`: host or versions are others than before."""
    before = pair.before
    if math.isclose(before, now, rel_tol=EPSILON):
        return "same"
    if pair.figure == "fidelity" and moved and abs(now - before) <= DRIFT_DB:
        return "drifted"
    if pair.figure == "cpu_speedup" and max(before, now) <= (1 + CPU_NOISE) * min(before, now):
        return "drifted"
    return "better" if (now < before) == pair.less_is_better else "worse"


def _accuracy(
    case: str,
    before: Figures,
    now: Figures,
    predictions: tuple[Predictions, Predictions] | str,
    declared: Collection[str],
) -> Change:
    was, is_now = before.accuracy, now.accuracy
    assert was is not None  # else there is nothing to compare
    if is_now is None:
        return _gone(case, "accuracy", was.metric, was.quantized, was.unit)
    try:
        change = _metric_change(was, is_now, predictions, declared)
    except (ValueError, KeyError) as error:
        summary, loss, verdict = f"{case}: accuracy cannot be compared: {error}", math.inf, "worse"
    else:
        loss, verdict = change.drop, _metric_verdict(change)
        summary = words.of_accuracy(case, was, is_now, change, verdict, words.remarks(before, now))
    return Change(
        case,
        "accuracy",
        was.quantized,
        is_now.quantized,
        verdict,
        loss,
        summary,
        words.cure(case, verdict),
        was.unit,
        tolerance=was.tolerance,
    )


def _metric_change(
    was: Accuracy,
    is_now: Accuracy,
    predictions: tuple[Predictions, Predictions] | str,
    declared: Collection[str],
) -> MetricChange:
    if isinstance(predictions, str):
        return unpaired_change(was, is_now, predictions, declared)
    try:
        return paired_change(*predictions, declared=declared)
    except ValueError as error:
        return unpaired_change(was, is_now, str(error), declared)


def _metric_verdict(change: MetricChange) -> str:
    if change.drop == 0:
        return "same"
    if change.may_be_chance:
        return "drifted"
    return "worse" if change.drop > 0 else "better"


def _gone(case: str, figure: str, name: str, before: float, unit: str, target=None) -> Change:
    summary = f"{case}: {name} was {words.value(before, unit)} and is not measured now"
    cure = words.cure(case, "worse")
    return Change(case, figure, before, None, "worse", math.inf, summary, cure, unit, target)
