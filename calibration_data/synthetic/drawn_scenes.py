"""Scenes that are drawn when asked for: a count of them, one style, going round a split's tiles."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np

from int8gate.calibration_data.sample_set import SampleSet
from int8gate.calibration_data.synthetic.picture_sources import tiles


class DrawnScenes(SampleSet):
    """Scenes of one split, `count` of them, at `size` (h, w).

    A kind of scenes sets `title` and `usual_style` (a frozen dataclass).
    """

    title: str
    usual_style: object

    def __init__(
        self, split: str, size: tuple[int, int], channels: int, count: int, style: object = None
    ):
        style = style or self.usual_style
        self.split, self.size, self.channels, self.style = split, size, channels, style
        self.name = f"{self.title}, {split}"
        self._count = count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def sources(self) -> np.ndarray:
        """Source of each scene, int (n,): scenes go round the split's tiles."""
        return np.arange(self._count) % len(tiles(self.split))

    def digest(self) -> str:
        """Hex sha256 of what determines every scene: sources, code, parameters, libraries."""
        content = hashlib.sha256(self.code().encode())
        for array in self._drawn_from():
            content.update(array.tobytes())
        parameters = (self.split, self.size, self.channels, len(self), self.style)
        content.update(repr(parameters).encode())
        return content.hexdigest()

    def _drawn_from(self) -> tuple[np.ndarray, ...]:
        """The arrays of the split that scenes are made of."""
        return (tiles(self.split),)
