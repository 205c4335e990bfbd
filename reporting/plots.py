"""Accuracy against size and against latency, one small picture each, as inline SVG.

Measured and modelled latencies never share a picture. No name from a record is drawn: the
pictures hold numbers and our own words, and the HTML around them has names and legend.
Lines and texts take the page's colours (`var(--ink)`), so that they follow light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reporting.fields import DASH, dig
from reporting.rows import CaseRow, metric_in_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Reading = Callable[[CaseRow], float | None]
Point = tuple[CaseRow, float, float]

COLOURS = ("#0072b2", "#e07b00", "#009e73", "#c0569b", "#56a8dd", "#cc3d2e", "#8c8c00")
MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("p", "⬟"))
THEMED = {"#010101": "var(--ink)", "#020202": "var(--line)", "#030303": "var(--card)"}
INK, LINE, CARD = THEMED
MS = "ms per inference"


@dataclass(frozen=True)
class Mark:
    """How a recipe looks in every picture: colour, matplotlib's marker, the same as a character."""

    colour: str
    marker: str
    glyph: str


@dataclass(frozen=True)
class Picture:
    """A plot with its words; `svg` is empty where no case had both figures.

    `fewer` names the recipes that were scored on fewer samples than the others, so that they are
    comparable with their own dashed line only.
    """

    title: str
    about: str
    svg: str
    left_out: tuple[str, ...]
    fewer: tuple[str, ...]


def marks(rows: list[CaseRow]) -> dict[str, Mark]:
    """A mark for each recipe, the same for all models (42 before they repeat)."""
    recipes = sorted({row.recipe for row in rows})
    return {
        recipe: Mark(COLOURS[i % len(COLOURS)], *MARKERS[i % len(MARKERS)])
        for i, recipe in enumerate(recipes)
    }


def pictures(rows: list[CaseRow], looks: dict[str, Mark]) -> list[Picture]:
    """The pictures of one model's rows: size, CPU latency, latency on each NPU target.

    None for a single row: they compare recipes, and its figures stand in the table.
    """
    if len(rows) < 2:
        return []
    metrics = _either({metric_in_unit(row.record) for row in rows})
    kinds = _either({dig(row.record, "cpu", "kind") for row in rows})
    hosts = _either({dig(row.record, "cpu", "host") for row in rows})
    axes: list[tuple[str, str, str, Reading]] = [
        ("Accuracy against size", f"{metrics}; size of the model file", "MiB", _mebibytes),
        ("Accuracy against CPU latency", f"{metrics}; {kinds} on {hosts}", MS, _cpu_ms),
    ]
    for target, kind in sorted({(npu.target, npu.kind) for row in rows for npu in row.npu}):
        about = f"{metrics}; {kind} for {target}"
        axes.append(("Accuracy against NPU latency", about, MS, _npu_ms(target, kind)))
    fewer = _fewer(rows)
    return [
        Picture(title, about, *_plot(unit, rows, looks, x_of), fewer)
        for title, about, unit, x_of in axes
    ]


def _fewer(rows: list[CaseRow]) -> tuple[str, ...]:
    samples = {row.recipe: dig(row.record, "accuracy", "samples") or 0 for row in rows}
    most = max(samples.values(), default=0)
    return tuple(f"{recipe} on {count}" for recipe, count in samples.items() if 0 < count < most)


def _either(values: set[str | None]) -> str:
    return " or ".join(sorted(values - {None})) or DASH


def _mebibytes(row: CaseRow) -> float | None:
    count = dig(row.record, "size_bytes", "quantized")
    return None if count is None else count / 2**20


def _cpu_ms(row: CaseRow) -> float | None:
    return dig(row.record, "cpu", "quantized_ms")


def _npu_ms(target: str, kind: str) -> Reading:
    def latency(row: CaseRow) -> float | None:
        entries = zip(row.npu, row.record.get("npu") or [], strict=True)
        found = [e for shown, e in entries if (shown.target, shown.kind) == (target, kind)]
        return found[0].get("latency_ms") if found else None

    return latency


def _plot(
    unit: str, rows: list[CaseRow], looks: dict[str, Mark], x_of: Reading
) -> tuple[str, tuple[str, ...]]:
    """The SVG of the cases that have both figures, and the recipes of those that do not."""
    points = [(row, x_of(row), dig(row.record, "accuracy", "quantized")) for row in rows]
    drawn = [point for point in points if point[1] is not None and point[2] is not None]
    left_out = tuple(row.recipe for row, x, y in points if x is None or y is None)
    return _draw(unit, drawn, looks) if drawn else "", left_out


def _draw(unit: str, points: list[Point], looks: dict[str, Mark]) -> str:
    """Filled marks passed, hollow ones did not; dashed is the float model, dotted the baseline."""
    import matplotlib
    from matplotlib.figure import Figure

    salt = f"{unit} {[(row.id, x, y) for row, x, y in points]}"
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.8, 2.6))
        axes = figure.add_axes((0.15, 0.17, 0.82, 0.8))
        _style(axes)
        for path, dashes in ((("float",), (4, 3)), (("baseline", "score"), (1, 2))):
            found = {dig(row.record, "accuracy", *path) for row, _, _ in points} - {None}
            for level in sorted(found):
                axes.axhline(level, color=INK, linewidth=0.9, linestyle=(0, dashes))
        for row, x, y in points:
            look = looks[row.recipe]
            face = look.colour if row.verdict == "passed" else CARD
            shape = {"marker": look.marker, "markersize": 8, "markeredgewidth": 1.8}
            axes.plot(x, y, color=look.colour, markerfacecolor=face, clip_on=False, **shape)
        _scale(axes, [x for _, x, _ in points], unit)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue())


def _style(axes: Axes) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=INK)
    axes.grid(color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.locator_params(nbins=5)
    axes.ticklabel_format(useOffset=False)


def _scale(axes: Axes, values: list[float], unit: str) -> None:
    """From zero, or logarithmic where the largest is over 20 times the smallest."""
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        unit = f"{unit}, logarithmic"
    else:
        axes.set_xlim(0, max(values) * 1.1 or 1)
    axes.set_xlabel(unit, color=INK)


def _inline(svg: str) -> str:
    """The bare <svg> element: no prolog, metadata, fixed size, namespace or repeated ids."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    tag, rest = svg.split(">", 1)
    view_box = re.search(r'viewBox="[^"]*"', tag)[0]
    rest = re.sub(r' id="[\w.]+_\d+"', "", rest).replace("xlink:href", "href")
    for colour, variable in THEMED.items():
        rest = rest.replace(colour, variable)
    return f'<svg {view_box} role="img">{rest.strip()}'
