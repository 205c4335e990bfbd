"""What the HTML shows of a case once its details are opened: pairs of name and text."""

from __future__ import annotations

from reporting import audit, calibration
from reporting.fields import DASH, dig, listed, size, text, three_digits, with_unit
from reporting.rows import CaseRow

Fact = tuple[str, str]


def facts(row: CaseRow) -> list[Fact]:
    """All that the record holds beyond the table, in reading order; null is a dash."""
    record = row.record
    return [
        *_accuracy(record),
        *_compared(row),
        ("Float operators", listed(dig(record, "integer_ops", "float_ops"))),
        ("Kept in float on purpose", listed(dig(record, "integer_ops", "kept_float"))),
        *([("Calibration", calibration.sentence(record))] if record.get("calibration") else []),
        *audit.details(record),
        *(fact for entry in record.get("npu") or [] for fact in _npu(entry)),
        ("Artifact", text(dig(record, "artifact", "path"))),
        ("SHA-256", text(dig(record, "artifact", "sha256"))),
        ("Seconds", _seconds(record)),
        ("Peak memory", size(record.get("peak_rss_bytes"))),
    ]


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
    sqnr = with_unit(dig(record, "fidelity", "sqnr_db"), "dB")
    cosine = dig(record, "fidelity", "cosine")
    return [
        ("Evaluated on", f"{samples} samples from {sources} independent sources"),
        ("Tolerance rule", rule),
        ("Fidelity", f"SQNR {sqnr}, cosine {DASH if cosine is None else f'{cosine:.5f}'}"),
    ]


def _compared(row: CaseRow) -> list[Fact]:
    """The baseline and the metrics beside the gated one, where there are any."""
    facts = [
        (f"{name}, not gated", f"{scores} (float → quantized)") for name, scores in row.also.items()
    ]
    if row.baseline:
        gain = f"quantized must be above it: {row.baseline.gain}"
        facts.append((f"Baseline {row.baseline.name}", f"{row.baseline.score}, {gain}"))
    return facts


def _npu(entry: dict) -> list[Fact]:
    target = text(entry.get("target"))
    baseline = entry.get("cpu_baseline")
    best, typical = (three_digits(dig(baseline, key)) for key in ("best_ms", "typical_ms"))
    core, kind = text(dig(baseline, "core")), text(dig(baseline, "kind"))
    placed = f"{text(entry.get('npu_ops'))} on the NPU, {text(entry.get('cpu_ops'))} on the CPU"
    fallback = with_unit(entry.get("fallback_ms"), "ms")
    return [
        (f"{target}: operators", placed),
        (f"{target}: left to the CPU", f"{listed(entry.get('cpu_fallback'))} ({fallback})"),
        (f"{target}: CPU baseline", f"{core}, {kind}: best {best} ms, typical {typical} ms"),
        (f"{target}: compiled model", text(entry.get("compiled"))),
    ]


def _seconds(record: dict) -> str:
    stages = record.get("seconds") or {}
    return ", ".join(f"{stage} {three_digits(took)}" for stage, took in stages.items()) or DASH
