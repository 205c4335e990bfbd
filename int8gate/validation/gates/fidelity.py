"""Gates of how close each output stays to the float model's: see `validation/fidelity.py`."""

from __future__ import annotations

from int8gate.tasks import registry as tasks
from int8gate.validation.expectations import Expectations
from int8gate.validation.fidelity import STEPS
from int8gate.validation.gates.result import UNKNOWN_CAUSE, GateResult, failed
from int8gate.validation.rerun import REPORT, other_recipe, rerun

EXPORT_SQNR_DB = 60.0  # float32 in another order of summation stays above 90
EXPORT_EQUAL = 0.999  # of whole numbers: a tie may fall the other way
# With labels: a constant, values in another order, or half the range added to them (a zero point
# left out) have 0 dB at most, and say nothing of the float values.
FLOOR_SQNR_DB = 1.0
LEAST_EQUAL = 0.97
LEAST_RANKED = 0.5  # of a ranking behind the first
MOST_OFF = 0.02  # of an output's span: five of its steps
COARSE = 16  # steps: what varies by fewer has an SQNR below 25 dB by the rounding alone
NAMED = 4  # problems in a message; the record has them all


def fidelity_gate(
    rows: list[dict],
    agreement: float | None,
    expected: Expectations,
    task: str,
    case_id: str,
    activations: str = "int8",
) -> GateResult:
    """Each output and channel stays close to the float one, and the answers are the same.

    For models without labels: it bounds what quantization changes, not how good the model is. Boxes
    and keypoints that are where float has them leave the floor to the outputs: a size that never
    changes, and whatever is given where nothing is, may be noise. `rows` are those of
    `OutputFidelity.row`, `activations` the recipe's.
    """
    least, alone = expected.least_sqnr_db, expected.least_channel_sqnr_db
    judged = tasks.task(task)
    least_agreement = expected.least_agreement or judged.least_agreement or LEAST_EQUAL
    if judged.answers_are_places and agreement is not None and agreement >= least_agreement:
        least = alone = min(least, FLOOR_SQNR_DB)
    limits = f"an SQNR of {least:g} dB or more for each output, {alone:g} dB for each channel"
    if agreement is None and not any(_is_measurable(row) for row in rows):
        problems = ["no signal in the float outputs: none of them varies"]
    else:
        problems = _problems(rows, least, alone, least_agreement)
    if agreement is not None and agreement < least_agreement:
        problems.append(f"{agreement:.1%} of the answers are as in float")
    if not problems:
        return GateResult("passed")
    answers = any(row["equal"] is not None for row in rows) or agreement is not None
    return failed(
        _first(problems),
        f"{limits}{f', {least_agreement:.0%} of the answers' * answers}",
        _too_coarse(rows, least, alone, activations) or UNKNOWN_CAUSE,
        rerun(other_recipe(case_id), "accuracy", REPORT, "tensor by tensor"),
    )


def floor_gate(rows: list[dict], case_id: str) -> GateResult | None:
    """What no quantized model gives whose metric holds for a reason; None where it does not.

    With labels the metric decides. It looks at the order of some numbers, which a damaged output
    may keep, and an output that it does not read may be anything.
    """
    problems = _problems(rows, FLOOR_SQNR_DB, None, 0.0)
    if not problems:
        return None
    return failed(
        _first(problems),
        f"an SQNR of {FLOOR_SQNR_DB:g} dB or more for each output, whatever the metric says, and "
        "no channel that stands still",
        "outputs dequantized with another scale or zero point than they were quantized with, or "
        "one scale for values of very different size",
        rerun(case_id, "io_dtype"),
    )


def picture_gate(psnr: dict, least: float, case_id: str) -> GateResult | None:
    """Generated pictures stay those of the float model; None where they do.

    `psnr` is a `to_float.Distance`, of the mean over pictures in dB.
    """
    if psnr["lower_95"] >= least:
        return None
    measured = (
        f"a PSNR of {psnr['value']:.2f} dB against float's pictures, {psnr['lower_95']:.2f} to "
        f"{psnr['upper_95']:.2f} at 95% confidence, on {psnr['samples']} samples"
    )
    if psnr["upper_95"] >= least:
        return GateResult(
            "inconclusive", f"measured: {measured}\nallowed: {least:g} dB or more (least_psnr_db)"
        )
    return failed(
        measured,
        f"{least:g} dB or more (least_psnr_db)",
        "the quantized network leaves float's way from noise to picture: the report has the SQNR "
        "behind each step",
        rerun(other_recipe(case_id), "accuracy", REPORT, "what each recipe costs"),
    )


def export_gate(rows: list[dict], case_id: str) -> GateResult:
    """The float artifact computes what the network that it was converted from computes."""
    problems = _problems(rows, EXPORT_SQNR_DB, None, EXPORT_EQUAL)
    if not any(_is_measurable(row) for row in rows):
        problems = ["no signal in the outputs: none of them varies"]
    if not problems:
        return GateResult("passed")
    return failed(
        f"{_first(problems)} between the float artifact and the exported network",
        f"an SQNR of at least {EXPORT_SQNR_DB:.0f} dB for each output",
        "the conversion to float TFLite changed the network: every other recipe inherits it",
        rerun(case_id, "accuracy", "--int8-artifact-cache=none"),
    )


def _is_measurable(row: dict) -> bool:
    return row["sqnr_db"] is not None or row["equal"] is not None


def _problems(rows: list[dict], least: float, alone: float | None, least_equal: float) -> list[str]:
    """What is wrong with outputs, worst first; `alone` is the least SQNR of a single channel."""
    found: list[tuple[float, str]] = []
    for row in rows:
        where = f"output {row['name']}"
        if row["lost_count"]:
            found.append((-1e9, f"{where}{_lost(row)}"))
        if (unequal := _unequal(row, least_equal)) is not None:
            found.append((-1e6, f"{where}: {unequal}"))
        worst = row["worst_channel"]
        if row["sqnr_db"] is not None and row["sqnr_db"] < least:
            like = f", channels {row['like']}" if row["like"] else ""
            single = f" (channel {worst['channel']}: {worst['sqnr_db']:z.1f} dB)" if worst else ""
            single = single if worst and worst["of"] > 1 else ""
            found.append(
                (row["sqnr_db"], f"{where}{like}: SQNR of {row['sqnr_db']:z.1f} dB{single}")
            )
        elif alone is not None and worst and worst["sqnr_db"] < alone:
            about = f"channel {worst['channel']} of {worst['of']} (axis {worst['axis']})"
            said = f"{where}, {about}: SQNR of {worst['sqnr_db']:z.1f} dB"
            found.append((worst["sqnr_db"], said))
        if (row["constant_error"] or 0) > MOST_OFF:
            off = f"{row['constant_error']:.0%} of the output's span"
            found.append((0, f"{where}: what is constant in float is off by {off}"))
    return [text for _, text in sorted(found, key=lambda each: each[0])]


def _unequal(row: dict, least: float) -> str | None:
    """That too few whole numbers are those of the float model, in words."""
    equal, first = row["equal"], row["first_equal"]
    if equal is None:
        return None
    if first is None:
        return f"{equal:.1%} of its whole numbers are as in float" if equal < least else None
    if first >= least and equal >= min(least, LEAST_RANKED):
        return None
    return f"{first:.1%} of its first numbers are as in float, {equal:.1%} of all"


def _lost(row: dict) -> str:
    """Which channels of an output vary in float alone, in words."""
    if row["equal"] is not None:
        return ": varies in float and is constant in the artifact"
    first, count = row["lost"][0], row["lost_count"]
    low, high = first["range"]
    if first["of"] == 1:
        which = ""
    elif count == first["of"]:
        which = f", each of {count} channels (axis {first['axis']})"
    else:
        more = f" and {count - 1} more" * (count > 1)
        which = f", channel {first['channel']}{more} of {first['of']} (axis {first['axis']})"
    return f"{which}: varies in float ({low:.4g}..{high:.4g}) and is constant in the artifact"


def _too_coarse(
    rows: list[dict], least: float, alone: float | None, activations: str
) -> str | None:
    """That 8 bits over an output's whole range cannot tell a channel's values apart."""
    if activations not in ("int8", "uint8"):
        return None
    for row in rows:
        worst = (row["lost"] or [None])[0] or row["worst_channel"]
        if not worst or row["equal"] is not None:
            continue
        is_wrong = row["lost"] or row["sqnr_db"] < least
        is_wrong = is_wrong or (alone is not None and worst["sqnr_db"] < alone)
        low, high = min(row["span"][0], 0), max(row["span"][1], 0)
        step, varies = (high - low) / STEPS, worst["range"][1] - worst["range"][0]
        if is_wrong and varies < COARSE * step:
            return (
                f"8 bits over {low:.4g}..{high:.4g} have steps of {step:.3g}, and channel "
                f"{worst['channel']} of output {row['name']} varies by {varies:.3g}: give such "
                "values an output of their own (end the network before they are joined, scaled or "
                "moved) and do that on the host"
            )
    return None


def _first(problems: list[str]) -> str:
    rest = len(problems) - NAMED
    return "; ".join(problems[:NAMED]) + (f"; and {rest} more (see the report)" if rest > 0 else "")
