"""A model file on disk: the tensors it takes and gives, and what the files of a stage are called.

Quantization follows the TFLite specification
(https://ai.google.dev/edge/litert/models/quantization_spec):
``real = (quantized - zero_point) * scale``. How reals are rounded is not in it:
`TensorSpec.quantize` states the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

_PARTS = re.compile(r"(\d+)")
# By which part of itself a quotient of a float32 and a scale may be off: its last two bits.
# Nearer to a half than that is a half.
SAME = 2.0**-22

SAVED_MODEL = "saved_model"  # a directory, as TensorFlow writes it
PROGRAM = "program.pt2"  # `torch.export`
ONNX = "model.onnx"
TRAINED_ONNX = "trained.onnx"  # float, with the fake quantization that it was trained with
TFLITE = "model.tflite"
ARTIFACT = {"onnx": ONNX, "tflite": TFLITE}  # by toolchain
STATISTICS = "statistics.npz"  # of every tensor, from calibration
SAMPLES, SEVERAL = "samples.npy", "samples.npz"  # of one input; of several, `input_0` and so on
NETWORK_INPUTS = "network_inputs.npz"


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

    @property
    def quantization(self) -> tuple[float, int]:
        """Scale and zero point; raises ValueError for a tensor that lacks one of them."""
        if self.scale is None or self.zero_point is None:
            raise ValueError(
                f"tensor {self.name} is {self.dtype} with scale {self.scale} and zero point "
                f"{self.zero_point}, expected both: quantize the model again"
            )
        return self.scale, self.zero_point

    def quantize(
        self, real: np.ndarray, pixel_range: tuple[float, float] | None = None
    ) -> np.ndarray:
        """Real values (any shape) to this tensor's dtype: what the code on a device feeds.

        Each value gets the nearest level, saturated; of two equally near ones the upper one:
        ``floor(real / scale + 0.5) + zero_point``. `pixel_range` is what pixels 0 and 255 become
        before this; where an 8-bit tensor holds them level by level, the nearest level of each
        pixel is its byte (minus 128 in int8), and of two it is that one (with [-1, 1], where every
        pixel is halfway, that decides all of them). A float tensor takes the values as they are,
        an integer one without a scale whole numbers.

        Raises ValueError on NaN, and on values that an integer tensor without a scale cannot hold.
        """
        if not self.is_quantized:
            return self._stored_as_they_are(np.asarray(real))
        if np.isnan(real).any():
            raise ValueError(f"tensor {self.name}: cannot quantize NaN to {self.dtype}")
        limits, (scale, zero_point) = np.iinfo(self.dtype), self.quantization
        beyond = limits.min - zero_point - 1, limits.max - zero_point + 1
        levels = np.clip(np.asarray(real, np.float64) / scale, *beyond)
        slack = SAME * np.abs(levels)
        if pixel_range and self._halves_go_down(*pixel_range):
            levels = np.ceil(levels - 0.5 - slack)
        else:
            levels = np.floor(levels + 0.5 + slack)
        return np.clip(levels + zero_point, limits.min, limits.max).astype(self.dtype)

    def _halves_go_down(self, low: float, high: float) -> bool:
        """Whether pixels 0..255, which became `low`..`high`, each stand half a level above theirs.

        A zero point that was rounded up does that, one that was rounded down the contrary.
        """
        if np.dtype(self.dtype).itemsize > 1:
            return False
        least, (scale, zero_point) = np.iinfo(self.dtype).min, self.quantization
        first = low / scale + zero_point - least
        last = high / scale + zero_point - least - 255
        return all(abs(above - 0.5) <= 255 * SAME for above in (first, last))

    def _stored_as_they_are(self, real: np.ndarray) -> np.ndarray:
        dtype = np.dtype(self.dtype)
        if dtype.kind in "iu" and real.dtype.kind == "f":
            limits = np.iinfo(dtype)
            if not np.all((real >= limits.min) & (real <= limits.max) & (real == np.rint(real))):
                raise ValueError(
                    f"tensor {self.name} is {dtype} without a scale and takes whole numbers of "
                    f"{limits.min}..{limits.max}, got {real.min():g} to {real.max():g}: feed it "
                    "pixels as they are (no mean, std, scale or range)"
                )
        return real.astype(dtype)

    def dequantize(self, stored: np.ndarray) -> np.ndarray:
        """Values of this tensor's dtype to float32 reals."""
        if not self.is_quantized:
            return np.asarray(stored, np.float32)
        scale, zero_point = self.quantization
        return ((np.asarray(stored, np.float64) - zero_point) * scale).astype(np.float32)


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


def sample_file(directory: Path) -> Path:
    """The calibration samples that a stage wrote: of one input, or of several."""
    several = directory / SEVERAL
    return several if several.is_file() else directory / SAMPLES
