"""Scales and zero points of an ONNX file in QDQ form: what a training or another quantizer chose.

`qdq.json` stands beside the float file that the importer leaves (`stripping.py`):

    {"activations": {tensor: {"scale": 0.02, "zero_point": 3, "dtype": "uint8", "bounds": null}},
     "weights": {tensor: {"scales": [...], "zero_points": [...], "axis": 0, "dtype": "int8"}},
     "notes": [sentence]}

Tensors have their names of that float file, where weights are the rounded real values.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

QDQ = "qdq.json"
LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
SAME = 1e-6  # relative: what float32 makes of one number


@dataclass(frozen=True)
class ActivationScale:
    """real = (integer - zero_point) * scale, of one activation. `bounds` are those of its integers
    where they are fewer than the dtype has.
    """

    scale: float
    zero_point: int
    dtype: str
    bounds: tuple[int, int] | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest real value: a range that gives this scale and zero point."""
        low, high = ((limit - self.zero_point) * self.scale for limit in LIMITS[self.dtype])
        return low, high

    def is_same(self, other: ActivationScale) -> bool:
        """Whether both give the same steps, be the integers signed or not."""
        pairs = zip(self.limits, other.limits, strict=True)
        return all(abs(one - two) <= SAME * 255 * self.scale for one, two in pairs)


@dataclass(frozen=True)
class WeightScales:
    """Scales and zero points (channels,) along `axis`, or (1,) with the axis None."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None
    dtype: str

    @property
    def signed_zero_points(self) -> np.ndarray:
        """The zero points of the same steps in int8, (channels,) or (1,)."""
        return np.asarray(self.zero_points) + (LIMITS["int8"][0] - LIMITS[self.dtype][0])


@dataclass
class QdqScales:
    """All that a file's pairs say, by tensor of its float network."""

    activations: dict[str, ActivationScale] = field(default_factory=dict)
    weights: dict[str, WeightScales] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, directory: Path) -> None:
        """Writes `directory`/qdq.json."""
        (directory / QDQ).write_text(json.dumps(asdict(self)))


def read_scales(directory: Path) -> QdqScales | None:
    """What `QdqScales.write` wrote there; None of a network that came without scales."""
    file = directory / QDQ
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    weights = {
        name: WeightScales(tuple(of["scales"]), tuple(of["zero_points"]), of["axis"], of["dtype"])
        for name, of in content["weights"].items()
    }
    activations = {}
    for name, of in content["activations"].items():
        bounds = of["bounds"] and tuple(of["bounds"])
        activations[name] = ActivationScale(of["scale"], of["zero_point"], of["dtype"], bounds)
    return QdqScales(activations, weights, content["notes"])
