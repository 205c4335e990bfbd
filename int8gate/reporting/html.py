"""`report.html`: one file that can be forwarded, without scripts or outside resources.

Names and messages come from model files that nobody vouches for, so Jinja2 escapes everything;
the only markup passed through is SVG of `plots.py` and `training_curve.py`, which holds no name
from a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from int8gate.engine.errors import plain_text
from int8gate.reporting import calibration, generation
from int8gate.reporting.compared import NOT_COMPARED, Compared, compared
from int8gate.reporting.conversion import CONVERTED, NOT_CONVERTED, conversions
from int8gate.reporting.details import Fact, facts, tensors
from int8gate.reporting.fields import DASH, change, dig, size_change, text
from int8gate.reporting.picture_rows import PictureRow, picture_rows
from int8gate.reporting.plots import Mark, Picture, is_reference, marks, pictures
from int8gate.reporting.rows import Baseline, CaseRow, Finding, about, findings, rows_of
from int8gate.reporting.training_curve import curve
from int8gate.reporting.verdicts import LEGEND, environment_pairs, headline, setups

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
FOLDED_FROM = 120  # characters
SIGNS = {
    "passed": ("good", "✓"),
    "partly": ("mute", "✓"),
    "failed": ("bad", "✗"),
    "error": ("bad", "!"),
    "inconclusive": ("warn", "?"),
    "invalid": ("warn", "?"),
    "not_measured": ("warn", "?"),
    "not judged": ("warn", "?"),
    "unfinished": ("warn", "…"),
    "unsupported": ("mute", "∅"),
    "recorded": ("mute", "·"),
    CONVERTED: ("good", "✓"),
    NOT_CONVERTED: ("bad", "✗"),
}


@dataclass(frozen=True)
class Gate:
    """A cell of the table: the gate's name and state, the main figure, a line beneath it."""

    name: str
    label: str
    state: str | None
    figure: str
    beneath: str


@dataclass(frozen=True)
class CaseView:
    """One case as the template shows it."""

    row: CaseRow
    anchor: str
    rank: str
    gates: list[Gate]
    facts: list[Fact]
    findings: list[Finding]
    tensors: list[tuple[str, str, str, str, str, str]]
    calibration: list[tuple[str, ...]]
    training: str
    drawn: list[PictureRow]


@dataclass(frozen=True)
class ModelView:
    name: str
    about: str
    cases: list[CaseView]
    pictures: list[Picture]
    drawn: list[str]
    baselines: list[str]
    to_take: list[tuple[str, str, str]]
    generation: list[tuple[str, ...]]
    generation_header: tuple[str, ...]
    generation_reasons: list[str]


def template(name: str) -> Template:
    """A template of this room: what stands in records is escaped, and steers no reader."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else plain_text(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(results: dict) -> str:
    """The whole page; the same records give the same text."""
    rows = rows_of(results)
    looks, regressions = marks(rows), results.get("regressions") or []
    return template("report.html.j2").render(
        headline=headline(rows, results),
        regressions=regressions,
        regressed={each["case"].rpartition(":")[2] for each in regressions},
        models=_models(rows, looks, compared(results)),
        conversions=conversions(rows),
        looks=looks,
        environment=environment_pairs(results),
        run=[text(dig(results, "environment", key)) for key in ("started", "profile", "command")],
        legend=LEGEND,
        setups=setups(results),
        sign=lambda state: SIGNS.get(state, ("mute", "·")),
        folded=_folded,
        calibration_header=calibration.HEADER,
        calibration_meaning=calibration.MEANING,
        generation_meaning=generation.MEANING,
    )


def _folded(told: str) -> tuple[str, str]:
    """A long text as its first sentence and the rest, which is read once it is opened."""
    first, stop, rest = told.partition(". ")
    return (f"{first}.", rest) if stop and len(told) > FOLDED_FROM else (told, "")


def _models(
    rows: list[CaseRow], looks: dict[str, Mark], methods: dict[str, Compared]
) -> list[ModelView]:
    models = []
    for number, (name, group) in enumerate(groupby(rows, key=lambda row: row.model)):
        of_model = list(group)
        of_methods = methods.get(name, NOT_COMPARED)
        cases = [
            _case(row, f"case-{number}-{place}", of_methods.ranks.get(row.recipe, ""))
            for place, row in enumerate(of_model)
        ]
        drawn = [row.recipe for row in of_model if not is_reference(row)]
        baselines = {row.baseline.name: str(row.baseline) for row in of_model if row.baseline}
        plots = pictures(of_model, looks)
        models.append(
            ModelView(
                name,
                about(of_model),
                cases,
                plots,
                drawn,
                list(baselines.values()),
                of_methods.to_take,
                generation.table(of_model),
                generation.header(of_model),
                generation.reasons(of_model),
            )
        )
    return models


def _case(row: CaseRow, anchor: str, rank: str) -> CaseView:
    return CaseView(
        row,
        anchor,
        rank,
        _gates(row),
        facts(row),
        [] if row.holds else findings(row),
        tensors(row.record),
        calibration.table(row.record),
        curve(row.record.get("training")),
        picture_rows(row.record),
    )


def _gates(row: CaseRow) -> list[Gate]:
    named = [
        ("accuracy", "Accuracy", *_accuracy(row)),
        ("io_dtype", "Input type", row.input_dtype, ""),
        ("integer_only", "Integer", row.integer, ""),
        ("size", "Size", row.size, _bytes(row.record)),
        ("cpu_speedup", "CPU speed", row.cpu, _cpu(row.record)),
        ("npu_speedup", "NPU speed", *_npu(row)),
    ]
    known = [
        Gate(key, label, row.gates.get(key), figure, beneath or _left_out(key, row))
        for key, label, figure, beneath in named
    ]
    others = set(row.gates) - {gate.name for gate in known}
    return known + [Gate(name, name, row.gates[name], DASH, "") for name in sorted(others)]


def _left_out(gate: str, row: CaseRow) -> str:
    return "not selected" if gate in row.deselected and not row.gates.get(gate) else ""


def _accuracy(row: CaseRow) -> tuple[str, str]:
    figure = DASH if row.float == row.quantized == DASH else f"{row.float} → {row.quantized}"
    if row.drop == row.drop_upper == row.tolerance == DASH:
        return figure, ""
    beneath = f"drop {row.drop} (≤ {row.drop_upper}), allowed {row.tolerance}"
    return figure, "; ".join([beneath, *([_against(row.baseline)] if row.baseline else [])])


def _against(baseline: Baseline) -> str:
    """`above bicubic 31.00 dB by 0.41 dB`, or that it is not."""
    match baseline.is_exceeded:
        case True:
            return f"{baseline.side} {baseline} by {baseline.gain.removeprefix('+')}"
        case False:
            return f"not {baseline.side} {baseline} ({baseline.gain})"
    return f"baseline {baseline}"


def _bytes(record: dict) -> str:
    sizes = record.get("size_bytes")
    return size_change(dig(sizes, "float"), dig(sizes, "quantized")) if sizes else ""


def _cpu(record: dict) -> str:
    cpu = record.get("cpu")
    if not cpu:
        return ""
    return f"{change(cpu.get('float_ms'), cpu.get('quantized_ms'), 'ms')} {text(cpu.get('kind'))}"


def _npu(row: CaseRow) -> tuple[str, str]:
    """Speedups and, beneath, latencies with their targets."""
    if not row.npu:
        return DASH, ""
    latencies = [f"{npu.latency} ms {npu.kind}, {npu.target}" for npu in row.npu]
    return " / ".join(npu.speedup for npu in row.npu), "; ".join(latencies)
