"""Where along the graph a quantized network leaves the float one, in a sentence with its figures.

A cause is named only where a measured figure shows it: the operator at which the signal to noise
ratio falls most, what rounding to its tensor's levels costs by itself, and what its values span.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from int8gate.validation.around_network import Scoring, network_inputs
from int8gate.validation.error_trace import MASKED, Step, trace

SAMPLES = 16
EIGHT_BITS_DB = 42.0  # what 8 bits leave of well spread values; above it no fall counts
LEAST_FALL_DB = 6.0  # a smaller one is not told as the origin: noise adds up over the graph
ROUNDING_MARGIN_DB = 3.0  # a ratio this close to that of rounding alone is explained by it
LASTING_DB = (
    10.0  # an error behind which the ratio is again so much better than the output's is over
)
SHARED = 2.5  # times the level that an operator's own values need: the scale is another tensor's
FAR = 20.0  # extremes beyond so many standard deviations are outliers
STEEP = {"LOG", "RSQRT", "SQRT", "DIV", "EXP", "POW", "SOFTMAX", "TANH"}
STEEP |= {"Log", "Sqrt", "Reciprocal", "Div", "Exp", "Pow", "Softmax", "Tanh"}
SOFTMAX = ("SOFTMAX", "Softmax")
JOINED = ("CONCATENATION", "Concat")
LEVELS = 255


def locate(float_model: Path, quantized: Path, scoring: Scoring) -> dict | None:
    """`find` on the first evaluation samples."""
    return find(float_model, quantized, network_inputs(scoring, SAMPLES))


def find(float_model: Path, quantized: Path, inputs: list[np.ndarray]) -> dict | None:
    """The record's `error_origin` of two files on real inputs (n, ...): for a worker process.

    None where the files cannot be compared operator by operator.
    """
    return origin(trace(float_model, quantized, inputs), len(inputs[0]))


def origin(steps: list[Step], samples: int) -> dict | None:
    """`sentence`, `samples`, and of the operators with the largest falls a row each."""
    if not steps:
        return None
    ranked = sorted(lasting(steps), key=fall_db, reverse=True)
    return {
        "kind": "measured",
        "samples": samples,
        "sentence": sentence(steps, ranked[0], samples),
        "operators": [asdict(step) | {"fall_db": fall_db(step)} for step in ranked[:5]],
    }


def lasting(steps: list[Step]) -> list[Step]:
    """The steps whose error reaches an output: along some way there the ratio does not recover."""
    read = {name for step in steps for name in step.inputs}
    ends = [step for step in steps if step.tensor not in read]
    recovered = min(step.sqnr_db for step in ends) + LASTING_DB
    lasts = {step.tensor for step in ends}
    for step in reversed(steps):  # in the order of the graph
        if step.tensor in lasts and step.sqnr_db <= recovered:
            lasts.update(step.inputs)
    return [step for step in steps if step.tensor in lasts]


def fall_db(step: Step) -> float:
    """How much of the ratio the operator takes, of what 8 bits can hold."""
    return min(step.before_db, EIGHT_BITS_DB) - step.sqnr_db


def sentence(steps: list[Step], worst: Step, samples: int) -> str:
    """What a gate says of the cause."""
    if fall_db(worst) < LEAST_FALL_DB:
        ratios = [step.sqnr_db for step in steps]
        shown = ", ".join(f"{ratios[int(q * (len(ratios) - 1))]:.0f}" for q in (0.25, 0.5, 0.75, 1))
        return (
            f"no single operator: the error adds up over the graph (SQNR {shown} dB at its "
            f"quarters, measured on {samples} samples)"
        )
    return (
        f"the error arises at {worst.operator} ({worst.tensor}): SQNR {worst.before_db:.0f} dB "
        f"before it, {worst.sqnr_db:.0f} dB behind it (measured on {samples} samples): "
        f"{_why(worst, _scale_from(worst, steps))}"
    )


def _scale_from(step: Step, steps: list[Step]) -> Step | None:
    """The concatenation behind an operator that gives it a scale far too wide for its values."""
    if not step.step or step.step < SHARED * (step.high - step.low) / LEVELS:
        return None
    found = {step.tensor}
    for behind in steps:
        if found & set(behind.inputs) and behind.step == step.step:
            found.add(behind.tensor)
            if behind.operator in JOINED:
                return behind
    return None


def _why(step: Step, scale_from: Step | None) -> str:
    span = f"{step.low:.3g} to {step.high:.3g}"
    if step.step is None:
        return "its output stays float, so the loss is in its 8-bit inputs or weights"
    if step.rounding_db > step.sqnr_db + ROUNDING_MARGIN_DB:
        if step.operator in SOFTMAX:
            return "it magnifies the rounding of its input, on which it depends exponentially"
        if step.operator in STEEP:
            return (
                "it magnifies the rounding of its input where its slope is steep; its own levels "
                f"would leave {step.rounding_db:.0f} dB"
            )
        return (
            f"its own levels would leave {step.rounding_db:.0f} dB, so the loss is in what it "
            "computes with: weights of too few bits, weights or constants of very unlike sizes, "
            "or an input of another scale"
        )
    if min(step.low, -step.high) < -MASKED:
        return (
            f"its values span {span}, those of a mask, so that one level is {step.step:.3g} and "
            f"the others, which spread by {step.spread:.3g}, become one: use a mask that is only "
            "as large as it must be"
        )
    if step.operator in JOINED:
        return (
            f"it puts values of unlike sizes ({span}) on one scale, whose level is {step.step:.3g}:"
            " give them outputs of their own"
        )
    if step.operator in SOFTMAX:
        return (
            f"its outputs are at most {step.high:.3g} and spread by {step.spread:.3g}, one level "
            f"is {step.step:.3g}: over so many places most round to zero"
        )
    if scale_from is not None:
        return (
            f"its values span {span}, but {scale_from.operator} ({scale_from.tensor}) puts them on "
            f"one scale with others, from {scale_from.low:.3g} to {scale_from.high:.3g}, whose "
            f"level is {step.step:.3g}"
        )
    if max(step.low, -step.high) > step.high - step.low:
        return (
            f"its values, {span}, lie far from 0, which every range holds, so that one level is "
            f"{step.step:.3g}, and they spread by {step.spread:.3g}"
        )
    far = (step.high - step.low) / step.spread if step.spread else 0.0
    stretched = f", stretched by outliers of {far:.0f} standard deviations" if far > FAR else ""
    return (
        f"its range {span}{stretched} makes one level {step.step:.3g}, its values spread by "
        f"{step.spread:.3g}"
    )
