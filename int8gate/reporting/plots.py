"""What each recipe costs in accuracy, against size and latency: one small picture each, inline SVG.

The vertical axis is the change of the gated metric from the float model, so that recipes which were
scored on fewer samples share it. It shows float and a few tolerances around it; a recipe that lost
more stands at the lower edge with an arrow and its figure. Measured and modelled latencies never
share a picture. No name from a record is drawn: the pictures hold numbers and our own words, and
the HTML around them has names and legend. Lines and texts take the page's colours (`var(--ink)`),
so that they follow light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from int8gate.analysis.pareto import pareto_front
from int8gate.reporting.fields import DASH, dig, higher_is_better
from int8gate.reporting.fields import metric as as_metric
from int8gate.reporting.rows import CaseRow, metric_in_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Reading = Callable[[CaseRow], float | None]

COLOURS = ("#0072b2", "#e07b00", "#009e73", "#c0569b", "#56a8dd", "#cc3d2e", "#8c8c00")
MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("p", "⬟"))
REFERENCE = ("P", "✚")  # the float model
THEMED = {
    "#010101": "var(--ink)",
    "#020202": "var(--line)",
    "#030303": "var(--card)",
    "#040404": "var(--bad)",
    "#050505": "var(--soft)",
}
INK, LINE, CARD, LIMIT, SOFT = THEMED
MS = "ms per inference"
TOLERANCES_SHOWN = 1.4  # below float; recipes that lost a little more stretch it to the second
TOLERANCES_STRETCHED = 4.0


@dataclass(frozen=True)
class Mark:
    """How a recipe looks in every picture: colour, matplotlib's marker, the same as a character."""

    colour: str
    marker: str
    glyph: str


@dataclass(frozen=True)
class Picture:
    """A plot with its words; `svg` is empty where no case had both figures.

    `name` says in words what the picture shows, for those who cannot see it. `fewer` names the
    recipes that were scored on fewer samples than the others.
    """

    title: str
    about: str
    name: str
    svg: str
    left_out: tuple[str, ...]
    fewer: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """A recipe in a picture: `x` in the axis's unit, `change` from float in the metric's unit
    (negative: worse), `low` and `high` the ends of its interval, None where not known.
    """

    row: CaseRow
    x: float
    change: float
    low: float | None
    high: float | None

    @property
    def is_passed(self) -> bool:
        return self.row.holds


@dataclass(frozen=True)
class Axis:
    """What a picture has on its horizontal axis: of a recipe, and of the float model beside it."""

    title: str
    about: str
    unit: str
    of_recipe: Reading
    of_float: Reading


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
    fewer = _fewer(rows)
    return [_picture(axis, rows, looks, fewer) for axis in _axes(rows)]


def _axes(rows: list[CaseRow]) -> list[Axis]:
    metrics = _either({metric_in_unit(row.record) for row in rows})
    kinds = _either({dig(row.record, "cpu", "kind") for row in rows})
    hosts = _either({dig(row.record, "cpu", "host") for row in rows})
    about = f"Change of {metrics} from float"
    axes = [
        Axis(
            "Accuracy against size",
            f"{about}; size of the model file",
            "MiB",
            _mebibytes("quantized"),
            _mebibytes("float"),
        ),
        Axis(
            "Accuracy against CPU latency",
            f"{about}; {kinds} on {hosts}",
            MS,
            _cpu_ms("quantized_ms"),
            _cpu_ms("float_ms"),
        ),
    ]
    for target, kind in sorted({(npu.target, npu.kind) for row in rows for npu in row.npu}):
        words = f"{about}; {kind} for {target}"
        latency = _npu_ms(target, kind)
        axes.append(Axis("Accuracy against NPU latency", words, MS, latency, lambda row: None))
    return axes


def _fewer(rows: list[CaseRow]) -> tuple[str, ...]:
    samples = {row.recipe: dig(row.record, "accuracy", "samples") or 0 for row in rows}
    most = max(samples.values(), default=0)
    return tuple(f"{recipe} on {count}" for recipe, count in samples.items() if 0 < count < most)


def _either(values: set[str | None]) -> str:
    return " or ".join(sorted(values - {None})) or DASH


def _mebibytes(which: str) -> Reading:
    def size(row: CaseRow) -> float | None:
        count = dig(row.record, "size_bytes", which)
        return None if count is None else count / 2**20

    return size


def _cpu_ms(which: str) -> Reading:
    return lambda row: dig(row.record, "cpu", which)


def _npu_ms(target: str, kind: str) -> Reading:
    def latency(row: CaseRow) -> float | None:
        entries = zip(row.npu, row.record.get("npu") or [], strict=True)
        found = [e for shown, e in entries if (shown.target, shown.kind) == (target, kind)]
        return found[0].get("latency_ms") if found else None

    return latency


def _picture(
    axis: Axis, rows: list[CaseRow], looks: dict[str, Mark], fewer: tuple[str, ...]
) -> Picture:
    points = [point for row in rows if (point := _point(row, axis))]
    reference = _middle(axis.of_float(row) for row in rows)
    drawn = {point.row.recipe for point in points}
    left_out = tuple(
        row.recipe
        for row in rows
        if row.recipe not in drawn and not (is_reference(row) and reference is not None)
    )
    svg = _draw(axis, points, reference, looks) if points else ""
    return Picture(axis.title, axis.about, _in_words(axis, points), svg, left_out, fewer)


def _point(row: CaseRow, axis: Axis) -> Point | None:
    x, drop = axis.of_recipe(row), dig(row.record, "accuracy", "drop")
    if x is None or drop is None or is_reference(row):
        return None
    upper, lower = (dig(row.record, "accuracy", f"drop_{end}_95") for end in ("upper", "lower"))
    return Point(row, x, -drop, _negative(upper), _negative(lower))


def _baseline(record: dict) -> float | None:
    """Chance, or whatever the model must beat, as a change from float."""
    score, reference = (
        dig(record, "accuracy", *path) for path in (("baseline", "score"), ("float",))
    )
    if score is None or reference is None:
        return None
    higher = higher_is_better(record.get("accuracy"))
    return score - reference if higher else reference - score


def is_reference(row: CaseRow) -> bool:
    """The float recipe, which no size and no latency is compared with."""
    return row.recipe.endswith("_fp32")


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _in_words(axis: Axis, points: list[Point]) -> str:
    """Each recipe with its two figures."""
    told = [f"{p.row.recipe} {p.x:.3g} {axis.unit}, {_figure(p.row, p.change)}" for p in points]
    return f"{axis.title}. {axis.about}. {'; '.join(told) or 'No figures'}."


def _figure(row: CaseRow, change: float) -> str:
    return f"{'+' if change > 0 else ''}{as_metric(change, dig(row.record, 'accuracy', 'unit'))}"


def view(changes: list[float], intervals: list[float], tolerance: float) -> tuple[float, float]:
    """The lowest and highest change shown: float, its tolerance, and what lies near them."""
    floor = -TOLERANCES_SHOWN * tolerance
    near = [each for each in [*changes, *intervals] if each >= -TOLERANCES_STRETCHED * tolerance]
    low, high = min([floor, *near]), max([0.25 * tolerance, *near])
    margin = 0.08 * (high - low)
    return low - margin, high + margin


def _draw(axis: Axis, points: list[Point], reference: float | None, looks: dict[str, Mark]) -> str:
    """Filled marks passed, hollow ones did not; the dashed line is the tolerance."""
    import matplotlib
    from matplotlib.figure import Figure

    tolerances = [dig(point.row.record, "accuracy", "tolerance") or 0.0 for point in points]
    tolerance = max(tolerances) or max([abs(point.change) for point in points]) or 1e-3
    intervals = [end for point in points for end in (point.low, point.high) if end is not None]
    low, high = view([point.change for point in points], intervals, tolerance)
    salt = f"{axis.unit} {[(point.row.id, point.x, point.change) for point in points]}"
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.8, 2.6))
        axes = figure.add_axes((0.2, 0.18, 0.76, 0.78))
        style(axes)
        axes.set_ylim(low, high)
        axes.axhline(0, color=INK, linewidth=0.9)
        for limit in sorted(set(tolerances) - {0.0}):
            axes.axhline(-limit, color=LIMIT, linewidth=1.1, linestyle=(0, (4, 3)))
        for baseline in sorted({_baseline(point.row.record) for point in points} - {None}):
            if low < baseline < high:
                axes.axhline(baseline, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        reached = [(point.x, point.change) for point in points if point.is_passed]
        if reference is not None:
            reached.append((reference, 0.0))
            shape = {"marker": REFERENCE[0], "markersize": 9, "markeredgewidth": 0}
            axes.plot(reference, 0.0, color=INK, clip_on=False, **shape)
        front = [place for place in pareto_front(reached) if place[1] >= low]
        if len(front) > 1:
            xs, ys = zip(*front, strict=True)
            axes.plot(xs, ys, color=SOFT, linewidth=1, drawstyle="steps-post", zorder=1)
        for point in points:
            _mark(axes, point, looks[point.row.recipe], low)
        _scale(axes, [p.x for p in points] + [reference] * (reference is not None), axis.unit)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return inline(stream.getvalue())


def _mark(axes: Axes, point: Point, look: Mark, low: float) -> None:
    face = look.colour if point.is_passed else CARD
    shape = {"marker": look.marker, "markersize": 8, "markeredgewidth": 1.8, "clip_on": False}
    if point.change < low:  # an arrow down at the edge, with the figure
        figure = _figure(point.row, point.change)
        place = {"xytext": (0, 17), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        arrow = {"arrowstyle": "->", "color": look.colour}
        axes.annotate(figure, (point.x, low), color=INK, arrowprops=arrow, fontsize=8, **place)
        axes.plot(point.x, low, color=look.colour, markerfacecolor=face, **shape)
        return
    if point.low is not None:
        ends = (max(point.low, low), point.change if point.high is None else point.high)
        axes.plot((point.x, point.x), ends, color=look.colour, linewidth=1.4)
    axes.plot(point.x, point.change, color=look.colour, markerfacecolor=face, **shape)


def style(axes: Axes) -> None:
    """A grid, two axes, and the page's colours."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=INK)
    axes.grid(color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.locator_params(nbins=4)
    axes.ticklabel_format(useOffset=False)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.2g}" if value else "0")


def _scale(axes: Axes, values: list[float], unit: str) -> None:
    """From zero, or logarithmic where the largest is over 20 times the smallest."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 1.5, max(values) * 1.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        unit = f"{unit}, logarithmic"
    else:
        axes.set_xlim(0, max(values) * 1.1 or 1)
        axes.xaxis.set_major_formatter("{x:.3g}")
    axes.set_xlabel(unit, color=INK)


def inline(svg: str) -> str:
    """The bare <svg> element: no prolog, metadata, fixed size, namespace or repeated ids.

    The HTML around it names the picture.
    """
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    tag, rest = svg.split(">", 1)
    (view_box,) = re.findall(r'viewBox="[^"]*"', tag)
    rest = re.sub(r' id="[\w.]+_\d+"', "", rest).replace("xlink:href", "href")
    for colour, variable in THEMED.items():
        rest = rest.replace(colour, variable)
    return f'<svg {view_box} aria-hidden="true">{rest.strip()}'
