"""The layer-wise statistics of a calibrated case, from the record's `calibration`:

`{"method": str, "tensors": [{"name", "count", "minimum", "maximum", "mean", "std", "zeros",
"percentile_0.1", "percentile_99.9", "outlier_ratio", "dead_channels", "channels", "low", "high",
"saturation", "sqnr_db", "levels_used"}, ...]}`, or null for a case without calibrated ranges.
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
