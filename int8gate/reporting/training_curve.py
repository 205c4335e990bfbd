"""The course of a training as a picture: the loss, and the drop of the metric beneath it, by step.

The loss is that of the training samples, and of the validation part at each look (circles). The
drop is that of the validation part with its one-sided 95% bounds; the dashed line is the tolerance.
Hollow circles are looks at a part of the samples alone, the line that goes through both axes is the
step that was kept. `training_course.py` explains the record.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from int8gate.reporting.plots import CARD, COLOURS, INK, LIMIT, SOFT, inline, style

LOSS, DROP = COLOURS[:2]


def curve(training: Mapping[str, Any] | None) -> str:
    """An inline <svg>; "" where nothing was trained, or no step was done."""
    if not training or not training["losses"]:
        return ""
    import matplotlib
    from matplotlib.figure import Figure

    looks = training["looks"]
    is_scored = any(look["drop"] is not None for look in looks)
    salt = f"{training['losses']} {looks}"
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(5.2, 3.6 if is_scored else 2.0))
        axes = figure.subplots(1 + is_scored, squeeze=False, sharex=True)[:, 0]
        figure.subplots_adjust(left=0.15, right=0.97, bottom=0.12 if is_scored else 0.22, top=0.97)
        for each in axes:
            style(each)
            each.axvline(training["best_step"], color=SOFT, linewidth=1)
        _loss(axes[0], training["losses"], looks)
        if is_scored:
            _drop(axes[1], [look for look in looks if look["drop"] is not None])
        axes[-1].set_xlabel("step", color=INK)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return inline(stream.getvalue())


def _loss(axes, losses: list, looks: list[Mapping]) -> None:
    """Logarithmic: a distillation's loss falls by orders of magnitude."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.plot(*zip(*losses, strict=True), color=LOSS, linewidth=1, alpha=0.6)
    for look in looks:
        _circle(axes, look, look["loss"], LOSS)
    values = [value for _, value in losses] + [look["loss"] for look in looks]
    if min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter("{x:.2g}")
    axes.set_ylabel("loss", color=INK)


def _drop(axes, looks: list[Mapping]) -> None:
    axes.axhline(0, color=INK, linewidth=0.9)
    for tolerance in sorted({look["tolerance"] for look in looks} - {None}):
        axes.axhline(tolerance, color=LIMIT, linewidth=1.1, linestyle=(0, (4, 3)))
    for look in looks:
        bounds = look["drop_lower_95"], look["drop_upper_95"]
        low, high = (look["drop"] if bound is None else bound for bound in bounds)
        axes.plot((look["step"], look["step"]), (low, high), color=DROP, linewidth=1.4)
        _circle(axes, look, look["drop"], DROP)
    axes.set_ylabel("drop", color=INK)


def _circle(axes, look: Mapping, height: float, colour: str) -> None:
    face = colour if look.get("is_whole", True) else CARD
    shape = {"marker": "o", "markersize": 5, "markeredgewidth": 1.2}
    axes.plot(look["step"], height, color=colour, markerfacecolor=face, **shape)
