"""`report.md`: verdict, cases of each model, conversions, what needs attention, legend."""

from __future__ import annotations

import re
from itertools import groupby

from int8gate.reporting import generation
from int8gate.reporting.compared import NOT_COMPARED, Compared, compared
from int8gate.reporting.conversion import Conversion, Told, conversions
from int8gate.reporting.fields import DASH, printable, text
from int8gate.reporting.rows import CaseRow, NpuFigure, about, rows_of
from int8gate.reporting.verdicts import LEGEND, environment_pairs, headline, setups

CASE_HEADER = (
    "case",
    "verdict",
    "float",
    "quantized",
    "drop",
    "drop, upper 95%",
    "allowed",
    "input",
    "integer",
    "size",
)


def render(results: dict) -> str:
    """The whole document, ending in a newline."""
    rows, methods = rows_of(results), compared(results)
    parts = [
        "# int8gate report",
        _verdict_line(rows, results),
        "## Cases",
        *(
            _model(list(group), methods.get(name, NOT_COMPARED))
            for name, group in groupby(rows, key=lambda row: row.model)
        ),
    ]
    if not rows:
        parts.append("No case ran.")
    if regressions := results.get("regressions"):
        told = [escape(f"{each['case']}: {each['message']}") for each in regressions]
        parts += ["## Regressions", _bullets(told)]
    if merged := conversions(rows):
        parts += ["## Conversion", _conversion_table(merged)]
    for title, sections in (
        ("What did not pass", [row for row in rows if not row.holds]),
        ("Remarks", [row for row in rows if row.holds and not row.is_plain_pass]),
    ):
        if sections:
            parts += [f"## {title}", *(_section(row) for row in sections)]
    environment = [list(pair) for pair in environment_pairs(results)]
    parts += ["## Environment", _table(["what", "value"], environment)]
    legend = [f"**{term}**: {meaning}" for term, meaning in LEGEND]
    legend += [escape(setup) for setup in setups(results)]
    parts += ["## Legend", _bullets(legend)]
    return "\n\n".join(parts) + "\n"


def escape(value: str) -> str:
    """Text of others on one line, without effect as Markdown or HTML."""
    one_line = printable(" ".join(value.split()))
    return re.sub(r"([\\`*\[\]|])", r"\\\1", one_line.replace("&", "&amp;").replace("<", "&lt;"))


def _verdict_line(rows: list[CaseRow], results: dict) -> str:
    answer = headline(rows, results)
    said = f"{answer.question} {answer.answer}".strip()
    return f"**{escape(said)}** {escape(answer.detail)}".strip()


def _model(rows: list[CaseRow], methods: Compared) -> str:
    """What each recipe costs the model: a line for each of its cases; which one to take."""
    targets = sorted({(figure.target, figure.kind) for row in rows for figure in row.npu})
    further = list(dict.fromkeys(name for row in rows for name in row.also))
    baselines = dict.fromkeys(str(row.baseline) for row in rows if row.baseline)
    sides = dict.fromkeys(row.baseline.side for row in rows if row.baseline)
    header = [*CASE_HEADER, f"CPU, {_cpu_kinds(rows)}"]
    header += [f"{target}, {kind}" for target, kind in targets]
    header += [f"{' or '.join(sides)} {' or '.join(baselines)}"] if baselines else []
    header += [f"{name} (not gated)" for name in further]
    body = [
        _case_cells(row, targets)
        + ([row.baseline.gain if row.baseline else DASH] if baselines else [])
        + [row.also.get(name, DASH) for name in further]
        for row in rows
    ]
    parts = [f"### {escape(rows[0].model)}", escape(about(rows)), _table(header, body)]
    parts += _generation(rows)
    taken = [f"{target}: take {recipe}, {reason}" for target, recipe, reason in methods.to_take]
    if taken:
        parts.append(_bullets([escape(each) for each in taken]))
    if methods.order:
        parts.append(escape(f"By accuracy, what cannot be told apart together: {methods.order}"))
    return "\n\n".join(parts)


def _generation(rows: list[CaseRow]) -> list[str]:
    """Of a language model: what generation takes, and why it was not measured of a case."""
    parts = []
    if lines := generation.table(rows):
        table = _table(list(generation.header(rows)), [list(line) for line in lines])
        parts = [escape(generation.MEANING), table]
    if told := generation.reasons(rows):
        parts.append(_bullets([escape(f"generation of {each}") for each in told]))
    return parts


def _case_cells(row: CaseRow, targets: list[tuple[str, str]]) -> list[str]:
    figures = {(figure.target, figure.kind): figure for figure in row.npu}
    npu = [figures.get(target) for target in targets]
    return [
        row.id,
        row.verdict,
        row.float,
        row.quantized,
        row.drop,
        row.drop_upper,
        row.tolerance,
        row.input_dtype,
        row.integer,
        row.size,
        row.cpu,
        *(_npu_cell(figure) for figure in npu),
    ]


def _npu_cell(figure: NpuFigure | None) -> str:
    if figure is None or figure.latency == DASH:
        return DASH
    return f"{figure.latency} ms, {figure.speedup}"


def _cpu_kinds(rows: list[CaseRow]) -> str:
    kinds = {text((row.record.get("cpu") or {}).get("kind")) for row in rows} - {DASH}
    return " or ".join(sorted(kinds)) or DASH


def _conversion_table(merged: list[Conversion]) -> str:
    """A row for each model; a cell holds a line for each sentence."""
    header = ["model", "source", "converted", "how", "repaired", "cut", "notes", "left"]
    body = [
        [
            escape(each.model),
            escape(each.source),
            escape(f"{each.status}: {', '.join(each.failed)}" if each.failed else each.status),
            _lines(each.how),
            _lines(each.repairs),
            _lines(each.cut + each.nodes),
            _lines(each.notes),
            _lines(each.why_not + each.left),
        ]
        for each in merged
    ]
    return _rows([header, ["---"] * len(header), *body])


def _lines(told: tuple[Told, ...]) -> str:
    return "<br>".join(escape(str(each)) for each in told) or DASH


def _table(header: list[str], body: list[list[str]]) -> str:
    escaped = [[escape(cell) for cell in line] for line in [header, *body]]
    return _rows([escaped[0], ["---"] * len(header), *escaped[1:]])


def _rows(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _section(row: CaseRow) -> str:
    parts = [f"### {escape(row.id)}: {escape(row.verdict)}"]
    if row.reason:
        parts.append(escape(row.reason))
    silent = [gate for gate in row.open_gates if gate not in row.messages]
    bullets = [f"{gate}: {row.gates[gate]}" for gate in silent] + list(row.notes)
    if bullets:
        parts.append(_bullets([escape(bullet) for bullet in bullets]))
    for gate, message in row.messages.items():
        parts.append(f"{escape(gate)}: {escape(text(row.gates.get(gate)))}\n\n{_fenced(message)}")
    return "\n\n".join(parts)


def _fenced(message: str) -> str:
    """A block that no run of backticks inside can close."""
    message = "\n".join(printable(line) for line in message.splitlines())
    longest = max((len(run) for run in re.findall(r"`+", message)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{message}\n{fence}"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
