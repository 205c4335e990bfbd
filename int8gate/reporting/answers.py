"""Which of float's answers a recipe changed (`analysis.full_accuracy`), as lines of Markdown and as
parts of a page, with pictures of the samples that flipped.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from int8gate.reporting.fields import metric, printable, with_bounds
from int8gate.reporting.markdown import escape
from int8gate.validation.picture_strip import png

if TYPE_CHECKING:
    import numpy as np

    from int8gate.analysis.full_accuracy import Flip, FullAccuracy

SHOWN = 20  # flipped samples, and classes


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    lines: list[tuple[str, ...]]


@dataclass(frozen=True)
class Picture:
    """A flipped sample, as a ``data:`` URI of a PNG, and what both models answered."""

    uri: str
    about: str


@dataclass(frozen=True)
class ChangedAnswers:
    """Of a recipe: sentences and tables, and the first flipped samples as pictures."""

    recipe: str
    parts: list[str | Table]
    pictures: list[Picture]


def changed_answers(
    told: FullAccuracy, recipe: str, picture: Callable[[int], np.ndarray] | None = None
) -> ChangedAnswers:
    """`picture` gives a sample, by its number in the evaluation set, as uint8 (h, w, 1 or 3)."""
    shown = told.flips[:SHOWN] if picture else ()
    pictures = [Picture(_uri(picture(each.sample)), _both(each)) for each in shown if picture]
    return ChangedAnswers(recipe, list(_parts(told, recipe)), pictures)


def answer_lines(told: FullAccuracy, recipe: str) -> list[str]:
    """What a recipe changed of float's answers, as lines of Markdown."""
    lines = []
    for part in _parts(told, recipe):
        if isinstance(part, Table):
            names = [list(map(escape, line)) for line in (part.header, *part.lines)]
            names.insert(1, ["---"] * len(part.header))
            lines += [f"| {' | '.join(each)} |" for each in names]
        else:
            lines.append(printable(part))
    return lines


def _parts(told: FullAccuracy, recipe: str) -> Iterator[str | Table]:
    yield _change(told, recipe)
    if told.mcnemar:
        test = told.mcnemar
        yield (
            f"Right answers: {test.lost} sources lost some, {test.gained} gained some "
            f"(McNemar's exact test: p = {test.p_value:.2g})."
        )
    if told.calibration:
        of = told.calibration
        yield (
            f"Calibration error (ECE): {of.ece_before:.4f} → {of.ece_now:.4f}. Margin to the "
            f"second answer: {of.margin_before:.4f} → {of.margin_now:.4f}, {of.margin_change:+.4f} "
            f"({of.margin_lower_95:+.4f}..{of.margin_upper_95:+.4f})."
        )
    if told.classes:
        yield from _classes(told, recipe)
    if told.flips:
        yield from _flips(told, recipe)
    for each in told.left_out:
        yield f"Left out: {each}."


def _change(told: FullAccuracy, recipe: str) -> str:
    change = told.change
    at_least = ", which may be chance"
    if change.at_least is not None and not change.may_be_chance:
        at_least = f", at least {change.at_least:.4f} at 95%"
    moved = f"{'drops' if change.drop > 0 else 'gains'} {abs(change.drop):.4f}{at_least}"
    if not change.drop:
        moved = "is the same"
    return f"{recipe} against float, {change.how}: {told.metric} {moved}."


def _classes(told: FullAccuracy, recipe: str) -> Iterator[str | Table]:
    changed = sorted((each for each in told.classes if each.drop), key=lambda each: -each.drop)
    proved = sum(each.is_significant for each in told.classes)
    yield ""
    yield (
        f"Classes: {len(changed)} of {len(told.classes)} changed, {proved} significantly "
        "(Holm's correction for all classes)."
    )
    if changed:
        yield Table(
            ("class", "samples", "float", recipe, "drop, 95% bounds", "p", "p, corrected"),
            [
                (
                    str(each.number),
                    str(each.samples),
                    metric(each.before),
                    metric(each.now),
                    with_bounds(each.drop, (each.lower_95, each.upper_95), "fraction"),
                    f"{each.p_value:.2g}",
                    f"{each.p_corrected:.2g}{' *' if each.is_significant else ''}",
                )
                for each in changed[:SHOWN]
            ],
        )
    yield from _more(len(changed), "classes")


def _flips(told: FullAccuracy, recipe: str) -> Iterator[str | Table]:
    yield ""
    yield f"Samples with another answer: {len(told.flips)} of {told.samples}."
    yield Table(
        ("sample", "label", "float, confidence", f"{recipe}, confidence", "what"),
        [
            (
                str(each.sample),
                str(each.label),
                f"{each.before}, {each.confidence_before:.3f}",
                f"{each.now}, {each.confidence_now:.3f}",
                each.what,
            )
            for each in told.flips[:SHOWN]
        ],
    )
    yield from _more(len(told.flips), "samples")


def _more(count: int, what: str) -> Iterator[str]:
    if count > SHOWN:
        yield f"and {count - SHOWN} more {what}"


def _both(flip: Flip) -> str:
    return (
        f"sample {flip.sample}, label {flip.label}: {flip.before} ({flip.confidence_before:.2f}) → "
        f"{flip.now} ({flip.confidence_now:.2f}), {flip.what}"
    )


def _uri(picture: np.ndarray) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"
