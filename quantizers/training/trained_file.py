"""`trained.json`: what a training leaves beside its float artifact, and a quantizer reads.

    {"ranges": {tensor: [low, high]}, "activations": {tensor: [scale, zero point]},
     "weights": {tensor: [scale, ...]}}

`ranges` hold every tensor that calibration has; scales are those of the quantized file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

TRAINED = "trained.json"
Ranges = dict[str, tuple[float, float]]


def write_trained(path: Path, ranges: Mapping[str, tuple[float, float]], scales: Mapping) -> None:
    """Writes the file; `scales` has "activations" and "weights"."""
    path.write_text(json.dumps({"ranges": ranges, **scales}))


def read_ranges(path: Path) -> Ranges:
    """The ranges that a training left, real values by tensor."""
    content = json.loads(path.read_text())
    return {name: (low, high) for name, (low, high) in content["ranges"].items()}
