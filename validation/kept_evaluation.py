"""An evaluation in the cache: its scalars are at hand, its arrays read when one is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from quantizers.cache import CacheEntry
from validation.evaluation import Evaluation, read_evaluation


@dataclass(frozen=True)
class KeptEvaluation:
    """What `Evaluation` says, by the same names; `key` is that of the cache entry.

    The same key stands for the same arrays: what follows from them alone is known by it.
    """

    key: str
    chance: float | None
    distinct_outputs: int
    sqnr_db: float | None
    cosine: float | None
    agreement: float | None
    seconds: float
    peak_rss_bytes: int | None
    entry: CacheEntry = field(repr=False)

    @classmethod
    def of(cls, entry: CacheEntry) -> KeptEvaluation:
        return cls(entry.key, entry=entry, **entry.meta)

    @cached_property
    def _whole(self) -> Evaluation:
        return read_evaluation(self.entry.path, self.entry.meta)

    @property
    def statistics(self) -> np.ndarray:
        return self._whole.statistics

    @property
    def sources(self) -> np.ndarray:
        return self._whole.sources

    @property
    def raw_pixels(self) -> np.ndarray | None:
        return self._whole.raw_pixels

    @property
    def also(self) -> dict[str, np.ndarray]:
        return self._whole.also
