"""Gates of what a model finds: against the float model, and against its labels."""

from __future__ import annotations

import math
from collections.abc import Mapping

from int8gate.validation.expectations import Expectations
from int8gate.validation.gates.result import UNKNOWN_CAUSE, GateResult, failed
from int8gate.validation.metrics.registry import Metric
from int8gate.validation.noninferiority import NonInferiority
from int8gate.validation.rerun import REPORT, other_recipe, rerun

UNSEEN = -math.log(0.05)  # the rule of three: n samples without a loss leave room for 3/n
RANKING = ("invalid", "failed", "inconclusive", "passed")  # of what `accuracy_gate` gives
OUT_OF_REACH = 2  # times the samples at hand: more are another data set


def accuracy_gate(
    result: NonInferiority,
    rule: str,
    metric: Metric,
    scores: tuple[float, float, float],
    case_id: str,
    cause: str | None = None,
    where: str | None = None,
) -> GateResult:
    """Non-inferiority of the quantized model against the float one, and better than the baseline.

    `scores` are those of the float model, the quantized one and the baseline. `cause` is the known
    one of a failure, where there is one. `where` names the table of a user's own model.
    """
    quantized, chance = scores[1:]
    if result.verdict == "invalid":
        cure = "" if result.is_worthless else _wider_tolerance(result, rule, metric, scores, where)
        return GateResult("invalid", f"{result.reason}{cure}")
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
        return GateResult("passed", is_narrow=result.is_narrow)
    at_least = "" if result.drop_lower_95 is None else f"at least {result.drop_lower_95:.4f} and "
    measured = (
        f"{metric.name} {metric.worsens} by {result.drop:.4f}, {at_least}at most "
        f"{result.drop_upper_95:.4f} at 95% confidence, on {result.samples} samples of "
        f"{result.sources} sources"
        f"{f' ({metric.baseline} alone reaches {chance:.4g})' * is_worthless}"
    )
    allowed = f"a drop of {result.tolerance:.4f} ({rule})"
    if result.verdict == "inconclusive":
        side = "within" if result.drop_lower_95 is None else "beyond"
        return GateResult(
            "inconclusive",
            f"measured: {measured}\nallowed: {allowed}\n"
            f"the drop is {side} the tolerance, but not by more than its uncertainty: "
            f"{result.reason}{_wider_tolerance(result, rule, metric, scores, where)}",
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


def worst_part(results: Mapping[str, GateResult]) -> GateResult:
    """Of the parts of a set that are judged each by itself the worst decides; all that did not pass
    say why.
    """
    status = min((each.status for each in results.values()), key=RANKING.index)
    told = [
        f"on {name} ({each.status}): {each.message}"
        for name, each in results.items()
        if each.status != "passed"
    ]
    is_narrow = any(each.is_narrow for each in results.values())
    return GateResult(status, "\n".join(told), is_narrow)


def too_few_samples(expected: Expectations, samples: int, where: str | None) -> GateResult | None:
    """`invalid` where one sample alone moves any score of 0 to 1 by more than the tolerance.

    Known before anything is converted: whatever the model scores, nothing can be told.
    """
    most = max(abs(expected.tolerance(score)) for score in (0.0, 1.0))
    if samples * most >= 1:
        return None
    reason = (
        f"one of {samples} samples moves the metric by {1 / samples:.4g}, the tolerance "
        f"({expected.accuracy}) is at most {most:.4g}"
    )
    cure = f": add samples, the gate takes {math.ceil(UNSEEN / most)} or more" if most else ""
    if samples > 4 * UNSEEN:
        wider = f"{1 - math.ceil(200 * UNSEEN / samples) / 100:g} * float"
        cure += f"{' or' if most else ':'} allow more, {_line(wider, where)}"
    return GateResult("invalid", reason + cure)


def _wider_tolerance(
    result: NonInferiority, rule: str, metric: Metric, scores: tuple, where: str | None
) -> str:
    """The tolerance that these samples can tell and its line, where more are out of reach."""
    needed = result.samples_needed
    if needed is not None and needed <= OUT_OF_REACH * result.samples:
        return ""
    told = rule_for(result.drop_upper_95, rule, scores[0], metric.higher_is_better)
    return (
        f"; with these {result.samples} samples a tolerance of {result.drop_upper_95:.4g} can be "
        f"told: {_line(told, where)}"
    )


def rule_for(drop: float, rule: str, reference: float, higher_is_better: bool = True) -> str:
    """A rule like `rule` that just allows a drop, for a float model that scores `reference`.

    A share of the float metric where `rule` is one and it can be, an amount otherwise.
    """
    sign = -1 if higher_is_better else 1
    share = (math.floor(drop / reference * 1000 + 1e-6) + 1) / 1000 if reference > 0 else 1.0
    if "*" in rule and share < 1:
        return f"{1 + sign * share:.4g} * float"
    step = 10.0 ** (math.floor(math.log10(max(drop, 1e-12))) - 1)
    amount = (math.floor(drop / step + 1e-6) + 1) * step  # beyond the drop, not at it
    return f"float {'-' if higher_is_better else '+'} {amount:.6g}"


def _line(rule: str, where: str | None) -> str:
    """The line of a TOML that sets a rule."""
    if where:
        return f'expect = {{ accuracy = "{rule}" }} in {where}'
    return f'accuracy = "{rule}" in the case\'s entry of int8gate/validation/expectations.toml'


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
