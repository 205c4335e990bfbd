"""What the HTML shows of a case once its details are opened: pairs of name and text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from int8gate.reporting import calibration
from int8gate.reporting.fields import DASH, dig, percent, size, text, three_digits, with_unit
from int8gate.reporting.fields import metric as score
from int8gate.reporting.rescue import tried_in_words
from int8gate.reporting.rows import CaseRow
from int8gate.reporting.training_course import lines, sentence

OUTPUTS = 8  # of which fidelity is shown one by one; the record has them all


@dataclass(frozen=True)
class Listing:
    """A list as one line, and its entries, shown once it is opened."""

    summary: str
    entries: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.summary


Fact = tuple[str, str | Listing]


def facts(row: CaseRow) -> list[Fact]:
    """All that the record holds beyond the table, in reading order; null is a dash."""
    record = row.record
    return [
        *_accuracy(record),
        *_compared(row),
        ("Float operators", operators(dig(record, "integer_ops", "float_ops"))),
        ("Kept in float on purpose", operators(dig(record, "integer_ops", "kept_float"))),
        ("Float for want of a kernel", operators(dig(record, "integer_ops", "float_by_kernel"))),
        ("Float by the recipe's rules", operators(dig(record, "integer_ops", "float_by_recipe"))),
        *_other_widths(record),
        *_origin(record.get("error_origin")),
        *_rescue(record.get("rescue")),
        *([("Calibration", calibration.sentence(record))] if record.get("calibration") else []),
        *calibration.details(record),
        *_training(record.get("training")),
        *(fact for entry in record.get("npu") or [] for fact in _npu(entry)),
        ("Artifact", text(dig(record, "artifact", "path"))),
        ("SHA-256", text(dig(record, "artifact", "sha256"))),
        ("Seconds", _seconds(record)),
        ("Peak memory", size(record.get("peak_rss_bytes"))),
    ]


def _other_widths(record: Mapping) -> list[Fact]:
    """Operators among those of 8 bits that have others, where there are any."""
    named = {"int16_ops": "In int16 among 8 bits", "int4_ops": "With int4 weights"}
    found = {name: dig(record, "integer_ops", name) for name in named}
    return [(named[name], operators(listed)) for name, listed in found.items() if listed]


def _training(training: Mapping | None) -> list[Fact]:
    if not training:
        return []
    return [("Training", Listing(sentence(training), tuple(lines(training))))]


def operators(values: Iterable[Any] | None, remark: str = "") -> Listing:
    """Operators by kind: `12 CONV_2D, 1 SOFTMAX`; each with its name and reason once opened.

    An operator is a mapping with `op` and perhaps `name` and `reason`, or a text. `remark` goes
    behind the summary of those that there are.
    """
    if values is None:
        return Listing(DASH)
    values = [value if isinstance(value, Mapping) else {"op": value} for value in values]
    kinds = Counter(text(value.get("op")) for value in values)
    summary = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
    shown = f"{summary} ({remark})" if remark and values and remark != DASH else summary
    entries = tuple(
        ": ".join(text(value[key]) for key in ("op", "name", "reason") if value.get(key))
        for value in values
    )
    is_more = any(value.get(key) for value in values for key in ("name", "reason"))
    return Listing(shown, entries if is_more else ())


def tensors(record: dict) -> list[tuple[str, str, str, str, str, str]]:
    """Direction, name, shape, dtype, scale and zero point of each input and output."""
    return [
        (
            direction,
            text(spec.get("name")),
            "×".join(map(str, spec.get("shape") or [])) or DASH,
            text(spec.get("dtype")),
            DASH if spec.get("scale") is None else f"{spec['scale']:.6g}",
            text(spec.get("zero_point")),
        )
        for direction, key in (("in", "inputs"), ("out", "outputs"))
        for spec in dig(record, "io", key) or []
    ]


def _accuracy(record: dict) -> list[Fact]:
    samples, sources, rule = (
        text(dig(record, "accuracy", key)) for key in ("samples", "sources", "tolerance_rule")
    )
    return [
        ("Evaluated on", f"{samples} samples from {sources} independent sources"),
        ("Tolerance rule", rule),
        *_groups(record),
        *_to_float(record),
        *_fidelity(record),
    ]


def _groups(record: dict) -> list[Fact]:
    """The parts of the samples that are gated each by itself, where there are any."""
    unit = text(dig(record, "accuracy", "metric"))
    return [
        (
            f"On {name}, gated by itself",
            f"{unit} {score(part['float'])} → {score(part['quantized'])}: changes by "
            f"{score(part['drop'])}, at most {score(part['drop_upper_95'])} of "
            f"{score(part['tolerance'])} ({part['verdict']}, {part['sources']} sources)",
        )
        for name, part in (dig(record, "accuracy", "groups") or {}).items()
    ]


def _to_float(record: dict) -> list[Fact]:
    """Comparisons of the answers with float's, with their 95% intervals, where there are any."""
    return [
        (
            f"{name} to float",
            f"{score(found['value'])} ({score(found['lower_95'])} to {score(found['upper_95'])} at "
            f"95%, {found['samples']} samples)",
        )
        for name, found in (dig(record, "accuracy", "to_float") or {}).items()
    ]


def _fidelity(record: dict) -> list[Fact]:
    """That of the worst output, and where there are several, each one's."""
    sqnr = with_unit(dig(record, "fidelity", "sqnr_db"), "dB")
    cosine, agreement = (dig(record, "fidelity", name) for name in ("cosine", "agreement"))
    answers = "" if agreement is None else f", {percent(agreement)} of the answers as in float"
    whole = f"SQNR {sqnr}, cosine {DASH if cosine is None else f'{cosine:.5f}'}{answers}"
    rows = dig(record, "fidelity", "outputs") or []
    shown = [(f"Fidelity of {text(row.get('name'))}", _of_output(row)) for row in rows[:OUTPUTS]]
    return [("Fidelity", whole), *shown]


def _of_output(row: dict) -> str:
    if row.get("equal") is not None:
        return f"{percent(row['equal'])} of its whole numbers as in float"
    of_like = f" (channels {row['like']})" if row.get("like") else ""
    worst, lost = row.get("worst_channel"), row.get("lost_count")
    alone = f", channel {worst['channel']} {with_unit(worst['sqnr_db'], 'dB')}" if worst else ""
    still = f", {lost} channels constant that vary in float" if lost else ""
    return f"SQNR {with_unit(row.get('sqnr_db'), 'dB')}{of_like}{alone}{still}"


def _origin(origin: dict | None) -> list[Fact]:
    """Where along the graph the error arises, with the operators that lose most."""
    if not origin:
        return []
    rows = (
        f"{row['operator']} ({row['tensor']}): SQNR {row['before_db']:.1f} dB before, "
        f"{row['sqnr_db']:.1f} dB behind"
        for row in origin["operators"]
    )
    return [("Where the error arises", Listing(origin["sentence"], tuple(rows)))]


def _rescue(ladder: dict | None) -> list[Fact]:
    """What was tried where accuracy did not hold."""
    if not ladder:
        return []
    rows = tuple(tried_in_words(row) for row in (ladder["base"], *ladder["tried"]))
    declared = tuple(filter(None, ladder["declaration"].splitlines()))
    return [("Rescue", Listing(ladder["ending"], (*rows, *declared)))]


def _compared(row: CaseRow) -> list[Fact]:
    """The baseline and the metrics beside the gated one, where there are any."""
    facts: list[Fact] = [
        (f"{name}, not gated", f"{scores} (float → quantized)") for name, scores in row.also.items()
    ]
    if row.baseline:
        gain = f"quantized must be {row.baseline.side} it: {row.baseline.gain}"
        facts.append((f"Baseline {row.baseline.name}", f"{row.baseline.score}, {gain}"))
    return facts


def _npu(entry: dict) -> list[Fact]:
    target = text(entry.get("target"))
    baseline = entry.get("cpu_baseline")
    best, typical = (three_digits(dig(baseline, key)) for key in ("best_ms", "typical_ms"))
    core, kind = text(dig(baseline, "core")), text(dig(baseline, "kind"))
    placed = f"{text(entry.get('npu_ops'))} on the NPU, {text(entry.get('cpu_ops'))} on the CPU"
    took = with_unit(entry.get("fallback_ms"), "ms")
    return [
        (f"{target}: operators", placed),
        (f"{target}: left to the CPU", operators(entry.get("cpu_fallback"), took)),
        (f"{target}: CPU baseline", f"{core}, {kind}: best {best} ms, typical {typical} ms"),
        (f"{target}: compiled model", text(entry.get("compiled"))),
    ]


def _seconds(record: dict) -> str:
    stages = record.get("seconds") or {}
    return ", ".join(f"{stage} {three_digits(took)}" for stage, took in stages.items()) or DASH
