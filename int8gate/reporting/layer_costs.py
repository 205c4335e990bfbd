"""A sensitivity analysis as a table in plain text, Markdown, and an HTML page with its bars.

The advice for a layer looks at what was measured and nothing else: `keep float` where the metric's
interval shows a gain, `try float` where the output's SQNR rises by `RISES_DB` or more, though the
samples show no gain of the metric. `noise` is the layer's part of the summed noise of all layers
alone, of those that were measured.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from int8gate.analysis.sensitivity import Interval, LayerRow, Sensitivity
from int8gate.quantizers.layer import Layer
from int8gate.reporting.fields import DASH, metric, percent, printable

RISES_DB = 3.0  # of the whole network's SQNR: half of its noise is gone
COLUMNS = (
    "layer",
    "operators",
    "SQNR alone",
    "drop alone",
    "SQNR kept float",
    "gain kept float",
    "status",
    "noise",
    "MACs",
    "advice",
)
KEEP, TRY, LEAVE = "keep float", "try float", "int8"
BARS = 40  # layers in the picture, the worst
NAME_WIDTH = 48  # characters


@dataclass(frozen=True)
class Line:
    """A layer as texts, by `COLUMNS`."""

    row: LayerRow
    cells: tuple[str, ...]
    advice: str


def lines(found: Sensitivity) -> list[Line]:
    """Those of the layers that were measured, worst first."""
    names = short_names([row.layer for row in found.rows])
    noise = [_noise(row) for row in found.rows]
    total = sum(noise)
    return [
        _line(found, row, names[row.layer.name], each / total if total else None)
        for row, each in zip(found.rows, noise, strict=True)
    ]


def short_names(layers: Sequence[Layer]) -> dict[str, str]:
    """For each layer the first of the names joined by ``;`` that no other layer has: rules take it
    as well as the whole.
    """
    times: dict[str, int] = {}
    for layer in layers:
        for part in {part for name in layer.operators for part in name.split(";")}:
            times[part] = times.get(part, 0) + 1
    return {
        layer.name: next((p for p in layer.name.split(";") if times[p] == 1), layer.name)
        for layer in layers
    }


def heading(found: Sensitivity) -> list[str]:
    """What was measured, in sentences."""
    told = [
        f"{found.model} with {found.recipe}: {len(found.rows)} layers on "
        f"{found.samples} evaluation samples, SQNR at the worst output"
    ]
    if found.sqnr_all_db is not None:
        told.append(f"everything quantized: SQNR {found.sqnr_all_db:.1f} dB")
    if found.metric and found.drop_all is not None:
        interval = _interval(found.drop_all_interval)
        told[-1] += (
            f"; {found.metric} {metric(found.score_float, found.unit)} in float, drop "
            f"{_signed(found.drop_all)} {interval}"
        )
    if found.why_no_metric and found.why_no_metric != "not asked for":
        told.append(f"no metric: {found.why_no_metric}")
    early = [row for row in found.rows if row.samples < found.samples]
    if early:
        told.append(f"{len(early)} layers were measured on {early[0].samples} samples only")
    if found.unmeasured:
        told.append(f"not measured within the budget: {len(found.unmeasured)} layers")
    told += [f"not measured: {printable(name)}: {why}" for name, why in found.failed.items()]
    return told


def as_text(found: Sensitivity) -> str:
    """Heading and table, aligned, for a terminal and for a ticket."""
    shown = [line.cells for line in lines(found)]
    shown = [(_shortened(cells[0]), _shortened(cells[1], 24), *cells[2:]) for cells in shown]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *shown, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (COLUMNS, *shown)
    ]
    return "\n".join([*heading(found), "", *table])


def as_markdown(found: Sensitivity) -> str:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(line.cells for line in lines(found))]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows]
    return "\n".join([f"{sentence}  " for sentence in heading(found)] + ["", *table, ""])


def as_html(found: Sensitivity) -> str:
    """A page of its own: sentences, bars, table."""
    title = html.escape(f"Sensitivity of {found.model} with {found.recipe}")
    style = (Path(__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{style}</style></head>\n<body><main><h1>{title}</h1>\n{fragment(found)}\n"
        "</main></body></html>\n"
    )


def fragment(found: Sensitivity) -> str:
    """The same without the page around it."""
    told = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in heading(found))
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line.cells) + "</tr>\n"
        for line in lines(found)
    )
    return (
        f'{told}\n<figure class="card"><h3>SQNR at the output with the layer alone quantized, dB: '
        f"the shorter, the worse</h3>{bars(found)}</figure>\n"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'
        "</div>"
    )


def bars(found: Sensitivity) -> str:
    """The worst layers' SQNR alone as horizontal bars; inline SVG in the page's colours."""
    shown = [line for line in lines(found)[:BARS] if line.row.sqnr_alone_db is not None]
    values = [line.row.sqnr_alone_db or 0.0 for line in shown]
    low, high = min([0.0, *values]), max([1.0, *values])
    scale, left, step = 380 / (high - low), 330, 18
    zero = left - low * scale
    parts = []
    for place, (line, value) in enumerate(zip(shown, values, strict=True)):
        y = place * step
        colour = "var(--bad)" if line.advice == KEEP else "var(--soft)"
        name = html.escape(_shortened(line.cells[0]))
        start, width = min(zero, zero + value * scale), max(abs(value) * scale, 1.0)
        parts.append(
            f'<text x="{left - 6}" y="{y + 13}" text-anchor="end" fill="var(--ink)">{name}</text>'
            f'<rect x="{start:.1f}" y="{y + 3}" width="{width:.1f}" height="12" fill="{colour}"/>'
            f'<text x="{max(zero, start + width) + 5:.1f}" y="{y + 13}" fill="var(--ink)">'
            f"{value:.1f}</text>"
        )
    height = max(step * len(shown), 1)
    told = "; ".join(
        f"{line.cells[0]} {value:.1f} dB" for line, value in zip(shown, values, strict=True)
    )
    return (
        f'<svg viewBox="0 0 780 {height}" role="img" aria-label="{html.escape(told)}" '
        f'font-size="11" style="max-width:780px">{"".join(parts)}</svg>'
    )


def _line(found: Sensitivity, row: LayerRow, name: str, noise: float | None) -> Line:
    advice, layer = _advice(found, row), row.layer
    joined = f"{layer.kind} + {len(layer.operators) - 1}" if len(layer.operators) > 1 else None
    cells = (
        name,
        joined or layer.kind,
        _decibels(row.sqnr_alone_db),
        f"{_signed(row.drop_alone)} {_interval(row.drop_alone_interval)}".strip(),
        _decibels(row.sqnr_wide_db),
        f"{_signed(row.gain_wide)} {_interval(row.gain_wide_interval)}".strip(),
        _status(found, row),
        percent(noise),
        percent(layer.share),
        advice,
    )
    return Line(row, tuple(map(printable, cells)), advice)


def _advice(found: Sensitivity, row: LayerRow) -> str:
    if row.gain_wide_interval and row.gain_wide_interval[0] > 0:
        return KEEP
    if row.sqnr_wide_db is None or found.sqnr_all_db is None:
        return DASH
    if row.sqnr_wide_db - found.sqnr_all_db < RISES_DB:
        return LEAVE
    return TRY


def _status(found: Sensitivity, row: LayerRow) -> str:
    few = f", {row.samples} samples" if row.samples < found.samples else ""
    if row.drop_alone_interval is None:
        return f"SQNR only{few}"
    low, high = row.drop_alone_interval
    return "loses" if low > 0 else "gains" if high < 0 else "no loss shown"


def _noise(row: LayerRow) -> float:
    return 0.0 if row.sqnr_alone_db is None else 10 ** (-row.sqnr_alone_db / 10)


def _decibels(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f} dB"


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+z.4f}"


def _interval(found: Interval | None) -> str:
    return "" if found is None else f"[{found[0]:+z.4f}, {found[1]:+z.4f}]"


def _shortened(name: str, width: int = NAME_WIDTH) -> str:
    """The end of a long name tells more than its beginning."""
    return name if len(name) <= width else f"…{name[1 - width :]}"
