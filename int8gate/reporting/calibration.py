"""A case's calibration in words: statistics of each tensor, and what the audit of the set found.

Statistics are the record's `calibration`, null for a case without calibrated ranges:

    {"method": str, "tensors": [{"name", "count", "minimum", "maximum", "mean", "std", "zeros",
     "percentile_0.1", "percentile_99.9", "outlier_ratio", "dead_channels", "channels", "low",
     "high", "saturation", "sqnr_db", "levels_used"}, ...]}

Findings are the record's `calibration_audit`, worst first; advice stands among a case's details
alone, the rest is said wherever the case is:

    [{"kind", "severity": "error" | "warning" | "advice", "evidence", "cure", "samples"}, ...]
"""

from __future__ import annotations

from int8gate.reporting.fields import DASH, dig, text, three_digits

HEADER = (
    "Tensor",
    "Range chosen",
    "Values seen",
    "Mean ± std",
    "Zeros",
    "0.1% to 99.9%",
    "Outliers",
    "Dead channels",
    "Clipped",
    "Expected SQNR, dB",
    "Levels",
)
MEANING = (
    "What calibration saw of each tensor and what its range costs. Outliers: largest size over the "
    "99.99% quantile. Dead channels never leave one value. Clipped: share of values outside the "
    "range. Expected SQNR: modelled from the histogram of float values and this tensor's range "
    "alone, not measured in the quantized network. Levels: those of 256 that values fall on."
)

SAID = ("error", "warning")  # severities
# What a kind is about, where it is not the calibration set alone.
ABOUT = {"other_preprocessing": "Preprocessing"}


def table(record: dict) -> list[tuple[str, ...]]:
    """A row of texts for each tensor, in the order of the graph; empty where nothing was told."""
    return [_row(tensor) for tensor in dig(record, "calibration", "tensors") or []]


def sentence(record: dict) -> str:
    """The method, how many tensors, and the one that its range serves worst."""
    tensors = dig(record, "calibration", "tensors")
    if not tensors:
        return DASH
    said = f"{text(dig(record, 'calibration', 'method'))} ranges of {len(tensors)} tensors"
    judged = [tensor for tensor in tensors if tensor.get("sqnr_db") is not None]
    if judged:
        worst = min(judged, key=lambda tensor: tensor["sqnr_db"])
        said += f"; least expected SQNR {worst['sqnr_db']:.1f} dB (modelled) at {worst['name']}"
    dead = sum(tensor.get("dead_channels") or 0 for tensor in tensors)
    return f"{said}; {dead} dead channels" if dead else said


def _row(tensor: dict) -> tuple[str, ...]:
    def figure(name: str) -> str:
        return three_digits(tensor.get(name))

    def percent(name: str) -> str:
        share = tensor.get(name)
        return DASH if share is None else f"{share:.3%}" if share else "0"

    def span(low: str, high: str) -> str:
        return DASH if tensor.get(low) is None else f"{figure(low)} to {figure(high)}"

    dead, channels = tensor.get("dead_channels"), tensor.get("channels")
    return (
        text(tensor.get("name")),
        span("low", "high"),
        span("minimum", "maximum"),
        DASH if tensor.get("mean") is None else f"{figure('mean')} ± {figure('std')}",
        percent("zeros"),
        span("percentile_0.1", "percentile_99.9"),
        figure("outlier_ratio"),
        DASH if channels is None else f"{dead} of {channels}",
        percent("saturation"),
        figure("sqnr_db"),
        text(tensor.get("levels_used")),
    )


def details(record: dict) -> list[tuple[str, str]]:
    """Every finding as a name and a text; one pair that says so where nothing was found.

    None of both where no set was judged.
    """
    findings = record.get("calibration_audit")
    if findings is None:
        return []
    if not findings:
        return [("Calibration set", "nothing found to be wrong")]
    return [(f"{_about(each)}: {each['severity']}", _sentence(each)) for each in findings]


def remarks(record: dict) -> list[str]:
    """A sentence for each warning; an error is the reason of the case's verdict already."""
    findings = record.get("calibration_audit") or []
    return [f"{_about(each)}: {_sentence(each)}" for each in findings if _is_warning(each)]


def summaries(records: dict[str, dict]) -> list[str]:
    """For the terminal: of each case id what was found to be wrong, in a line.

    Recipes of one model share a calibration set, so that they are named together.
    """
    cases: dict[tuple[str, str], list[str]] = {}
    for case_id, record in records.items():
        for each in record.get("calibration_audit") or []:
            if each["severity"] in SAID:
                said = f"{each['severity']}, {each['kind']}: {_sentence(each)}"
                cases.setdefault((_about(each), said), []).append(case_id)
    return [f"{about} of {', '.join(ids)}: {said}." for (about, said), ids in cases.items()]


def _about(finding: dict) -> str:
    return ABOUT.get(finding["kind"], "Calibration set")


def _sentence(finding: dict) -> str:
    return f"{finding['evidence']}; {finding['cure']}"


def _is_warning(finding: dict) -> bool:
    return finding["severity"] == "warning"
