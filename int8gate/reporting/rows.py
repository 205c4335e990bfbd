"""A case record as the row that the terminal, the Markdown and the HTML all show, and its findings.

One place turns fields into words, so that the three documents cannot disagree. `findings` are what
the gates of a case say, in parts: the figures first, each sentence once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from int8gate.reporting import calibration
from int8gate.reporting.fields import (
    DASH,
    dig,
    divided,
    higher_is_better,
    metric,
    percent,
    text,
    three_digits,
    times,
)
from int8gate.validation.verdict import case_state

SETTLED_GATES = ("passed", "recorded", None)

PART = re.compile(r"^(measured|allowed|likely cause|where|next): ", re.MULTILINE)
WITHOUT_MESSAGE = ("passed", "recorded", "unsupported", None)


@dataclass(frozen=True)
class NpuFigure:
    """Latency in ms and speedup over the CPU baseline on one target, as text."""

    target: str
    kind: str
    latency: str
    speedup: str


@dataclass(frozen=True)
class Baseline:
    """A score that the quantized model must exceed, and by how much it does, as text: stand on its
    better `side`, "above", or "below" of a metric of which less is better.
    """

    name: str
    score: str
    gain: str
    is_exceeded: bool | None
    side: str

    def __str__(self) -> str:
        return f"{self.name} {self.score}"


@dataclass(frozen=True)
class CaseRow:
    """The texts of one case; `record` holds the rest for whoever shows details.

    `verdict` is the record's, `partly` where only selected gates ran, `unfinished` where some are
    pending. `deselected` are the gates that exist for the case and were not selected.
    `also` are further metrics that nothing is gated on: `{"ssim": "0.9100 → 0.9000"}`.
    """

    record: dict
    id: str
    model: str
    recipe: str
    verdict: str
    reason: str
    metric: str
    float: str
    quantized: str
    drop: str
    drop_upper: str
    tolerance: str
    baseline: Baseline | None
    also: dict[str, str]
    input_dtype: str
    integer: str
    size: str
    cpu: str
    npu: tuple[NpuFigure, ...]
    gates: dict[str, str | None]
    deselected: tuple[str, ...]
    messages: dict[str, str]
    notes: tuple[str, ...]

    @property
    def open_gates(self) -> dict[str, str]:
        """The gates that neither passed, nor were recorded without a limit, nor do not apply."""
        return {gate: state for gate, state in self.gates.items() if state not in SETTLED_GATES}

    @property
    def holds(self) -> bool:
        """Whether all of its gates, or all that were selected, hold."""
        return self.verdict in ("passed", "partly")

    @property
    def is_plain_pass(self) -> bool:
        remarks = self.open_gates or self.messages or self.notes or self.reason
        return self.holds and not remarks


def rows_of(results: dict) -> list[CaseRow]:
    """All cases as rows, sorted by model, recipe and profile whatever order they ran in."""
    return [_row(case) for case in sorted_cases(results)]


def about(rows: list[CaseRow]) -> str:
    """Task, format, profile and metric that a model's cases share, or all where they differ."""
    records = [{**row.record, "metric": metric_in_unit(row.record)} for row in rows]
    keys = ("task", "source_format", "profile", "metric")
    found = [dict.fromkeys(str(each[key]) for each in records if each.get(key)) for key in keys]
    return ", ".join(" or ".join(values) for values in found if values)


def metric_in_unit(case: dict) -> str | None:
    """The gated metric's name, `psnr in dB` where it has a unit to tell."""
    name, unit = dig(case, "accuracy", "metric"), dig(case, "accuracy", "unit")
    return f"{name} in dB" if name and unit == "dB" else name


def sorted_cases(results: dict) -> list[dict]:
    return sorted(results.get("cases") or [], key=case_order)


def case_order(case: dict) -> tuple[str, ...]:
    """What cases are sorted by: model, recipe, profile."""
    return tuple(str(case.get(name) or "") for name in ("model", "recipe", "profile"))


def _row(case: dict) -> CaseRow:
    accuracy = case.get("accuracy")
    unit = dig(accuracy, "unit")
    model, recipe = text(case.get("model")), text(case.get("recipe"))
    size_ratio = divided(dig(case, "size_bytes", "float"), dig(case, "size_bytes", "quantized"))
    return CaseRow(
        record=case,
        id=f"{model}-{recipe}",
        model=model,
        recipe=recipe,
        verdict=case_state(case).replace("_", " "),
        reason=case.get("reason") or "",
        metric=text(dig(accuracy, "metric")),
        float=metric(dig(accuracy, "float"), unit),
        quantized=metric(dig(accuracy, "quantized"), unit),
        drop=metric(dig(accuracy, "drop"), unit),
        drop_upper=metric(dig(accuracy, "drop_upper_95"), unit),
        tolerance=metric(dig(accuracy, "tolerance"), unit),
        baseline=_baseline(accuracy),
        also={name: _pair(scores) for name, scores in (dig(accuracy, "also") or {}).items()},
        input_dtype=_input_dtype(case),
        integer=percent(dig(case, "integer_ops", "fraction")),
        size=times(size_ratio),
        cpu=times(dig(case, "cpu", "speedup")),
        npu=tuple(_npu_figure(entry) for entry in case.get("npu") or []),
        gates=dict(case.get("gates") or {}),
        deselected=tuple(case.get("deselected") or ()),
        messages={gate: said for gate, said in (case.get("messages") or {}).items() if said},
        notes=(*(case.get("notes") or ()), *calibration.remarks(case)),
    )


def _baseline(accuracy: dict | None) -> Baseline | None:
    baseline, unit = dig(accuracy, "baseline"), dig(accuracy, "unit")
    if not baseline:
        return None
    score, quantized = baseline.get("score"), dig(accuracy, "quantized")
    higher = higher_is_better(accuracy)
    gain = None if score is None or quantized is None else quantized - score
    if gain is not None and not higher:
        gain = -gain
    sign = "+" if gain is not None and gain > 0 else ""
    return Baseline(
        name=text(baseline.get("name")),
        score=metric(score, unit),
        gain=f"{sign}{metric(gain, unit)}",
        is_exceeded=None if gain is None else gain > 0,
        side="above" if higher else "below",
    )


def _pair(scores: dict | None) -> str:
    before, after = (
        metric(dig(scores, key), dig(scores, "unit")) for key in ("float", "quantized")
    )
    return f"{before} → {after}"


def _npu_figure(entry: dict) -> NpuFigure:
    return NpuFigure(
        target=text(entry.get("target")),
        kind=text(entry.get("kind")),
        latency=three_digits(entry.get("latency_ms")),
        speedup=times(entry.get("speedup")),
    )


def _input_dtype(case: dict) -> str:
    dtypes = dict.fromkeys(spec.get("dtype") for spec in dig(case, "io", "inputs") or [])
    return "+".join(text(dtype) for dtype in dtypes) or DASH


@dataclass(frozen=True)
class Finding:
    """One message, the gates that it came from, and its labelled parts in order; text without a
    label stands under "".
    """

    gates: tuple[str, ...]
    state: str
    parts: tuple[tuple[str, str], ...]


def findings(row: CaseRow) -> list[Finding]:
    """What stands against a case, in the order of its gates; a message of several gates once."""
    by_message: dict[tuple[str, str], list[str]] = {}
    for gate, state in row.gates.items():
        if state not in WITHOUT_MESSAGE:
            by_message.setdefault((state, row.messages.get(gate) or row.reason), []).append(gate)
    found = [
        Finding(tuple(gates), state, parts_of(message))
        for (state, message), gates in by_message.items()
    ]
    return found or [Finding((), row.verdict, parts_of(row.reason))]


def parts_of(message: str) -> tuple[tuple[str, str], ...]:
    """`measured: a\\nallowed: b` as (("measured", "a"), ("allowed", "b"))."""
    pieces = PART.split(message)
    pairs = [("", pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]
    return tuple((label, text.strip()) for label, text in pairs if text.strip())
