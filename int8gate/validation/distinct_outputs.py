"""Whether a model says anything: how many different outputs it gives."""

from __future__ import annotations

from hashlib import sha256

import numpy as np


class DistinctOutputs:
    """Counts different outputs batch by batch: fewer than two means a constant output."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, outputs: np.ndarray) -> None:
        """A batch (n, ...) of outputs."""
        self._seen.update(sha256(sample.tobytes()).digest() for sample in outputs)

    @property
    def count(self) -> int:
        return len(self._seen)
