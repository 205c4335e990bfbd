"""What counting a part of the elements does to thresholds, on the material of `calibration.py`.

    python benchmarks/calibration_sampling.py MODEL SAMPLES COUNT

calibrates twice, counting every element and counting those that `statistics.step_of` chooses, and
prints JSON. `noise` is the error of quantizing *all* the elements with the ranges found from the
sample, in dB above that with the ranges found from all elements.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.sampling_bounds import cdf_error, percentile_bounds
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.calibration.expected_error import sqnr
from int8gate.quantizers.calibration.table import Table
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector

METHODS = ("min_max", "percentile", "entropy", "mse")


def compare(whole: Table, part: Table) -> dict:
    """JSON-ready: counts, the bounds and what is inside them, and for each method the effect."""
    return {
        "elements": {name: sum(s.count for s in t.values()) for name, t in _both(whole, part)},
        "fewest_of_a_tensor": min(stats.count for stats in part.values()),
        "cdf": _distributions(whole, part),
        "percentile_inside_bounds": _inside(whole, part),
        "methods": {method: _method(whole, part, method) for method in METHODS},
    }


def _both(whole: Table, part: Table):
    return (("all", whole), ("counted", part))


def _distributions(whole: Table, part: Table) -> dict:
    """The largest distance of the distribution functions, and the bound for independent draws."""
    distances = [_distance(whole[name], stats) for name, stats in part.items()]
    bounds = [cdf_error(stats.count) for stats in part.values()]
    sampled = [stats.count < whole[name].count for name, stats in part.items()]
    within = [d <= b for d, b, s in zip(distances, bounds, sampled, strict=True) if s]
    return {
        "largest": max(distances),
        "median": float(np.median(distances)),
        "bound_median": float(np.median(bounds)),
        "within_bound": sum(within),
        "sampled_tensors": len(within),
    }


def _distance(whole, part) -> float:
    """On the coarser of the two lattices, whose edges both have."""
    width = max(whole.histogram.width, part.histogram.width)
    functions = []
    edges = np.arange(
        np.floor(whole.histogram.edges[0] / width), np.ceil(whole.histogram.edges[-1] / width) + 1
    )
    for stats in (whole, part):
        below = np.concatenate([[0], np.cumsum(stats.histogram.counts)]) / stats.histogram.total
        functions.append(np.interp(edges * width, stats.histogram.edges, below))
    return float(np.abs(functions[0] - functions[1]).max())


def _inside(whole: Table, part: Table) -> dict:
    """How many ends of the 99.99% ranges lie in the 95% interval that the sample gives."""
    inside = []
    for name, stats in part.items():
        true = whole[name].histogram.quantile(0.5e-4), whole[name].histogram.quantile(1 - 0.5e-4)
        bounds = percentile_bounds(stats)
        inside += [
            low <= edge[1] and edge[0] <= high
            for edge, (low, high) in zip(true, bounds, strict=True)
        ]
    return {"inside": sum(inside), "of": len(inside)}


def _method(whole: Table, part: Table, method: str) -> dict:
    true, found = thresholds.ranges(whole, method), thresholds.ranges(part, method)
    moved, lost = [], []
    for name, (low, high) in true.items():
        other = found[name]
        moved.append(max(abs(other[0] - low), abs(other[1] - high)) / ((high - low) or 1.0))
        noise = sqnr(whole[name], low, high) - sqnr(whole[name], *other)
        lost.append(noise if np.isfinite(noise) else 0.0)
    return {
        "moved": _spread(np.array(moved)),
        "noise_db": _spread(np.array(lost)),
    }


def _spread(values: np.ndarray) -> dict:
    return {
        "median": float(np.median(values)),
        "90%": float(np.quantile(values, 0.9)),
        "most": float(values.max()),
    }


def main(model: str, samples: str, count: str) -> None:
    rows = range(int(count))
    whole = onnx_collector.collect(Path(model), Path(samples), rows, every=1)
    part = onnx_collector.collect(Path(model), Path(samples), rows)
    print(json.dumps(compare(whole, part)))


if __name__ == "__main__":
    main(*sys.argv[1:])
