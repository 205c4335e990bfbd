"""A change in words: what moved, how it was compared, what else differs, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

from int8gate.validation.case_summary import Accuracy, Figures
from int8gate.validation.comparing.paired import MetricChange
from int8gate.validation.rerun import REPORT, rerun

FORMATS = {"B": "{:.0f} bytes", "ms": "{:.6g} ms", "dB": "{:.2f} dB", "x": "{:.2f}x"}


def value(number: float, unit: str) -> str:
    """A figure with its unit: `0.615107 ms`, `30.97 dB`, `0.9140`."""
    return FORMATS.get(unit, "{:.4f}").format(number)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs of two environments: `ethos-u-vela 5.2.0 → 5.3.0`."""
    return [
        f"{name} {before.get(name, 'none')} → {now.get(name, 'none')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def of_figure(case: str, pair, verdict: str, remarks: str) -> str:
    """`pair` has the `name`, `before`, `now` and `unit` of a figure."""
    before, now = value(pair.before, pair.unit), value(pair.now, pair.unit)
    if verdict == "same":
        return f"{case}: {pair.name} is {now} as before"
    verb = "rose" if pair.now > pair.before else "fell"
    is_ratio = pair.before > 0 and pair.unit != "dB"
    share = f" ({pair.now / pair.before - 1:+.2%})" if is_ratio else ""
    within = ", within what differs between hosts and runs" if verdict == "drifted" else ""
    return f"{case}: {pair.name} {verb} from {before} to {now}{share}{within}{remarks}"


def of_accuracy(
    case: str, was: Accuracy, now: Accuracy, change: MetricChange, verdict: str, remarks: str
) -> str:
    after = value(now.quantized, now.unit)
    if verdict == "same":
        return f"{case}: {now.metric} is {after} as before, {change.how}"
    verb = "rose" if now.quantized > was.quantized else "fell"
    float_moved = ""
    if None not in (was.float, now.float) and was.float != now.float:
        floats = f"from {value(was.float, was.unit)} to {value(now.float, now.unit)}"
        float_moved = f" (that of the float model {floats}: its weights or the data changed)"
    return (
        f"{case}: {now.metric} {verb} from {value(was.quantized, was.unit)} to {after}"
        f"{float_moved}, {_bounds(change, now.unit)}{remarks}"
    )


def _bounds(change: MetricChange, unit: str) -> str:
    """`worse by 0.0035, by 0.0011 at least at 95% confidence, in pairs on 2000 samples`."""
    amount = f"{'worse' if change.drop > 0 else 'better'} by {value(abs(change.drop), unit)}"
    if change.at_least is None:
        return f"{amount}, {change.how}"
    if change.may_be_chance:
        return f"{amount}, which at 95% confidence may be chance, {change.how}"
    return f"{amount}, by {value(change.at_least, unit)} at least at 95% confidence, {change.how}"


def remarks(before: Figures, now: Figures) -> str:
    """What tells a change of the model from one of its surroundings."""
    told = []
    if before.artifact and before.artifact == now.artifact:
        told.append("the model file is the same, byte for byte")
    if found := differences(before.environment, now.environment):
        told.append(f"host or versions differ: {', '.join(found)}")
    elif before.environment:
        told.append("host and versions are the same")
    for target in sorted(before.npu.keys() & now.npu.keys()):
        was, is_now = before.npu[target], now.npu[target]
        setups = [(npu.system_config, npu.memory_mode) for npu in (was, is_now)]
        if setups[0] != setups[1]:
            names = [" ".join(filter(None, setup)) for setup in setups]
            told.append(f"{target} was set up as {names[0]}, now as {names[1]}")
    return "".join(f"; {each}" for each in told)


def cure(case: str, verdict: str) -> str:
    """The command to run next; empty where there is nothing to do."""
    if verdict == "better":
        return "record it with --update-baseline"
    if verdict != "worse":
        return ""
    profile, colon, case_id = case.rpartition(":")
    chosen = f"--int8-profile={profile} " if colon else ""
    command = rerun(case_id, options=f"{chosen}{REPORT}")
    return f"look at it with {command}, or accept it with --update-baseline"
