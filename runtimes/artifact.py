"""A model file on disk and the tensors it takes and gives.

Quantization follows the TFLite specification
(https://ai.google.dev/edge/litert/models/quantization_spec):
``real = (quantized - zero_point) * scale``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

_PARTS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape (batch first) and dtype of a model's input or output.

    `scale` and `zero_point` are per tensor, and None for a float tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @property
    def is_quantized(self) -> bool:
        return self.scale is not None

    def quantize(self, real: np.ndarray) -> np.ndarray:
        """Real values (any shape) to this tensor's dtype, rounded half to even and saturated.

        A float tensor takes the values as they are. Raises ValueError on NaN.
        """
        if not self.is_quantized:
            return np.asarray(real, dtype=self.dtype)
        if np.isnan(real).any():
            raise ValueError(f"tensor {self.name}: cannot quantize NaN to {self.dtype}")
        limits = np.iinfo(self.dtype)
        levels = np.rint(np.asarray(real, np.float64) / self.scale) + self.zero_point
        return np.clip(levels, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, stored: np.ndarray) -> np.ndarray:
        """Values of this tensor's dtype to float32 reals."""
        if not self.is_quantized:
            return np.asarray(stored, np.float32)
        return ((np.asarray(stored, np.float64) - self.zero_point) * self.scale).astype(np.float32)


@dataclass(frozen=True)
class Artifact:
    """A model file: its format (`tflite`, `onnx`), its tensors, and where it came from.

    `provenance` is what it was made of: model, recipe, profile, weights, library versions.
    """

    path: Path
    sha256: str
    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    provenance: dict = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Of the file, and of the weights that a large ONNX file keeps beside itself."""
        files = self.path.parent.glob(f"{self.path.name}*")
        return sum(file.stat().st_size for file in files)

    def describe_io(self) -> dict:
        """The record's `io` field: plain dicts of the inputs and outputs."""
        return {
            "inputs": [asdict(spec) for spec in self.inputs],
            "outputs": [asdict(spec) for spec in self.outputs],
        }


def as_artifact(path: Path, description: dict, provenance: dict) -> Artifact:
    """The artifact of a file that its session's `describe` described; its suffix is its format."""
    tensors = (_specs(description[kind]) for kind in ("inputs", "outputs"))
    return Artifact(Path(path), description["sha256"], Path(path).suffix[1:], *tensors, provenance)


def _specs(described: list[dict]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in described)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of a signature's tensors in the order of the network: numbers count as numbers.

    A converter lists outputs in an order of its own; their names hold.
    """
    return sorted(
        names,
        key=lambda name: [int(part) if part.isdigit() else part for part in _PARTS.split(name)],
    )


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
