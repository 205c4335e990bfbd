"""Accepted results: what a case reached when people last agreed to it.

    old = baseline_file.read(path)
    changes = compare_to_baseline(record, environment, old, folders)
    failures = exceeded(changes, BASELINE_LIMITS)
    new = update(old, results, cases, folders)
    baseline_file.write(path, new.baseline, folders)

`folders` are where predictions of this run were kept (`sample_scores.store`; the record names the
file as ``accuracy.predictions``, its SHA-256).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from int8gate.validation.case_summary import Figures, case_key, figures_of
from int8gate.validation.comparing.changes import Change, compare
from int8gate.validation.comparing.paired import score_interval
from int8gate.validation.comparing.sample_scores import Predictions, find
from int8gate.validation.verdict import why_not_accepted


@dataclass(frozen=True)
class Baseline:
    """Figures by case key, and the folder of the predictions that they refer to."""

    cases: Mapping[str, Figures] = field(default_factory=lambda: MappingProxyType({}))
    predictions: Path | None = None


@dataclass(frozen=True)
class Updated:
    """The new baseline, the cases that it took from the run, and why it left the others."""

    baseline: Baseline
    taken: tuple[str, ...]
    left: Mapping[str, str]


def compare_to_baseline(
    record: dict,
    environment: Mapping,
    baseline: Baseline,
    folders: Iterable[Path] = (),
    declared: Collection[str] = (),
) -> list[Change]:
    """What changed of a case since it was accepted; nothing for a case that was not yet.

    `environment` is that of the record's run. Accuracy is compared in pairs where the predictions
    of both runs are at hand, by interval otherwise, and each change says which. `declared` as in
    `changes.compare`.
    """
    key = case_key(record)
    if key not in baseline.cases:
        return []
    before, now = baseline.cases[key], accepted(figures_of(record, environment))
    beside = [baseline.predictions] if baseline.predictions else []
    predictions = both_predictions(before, now, beside, folders)
    return compare(key, before, now, predictions, declared)


def not_in_baseline(records: Iterable[dict], baseline: Baseline) -> list[str]:
    """The keys of cases that passed and were never accepted: to be recorded."""
    passed = (case_key(record) for record in records if why_not_accepted(record) is None)
    return sorted(key for key in passed if key not in baseline.cases)


def update(
    baseline: Baseline,
    results: dict,
    cases: Iterable[str],
    folders: Iterable[Path] = (),
    declared: Collection[str] = (),
) -> Updated:
    """The baseline with what `cases` (keys) reached in a run; the others stay as they are.

    A case that did not pass, or of which gates were left out, is left, and so is one whose file
    changed while a figure that its entry has was not measured: half of an entry would be of
    another file.
    """
    records = {case_key(record): record for record in results.get("cases") or []}
    folders, new, left = list(folders), dict(baseline.cases), {}
    for key in sorted(cases):
        if key not in records:
            left[key] = "it was not run"
            continue
        record = records[key]
        now = accepted(figures_of(record, results.get("environment") or {}))
        now = replace(now, judged=frozenset())
        if why := _refused(record, now):
            left[key] = why
            continue
        old = baseline.cases.get(key)
        if old and (absent := _absent(old, now)):
            if old.artifact != now.artifact:
                left[key] = f"its file changed and {absent} not measured: run all its gates"
                continue
            now = _filled(now, old)
        new[key] = _with_interval(now, folders, declared)
    taken = tuple(key for key in sorted(cases) if key in records and key not in left)
    ordered = MappingProxyType(dict(sorted(new.items())))
    return Updated(replace(baseline, cases=ordered), taken, MappingProxyType(left))


def both_predictions(
    before: Figures, now: Figures, before_in: Iterable[Path], now_in: Iterable[Path]
) -> tuple[Predictions, Predictions] | str:
    """The predictions of two runs, or in words why they are not at hand."""
    found = []
    for which, figures, folders in (("before", before, before_in), ("now", now, now_in)):
        sha256 = figures.accuracy and figures.accuracy.predictions
        if not sha256:
            return f"no predictions were kept {which}"
        try:
            found.append(find(folders, sha256))
        except (OSError, ValueError) as error:
            return str(error)
    return tuple(found)


def accepted(figures: Figures) -> Figures:
    """Without the time on this host, which is of one machine and one moment."""
    return replace(figures, cpu_speedup=None)


def _refused(record: dict, now: Figures) -> str | None:
    """Why a case's results cannot be accepted; None where they can."""
    if why := why_not_accepted(record):
        return why
    outputs = (record.get("fidelity") or {}).get("outputs")  # whole numbers have no SQNR
    has_passed = (record.get("gates") or {}).get("accuracy") == "passed"
    judged_by_fidelity = has_passed and (now.sqnr_db is not None or outputs)
    return None if now.accuracy or judged_by_fidelity else "its accuracy was not measured"


def _absent(old: Figures, now: Figures) -> str:
    """The figures of an entry that this run did not measure, as a phrase; empty if none."""
    missing = [f"npu.{target}" for target in sorted(old.npu.keys() - now.npu.keys())]
    if old.size_bytes and not now.size_bytes:
        missing.append("size")
    return f"{', '.join(missing)} {'were' if len(missing) > 1 else 'was'}" if missing else ""


def _filled(now: Figures, old: Figures) -> Figures:
    """With the old figures of the same file where this run has none."""
    npu = MappingProxyType({**old.npu, **now.npu})
    return replace(now, npu=npu, size_bytes=now.size_bytes or old.size_bytes)


def _with_interval(figures: Figures, folders: list[Path], declared: Collection[str]) -> Figures:
    """With bounds of the score; without a reference to predictions that are not at hand."""
    accuracy = figures.accuracy
    if not (accuracy and accuracy.predictions):
        return figures
    try:
        low, high = score_interval(find(folders, accuracy.predictions), declared=declared)
    except (OSError, ValueError):
        return replace(figures, accuracy=replace(accuracy, predictions=None))
    bounds = {"lower_95": float(f"{low:.6g}"), "upper_95": float(f"{high:.6g}")}
    return replace(figures, accuracy=replace(accuracy, **bounds))
