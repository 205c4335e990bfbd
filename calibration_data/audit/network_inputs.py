"""Preprocessing of calibration that is not that of inference: scale, mean, layout, colour order.

It is told from the values that inputs take. Pixels are whole numbers, so that
``(pixel - mean) / std`` takes at most 256 values, evenly spaced by ``1 / std``: a lattice. The
spacing tells the scale exactly, the values' place modulo the spacing tells the fraction of the
mean, whatever the pictures show. Inputs resized after scaling have no such lattice; of these only
the extent is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from int8gate.calibration_data.audit.colours import swapped_by_colours, swapped_by_pictures
from int8gate.calibration_data.audit.findings import (
    AuditSet,
    Finding,
    finite_ends,
    layout_of,
    spread,
)

# The values that inputs take.
SAMPLES_READ = 48  # that are looked at
VALUES = 400_000  # of a channel
BYTE_VALUES = 256
ASTRAY = 0.02  # in spacings: values further off a lattice point are on no lattice
TAIL = 0.001  # share of values at either end that may be odd
FEWEST_LEVELS = 8  # a lattice with fewer values may have been seen in part
CONVENTIONS = {
    "0..255": (0, 255),
    "0..1": (0, 1),
    "-1..1": (-1, 1),
    "-128..127": (-128, 127),
    "ImageNet's mean and standard deviation": (-2.118, 2.64),
    "ImageNet's mean subtracted": (-123.7, 151.1),
}

# Whether they are those of the declaration, and of evaluation.
MARGIN = 0.01  # of the declared range
SAME_SPACING = 0.005  # relative
SAME_PHASE = 0.06  # of a spacing
LEVELS = 255  # spacings that pixels span
WIDER = 1.7  # times the span: without a lattice, spans that differ less may be the pictures'
SHIFTED = 0.35  # of the span, the same for the middle
SMOOTHER = 0.95  # times the roughness: right layouts are 1.2 times rougher read wrongly, or more
SAMPLES = 32
CURE = "preprocess calibration samples with the very code that inference runs"


@dataclass(frozen=True)
class Values:
    """Of one channel: its extent, exact and without `TAIL`; and its lattice, None without one."""

    low: float
    high: float
    tail_low: float
    tail_high: float
    spacing: float | None
    phase: float  # of the lattice's points, in spacings, 0..1

    @property
    def span(self) -> float:
        return self.tail_high - self.tail_low


def values_of(inputs: np.ndarray, axis: int | None) -> list[Values]:
    """Of each channel along `axis` (of all values together for None); NaN and infinity left out."""
    chosen = inputs[spread(len(inputs), SAMPLES_READ)]
    channels = [chosen] if axis is None else np.moveaxis(chosen, axis, 0)
    return [_values(channel) for channel in channels]


def _values(channel: np.ndarray) -> Values:
    flat = channel.reshape(-1)
    flat = flat[:: max(1, flat.size // VALUES)].astype(np.float64)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return Values(0.0, 0.0, 0.0, 0.0, None, 0.0)
    tails = np.quantile(flat, (TAIL, 1 - TAIL))
    spacing, phase = _lattice(np.unique(flat))
    return Values(float(flat.min()), float(flat.max()), *map(float, tails), spacing, phase)


def _lattice(unique: np.ndarray) -> tuple[float | None, float]:
    """Spacing and phase of sorted values, or None when they are on no lattice of 256 points."""
    span = unique[-1] - unique[0]
    if not FEWEST_LEVELS <= len(unique) <= BYTE_VALUES:
        return None, 0.0
    rough = np.diff(unique).min()
    steps = round(span / rough)
    if steps >= BYTE_VALUES:
        return None, 0.0
    spacing = span / steps
    places = (unique - unique[0]) / spacing
    if np.abs(places - np.rint(places)).max() > ASTRAY:
        return None, 0.0
    return float(spacing), float((unique[0] / spacing) % 1)


def convention(low: float, high: float) -> str:
    """The extent, and the preprocessing that it looks like."""
    said = f"{low:.4g}..{high:.4g}"
    for name, (least, most) in CONVENTIONS.items():
        margin = 0.12 * (most - least)
        if abs(low - least) <= margin and abs(high - most) <= margin:
            return said if said == name else f"{said} (like {name})"
    return said


def declared_range(
    calibration: AuditSet, value_range: tuple[float, float] | None
) -> Iterator[Finding]:
    """Inputs beyond what pixels 0 and 255 become, or within a sliver of it."""
    if value_range is None or calibration.inputs is None:
        return
    low, high = value_range
    margin = MARGIN * (high - low)
    ends = np.array([finite_ends(sample) for sample in calibration.inputs], np.float64)
    least, most = ends.T
    span = f"inputs span {convention(least.min(), most.max())}"
    declared = f"the declared preprocessing gives {low:g}..{high:g}"
    beyond = np.flatnonzero((least < low - margin) | (most > high + margin))
    if len(beyond):
        names = calibration.named(beyond)
        yield Finding(
            "input_range",
            "error",
            f"{span}, {declared}: {len(beyond)} of {len(least)} samples lie beyond it, the first "
            f"is {names[0]}",
            CURE,
            names,
        )
    elif most.max() - least.min() < margin:
        yield Finding(
            "input_range",
            "error",
            f"{span} only, {declared}: constant pictures, or scaled twice",
            CURE,
            calibration.named(range(len(least))),
        )


def against_evaluation(calibration: AuditSet, evaluation: AuditSet | None) -> Iterator[Finding]:
    """What the values of both sets' inputs tell of their preprocessing."""
    if calibration.inputs is not None:
        yield from _reshaped(calibration, calibration.inputs)
    if evaluation is None:
        return
    if calibration.inputs is None or evaluation.inputs is None:
        yield from swapped_by_colours(calibration, evaluation)
        return
    shapes = calibration.inputs.shape[1:], evaluation.inputs.shape[1:]
    if shapes[0] != shapes[1]:
        yield _other_shape(*shapes)
        return
    yield from _scale_and_mean(calibration.inputs, evaluation.inputs)
    swapped = list(swapped_by_pictures(calibration, evaluation))
    yield from swapped or swapped_by_colours(calibration, evaluation)


def _other_shape(own: tuple[int, ...], scored: tuple[int, ...]) -> Finding:
    layouts = layout_of((1, *own)), layout_of((1, *scored))
    if None not in layouts and layouts[0] != layouts[1]:
        return Finding(
            "wrong_layout",
            "error",
            f"calibration inputs are {layouts[0]} {own}, evaluation's are {layouts[1]} {scored}",
            f"transpose the calibration samples to {layouts[1]}; {CURE}",
        )
    return Finding(
        "input_shape",
        "error",
        f"calibration inputs have shape {own}, evaluation's {scored}",
        f"resize the calibration samples as inference does; {CURE}",
    )


def _reshaped(calibration: AuditSet, inputs: np.ndarray) -> Iterator[Finding]:
    """Pictures whose axes were renamed with reshape, not moved with transpose."""
    layout = layout_of(inputs.shape)
    if layout is None or 3 not in inputs.shape[1:]:
        return
    inputs = np.asarray(inputs[spread(len(inputs), SAMPLES)], np.float32)
    count, *shape = inputs.shape
    if layout == "NHWC":
        height, width, channels = shape
        declared, other = inputs, inputs.reshape(count, channels, height, width)
        axes, truth = (1, 2), "NCHW"
    else:
        channels, height, width = shape
        declared, other = inputs, inputs.reshape(count, height, width, channels)
        axes, truth = (2, 1), "NHWC"
    own, reshaped = _roughness(declared, axes[0]), _roughness(other, axes[1])
    if reshaped < SMOOTHER * own:
        yield Finding(
            "wrong_layout",
            "error",
            f"calibration inputs of shape {tuple(shape)} hold {truth} values: neighbouring rows "
            f"differ by {own:.2f} standard deviations, read as {truth} by {reshaped:.2f}",
            f"move the channels with transpose, not with reshape; {CURE}",
            calibration.named(range(count)),
        )


def _roughness(inputs: np.ndarray, rows: int) -> float:
    """Mean difference of neighbouring rows, in standard deviations."""
    steps = np.abs(np.diff(inputs, axis=rows))
    return float(np.nanmean(steps) / max(np.nanstd(inputs), 1e-12))


def _scale_and_mean(own: np.ndarray, scored: np.ndarray) -> Iterator[Finding]:
    layout = layout_of(own.shape)
    axis = {"NHWC": 3, "NCHW": 1, None: None}[layout]
    pairs = list(zip(values_of(own, axis), values_of(scored, axis), strict=True))
    for kind, differs in (("input_scale", _scale_differs), ("input_mean", _mean_differs)):
        rows = [channel for channel, pair in enumerate(pairs) if differs(*pair)]
        if not rows:
            continue
        mine, theirs = pairs[rows[0]]
        where = "" if axis is None else f" of channel {rows[0]}"
        yield Finding(
            kind,
            "error",
            f"calibration inputs{where} span {convention(mine.low, mine.high)}, evaluation's "
            f"{convention(theirs.low, theirs.high)}{_spacings(mine, theirs)}",
            f"another {'scale' if kind == 'input_scale' else 'mean'} than at inference: {CURE}",
        )
        return


def _spacings(mine: Values, theirs: Values) -> str:
    if not (mine.spacing and theirs.spacing):
        return ""
    return f"; one grey level is {mine.spacing:.4g} here and {theirs.spacing:.4g} there"


def _scale_differs(mine: Values, theirs: Values) -> bool:
    if mine.spacing and theirs.spacing:
        ratio = mine.spacing / theirs.spacing
        # A set that happens to use every second level only has twice the spacing.
        may_skip_levels = _is_whole(ratio) and 1 / WIDER < mine.span / theirs.span < WIDER
        return abs(ratio - 1) > SAME_SPACING and not may_skip_levels
    if min(mine.span, theirs.span) <= 0:
        return False
    return not 1 / WIDER < mine.span / theirs.span < WIDER


def _is_whole(ratio: float) -> bool:
    ratio = max(ratio, 1 / ratio)
    return abs(ratio - round(ratio)) < SAME_SPACING * ratio


def _mean_differs(mine: Values, theirs: Values) -> bool:
    if mine.spacing and theirs.spacing:
        apart = abs(mine.phase - theirs.phase)
        is_same_spacing = abs(mine.spacing / theirs.spacing - 1) <= SAME_SPACING
        if is_same_spacing and min(apart, 1 - apart) > SAME_PHASE:
            return True
        both = max(mine.high, theirs.high) - min(mine.low, theirs.low)
        return both / min(mine.spacing, theirs.spacing) > LEVELS + 1
    span = max(mine.span, theirs.span)
    shift = (mine.tail_low + mine.tail_high - theirs.tail_low - theirs.tail_high) / 2
    return span > 0 and abs(shift) > SHIFTED * span
