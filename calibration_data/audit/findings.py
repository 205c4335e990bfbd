"""What an audit is given and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from int8gate.calibration_data.audit.alignment import thumbnails

SEVERITIES = ("error", "warning", "advice")  # worst first
NAMED = 5  # samples that a finding names
CHANNELS = (1, 3)  # of pictures


@dataclass(frozen=True)
class Finding:
    """One fault of a calibration set.

    severity   "error": calibrating on this is wrong; "warning": it costs accuracy, or hides that
               it does; "advice": it could be better
    evidence   a sentence with the numbers and the first samples' names
    cure       what to do
    samples    the first few samples at fault
    """

    kind: str
    severity: str
    evidence: str
    cure: str
    samples: tuple[str, ...] = ()

    def __post_init__(self):
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r}: expected one of {', '.join(SEVERITIES)}")

    def as_dict(self) -> dict:
        """JSON-ready."""
        return {**asdict(self), "samples": list(self.samples)}


@dataclass(frozen=True, eq=False)
class AuditSet:
    """A set of samples, to be judged.

    pictures   uint8 (n, h, w, c), decoded and resized, before preprocessing; None where only
               network inputs exist
    inputs     float32 or uint8 (m, ...), as they reach the network, of the first m <= n samples;
               None where they are not at hand
    labels     int (n,) class numbers, None where the task has none
    names      of the samples, for evidence; their numbers by default

    Raises ValueError when they do not fit each other.
    """

    pictures: np.ndarray | None = None
    inputs: np.ndarray | None = None
    labels: np.ndarray | None = None
    names: Sequence[str] | None = field(default=None, repr=False)

    def __post_init__(self):
        if self.pictures is None and self.inputs is None:
            raise ValueError("a set to audit has neither pictures nor inputs: give one of them")
        if self.pictures is not None and (
            self.pictures.ndim != 4 or self.pictures.dtype != np.uint8
        ):
            raise ValueError(
                f"pictures to audit are {self.pictures.dtype} {self.pictures.shape}; expected "
                "uint8 (n, height, width, channels): decode and resize them, preprocess them not"
            )
        for what in ("inputs", "labels", "names"):
            given = getattr(self, what)
            if given is None:
                continue
            fits = len(given) <= len(self) if what == "inputs" else len(given) == len(self)
            if not fits:
                raise ValueError(f"{len(given)} {what} for {len(self)} samples: give as many")

    def __len__(self) -> int:
        return len(self.given)

    @property
    def given(self) -> np.ndarray:
        """The pictures, or the inputs (n, ...) of a set without."""
        given = self.pictures if self.pictures is not None else self.inputs
        assert given is not None  # __post_init__ refused a set with neither
        return given

    def named(self, rows) -> tuple[str, ...]:
        """The names of the first few of the samples with these numbers."""
        chosen = [int(row) for row in rows][:NAMED]
        return tuple(str(self.names[row]) if self.names is not None else str(row) for row in chosen)

    @cached_property
    def seen(self) -> np.ndarray | None:
        """Pictures uint8 (n, h, w, c): those given, else inputs stretched to 0..255.

        None where inputs are no pictures of 1 or 3 channels.
        """
        if self.pictures is not None:
            return self.pictures
        layout = layout_of(self.given.shape)
        if layout is None:
            return None
        inputs = self.given if layout == "NHWC" else self.given.transpose(0, 2, 3, 1)
        if inputs.dtype == np.uint8:
            return inputs
        ends = np.array([finite_ends(sample) for sample in inputs], np.float64)
        low, high = ends[:, 0].min(), ends[:, 1].max()
        if not low <= high:  # nothing is finite
            low, high = 0.0, 1.0
        scale = 255 / max(high - low, 1e-30)
        stretched = np.empty(inputs.shape, np.uint8)
        for row, sample in enumerate(inputs):
            kept = np.nan_to_num(sample, nan=low, posinf=high, neginf=low)
            stretched[row] = np.clip(np.rint((kept - low) * scale), 0, 255)
        return stretched

    @cached_property
    def thumbnails(self) -> np.ndarray:
        """float32 (n, 48, 48) of `seen`."""
        return thumbnails(self.seen)


def layout_of(shape: tuple[int, ...]) -> str | None:
    """ "NHWC" or "NCHW", by which axis of a batch's shape has 1 or 3 elements; None if neither."""
    if len(shape) != 4:
        return None
    if shape[3] in CHANNELS and shape[1] not in CHANNELS:
        return "NHWC"
    if shape[1] in CHANNELS and shape[3] not in CHANNELS:
        return "NCHW"
    return None


def finite_ends(sample: np.ndarray) -> tuple[float, float]:
    """The smallest and largest finite value; inf and -inf where none is."""
    low, high = float(sample.min()), float(sample.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = sample[np.isfinite(sample)]
    return float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))


def spread(count: int, most: int) -> np.ndarray:
    """Numbers of `count` samples, or of `most` of them, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def listed(names: Sequence[str], total: int) -> str:
    """The names, and that there are more."""
    return ", ".join(names) + (", ..." if total > len(names) else "")
