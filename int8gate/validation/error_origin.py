"""Why a quantized model scores less than the float one, as far as measured figures tell it.

`find` says where along the graph the quantized network leaves the float one, in a sentence with its
figures. A cause is named only where a measured figure shows it: the operator at which the signal to
noise ratio falls most, what rounding to its tensor's levels costs by itself, and what its values
span. Of a drop in a case's score, `known_cause` and `whose_drop` tell what is known.

`rerun` is the command that a failure names: one gate of one case, exactly. `-k tflite_int8` would
take `tflite_int8_entropy` along. The options have the long names that no other plugin has;
`int8gate/plugin/hints.py` adds those that the run was started with.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np

from int8gate.engine.worker import WorkerError
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.recipe import RECIPES
from int8gate.runtimes.tflite_graph import channel_spread
from int8gate.validation.case_run import CaseRun
from int8gate.validation.error_trace import MASKED, Step, trace
from int8gate.validation.evaluation import Scoring, network_inputs
from int8gate.validation.metrics.registry import metric

SAMPLES = 16
EIGHT_BITS_DB = 42.0  # what 8 bits leave of well spread values; above it no fall counts
LEAST_FALL_DB = 6.0  # a smaller one is not told as the origin: noise adds up over the graph
ROUNDING_MARGIN_DB = 3.0  # a ratio this close to that of rounding alone is explained by it
# An error behind which the ratio is again so much better than the output's is over.
LASTING_DB = 10.0
SHARED = 2.5  # times the level that an operator's own values need: the scale is another tensor's
FAR = 20.0  # extremes beyond so many standard deviations are outliers
STEEP = {"LOG", "RSQRT", "SQRT", "DIV", "EXP", "POW", "SOFTMAX", "TANH"}
STEEP |= {"Log", "Sqrt", "Reciprocal", "Div", "Exp", "Pow", "Softmax", "Tanh"}
SOFTMAX = ("SOFTMAX", "Softmax")
JOINED = ("CONCATENATION", "Concat")
LEVELS = 255

UNCALIBRATED = RECIPES["tflite_dynamic_int8"]  # int8 weights, ranges taken from each sample
PER_CHANNEL = RECIPES["tflite_int8"]
MISMATCH = "activation_mismatch"  # a finding of the audit

REPORT = "--int8-report=report"


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
            "computes with: 8-bit weights or constants of very unlike sizes, or an input of "
            "another scale"
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


def error_origin(run: CaseRun) -> dict | None:
    """Where along the graph the artifact leaves the float one, the record's `error_origin`; None
    where there is nothing to compare with.
    """
    if not run.plan.has_float or run.recipe.is_reference:
        return None
    spec = run.spec
    host = run.result("host")
    samples = run.pipeline.data.samples(spec, "evaluation")
    around = (run.plan.network, None, host and host.path)
    scoring = Scoring(samples, spec.preprocessing, (), *around)
    files = (run.float_built.artifact.path, run.built.artifact.path)
    try:
        return run.in_worker(locate, *files, scoring)
    except WorkerError:
        return None  # a remark is not worth the gate


def known_cause(run: CaseRun) -> str | None:
    """Of a drop: what is known to cost accuracy in this case; None where nothing is."""
    if not run.recipe.per_channel:
        return _per_tensor_cause(run)
    clipped = (each["evidence"] for each in run.audit or [] if each["kind"] == MISMATCH)
    return next(clipped, None)


def _per_tensor_cause(run: CaseRun) -> str:
    """What one scale a tensor does to the weights, from the scales of the per-channel model."""
    if run.recipe.toolchain != PER_CHANNEL.toolchain:  # of whose files alone scales are read
        return "the weights are quantized per tensor: one scale for all channels of a layer"
    per_channel = run.pipeline.artifact(run.spec, PER_CHANNEL).artifact
    spread = run.in_worker(channel_spread, per_channel.path)
    return (
        "the weights are quantized per tensor: one scale for all channels of a layer, and in "
        f"{spread.tensor} the widest channel's range is {spread.ratio:.0f} times that of the "
        f"narrowest tenth, which is left {127 / spread.ratio:.1f} of 127 levels; quantize per "
        f"channel ({PER_CHANNEL.name})"
    )


def whose_drop(run: CaseRun, drop: float, float_score: float, count: int) -> list[str]:
    """Tells how much of a drop is left with the same weights and no calibrated ranges."""
    try:
        uncalibrated = CaseRun(run.spec, UNCALIBRATED, run.pipeline).evaluation
    except (ConversionFailed, WorkerError):
        return []  # a remark is not worth the gate: that recipe's own case tells of its failure
    gated = metric(run.plan.metrics[0])
    without = gated.drop(float_score, gated.score(uncalibrated.statistics[:count]))
    advice = (
        "8 bits cost most of it, calibration does not: int16 activations, wider layers or "
        "quantization-aware training may help"
        if without > drop / 2
        else "calibrated ranges cost most of it: look at the calibration set"
    )
    share = drop / (abs(float_score) or 1)
    return [
        f"the drop is {share:.2%} of float; with the same weights and the range "
        f"of each sample ({UNCALIBRATED.name}) it is {without:.4f} instead of {drop:.4f}: {advice}"
    ]


def rerun(case: str, gate: str = "", options: str = "", remark: str = "", beside: str = "") -> str:
    """Of a case such as ``unet-tflite_int8``, or ``unet-*`` for each recipe of the model.

    `beside` is another case to compare with; the remark goes with it where its model has no such
    recipe.
    """
    cases = [f"--int8-case {shlex.quote(each)}" for each in (case, beside) if each]
    command = ["pytest", *cases, *([f"-m {gate}"] if gate else []), *options.split()]
    return " ".join(command) + (f"  ({remark})" if remark else "")


def other_recipe(case: str, recipe: str = "*") -> str:
    """Another case of the same model, or all of them."""
    return f"{case.partition('-')[0]}-{recipe}"
