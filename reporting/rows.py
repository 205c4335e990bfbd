"""A case record as the row that the terminal, the Markdown and the HTML all show.

One place turns fields into words, so that the three documents cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from reporting.fields import DASH, dig, divided, metric, percent, text, three_digits, times

SETTLED_GATES = ("passed", "recorded", None)


@dataclass(frozen=True)
class NpuFigure:
    """Latency in ms and speedup over the CPU baseline on one target, as text."""

    target: str
    kind: str
    latency: str
    speedup: str


@dataclass(frozen=True)
class CaseRow:
    """The texts of one case; `record` holds the rest for whoever shows details."""

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
    input_dtype: str
    integer: str
    size: str
    cpu: str
    npu: tuple[NpuFigure, ...]
    gates: dict[str, str | None]
    messages: dict[str, str]
    notes: tuple[str, ...]

    @property
    def open_gates(self) -> dict[str, str]:
        """The gates that neither passed, nor were recorded without a limit, nor do not apply."""
        return {gate: state for gate, state in self.gates.items() if state not in SETTLED_GATES}

    @property
    def is_plain_pass(self) -> bool:
        remarks = self.open_gates or self.messages or self.notes or self.reason
        return self.verdict == "passed" and not remarks


def rows_of(results: dict) -> list[CaseRow]:
    """All cases as rows, sorted by model, recipe and profile whatever order they ran in."""
    return [_row(case) for case in sorted_cases(results)]


def sorted_cases(results: dict) -> list[dict]:
    def key(case: dict) -> tuple[str, ...]:
        return tuple(str(case.get(name) or "") for name in ("model", "recipe", "profile"))

    return sorted(results.get("cases") or [], key=key)


def _row(case: dict) -> CaseRow:
    accuracy = case.get("accuracy")
    model, recipe = text(case.get("model")), text(case.get("recipe"))
    size_ratio = divided(dig(case, "size_bytes", "float"), dig(case, "size_bytes", "quantized"))
    return CaseRow(
        record=case,
        id=f"{model}-{recipe}",
        model=model,
        recipe=recipe,
        verdict=case.get("verdict") or "not stated",
        reason=case.get("reason") or "",
        metric=text(dig(accuracy, "metric")),
        float=metric(dig(accuracy, "float")),
        quantized=metric(dig(accuracy, "quantized")),
        drop=metric(dig(accuracy, "drop")),
        drop_upper=metric(dig(accuracy, "drop_upper_95")),
        tolerance=metric(dig(accuracy, "tolerance")),
        input_dtype=_input_dtype(case),
        integer=percent(dig(case, "integer_ops", "fraction")),
        size=times(size_ratio),
        cpu=times(dig(case, "cpu", "speedup")),
        npu=tuple(_npu_figure(entry) for entry in case.get("npu") or []),
        gates=dict(case.get("gates") or {}),
        messages={gate: said for gate, said in (case.get("messages") or {}).items() if said},
        notes=tuple(case.get("notes") or ()),
    )


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
