"""A bounded number of a set's samples, from all over it: the head of a folder is one class."""

from __future__ import annotations

import hashlib

import numpy as np

from int8gate.calibration_data.sample_set import SampleSet


class Subset(SampleSet):
    """At most `most` samples of `whole`, the same each time, in its order.

    A smaller number's samples are among those of a larger one.
    """

    def __init__(self, whole: SampleSet, most: int):
        self.whole = whole
        self.rows = np.sort(np.random.default_rng(0).permutation(len(whole))[:most])
        self.name = f"{len(self.rows)} of {whole.name}"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sources(self) -> np.ndarray:
        return self.whole.sources[self.rows]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.whole.sample(int(self.rows[index]))

    def named(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return self.whole.named(int(self.rows[index]))

    def digest(self) -> str:
        """Of the whole set's and the numbers of its samples: the samples are not read."""
        return hashlib.sha256(self.whole.digest().encode() + self.rows.tobytes()).hexdigest()
