"""Gates of what a model finds: against the float model, and against its labels."""

from __future__ import annotations

from validation.gates.result import UNKNOWN_CAUSE, GateResult, failed
from validation.metrics import Metric
from validation.rerun import REPORT, other_recipe, rerun
from validation.statistics import NonInferiority


def accuracy_gate(
    result: NonInferiority,
    rule: str,
    metric: Metric,
    quantized: float,
    chance: float,
    case_id: str,
    cause: str | None = None,
) -> GateResult:
    """Non-inferiority of the quantized model against the float one, and better than the baseline.

    `cause` is the known one of a failure, where there is one.
    """
    if result.verdict == "invalid":
        return GateResult("invalid", result.reason)
    is_worthless = metric.drop(quantized, chance) <= 0
    if is_worthless and result.verdict != "failed":
        return failed(
            f"{metric.name} of {quantized:.4g}, {metric.baseline} reaches {chance:.4g} on the same "
            f"{result.samples} samples",
            f"better than {metric.baseline}, whatever the drop from float",
            cause or "the quantized outputs carry less than the input does without a network",
            rerun(other_recipe(case_id), "accuracy", REPORT, "what each recipe costs"),
        )
    if result.verdict == "passed":
        return GateResult("passed")
    measured = (
        f"{metric.name} drops by {result.drop:.4f}, at most {result.drop_upper_95:.4f} at 95% "
        f"confidence, on {result.samples} samples of {result.sources} sources"
        f"{f' ({metric.baseline} alone reaches {chance:.4g})' * is_worthless}"
    )
    allowed = f"a drop of {result.tolerance:.4f} ({rule})"
    if result.verdict == "inconclusive":
        return GateResult(
            "inconclusive",
            f"measured: {measured}\nallowed: {allowed}\n"
            f"the drop itself is within the tolerance, its uncertainty is not: {result.reason}",
        )
    return failed(
        measured,
        allowed,
        cause or UNKNOWN_CAUSE,
        rerun(
            case_id,
            "accuracy",
            REPORT,
            "if int16 activations hold, the activations are the cause",
            beside=other_recipe(case_id, "tflite_int16x8"),
        ),
    )


def reference_gate(score: float, least: float | None, metric: Metric) -> GateResult | None:
    """`invalid` of a float model that scores less than its expectations say that it does."""
    if least is None or metric.drop(least, score) <= 0:
        return None
    return GateResult(
        "invalid",
        f"the float model reaches a {metric.name} of {score:.4f}, expected at least {least:.4f} "
        "(least_metric): it is fed otherwise than it was trained (colours, mean, std, range), its "
        "labels are numbered otherwise, or it is another file",
    )


def labels_gate(
    result: NonInferiority, score: float, least: float | None, metric: Metric, case_id: str
) -> GateResult:
    """A quantized model without a float twin, by the labels alone.

    `result` is of the model against itself: whether it is better than the baseline. `least` is the
    metric that its expectations ask for.
    """
    if result.verdict == "invalid":
        reason = result.reason.replace("the float", "its")
        return GateResult("failed", f"no float twin to compare with, and {reason}")
    if least is not None and metric.drop(least, score) > 0:
        return failed(
            f"{metric.name} of {score:.4f}, no float twin to compare with",
            f"at least {least:.4f} (least_metric)",
            "other preprocessing or class numbers than the file was made for, or a damaged file",
            rerun(case_id, "io_dtype"),
        )
    return GateResult("passed")
