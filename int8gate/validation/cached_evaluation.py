"""An evaluation in the cache: its scalars are at hand, its arrays read when one is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from int8gate.engine.cache import CacheEntry
from int8gate.validation.evaluation import Evaluation, read_evaluation
from int8gate.validation.fidelity import least_cosine, worst_sqnr


@dataclass(frozen=True)
class KeptEvaluation:
    """What `Evaluation` says, by the same names; `key` is that of the cache entry.

    The same key stands for the same arrays: what follows from them alone is known by it.
    """

    key: str
    chance: float | None
    distinct_outputs: int
    fidelity: list[dict] | None
    agreement: float | None
    seconds: float
    peak_rss_bytes: int | None
    entry: CacheEntry = field(repr=False)

    @classmethod
    def of(cls, entry: CacheEntry) -> KeptEvaluation:
        return cls(entry.key, entry=entry, **entry.meta)

    @property
    def sqnr_db(self) -> float | None:
        """Of the output that is worst; None where nothing is comparable."""
        return worst_sqnr(self.fidelity or [])

    @property
    def cosine(self) -> float | None:
        """The least of an output."""
        return least_cosine(self.fidelity or [])

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
    def baseline(self) -> np.ndarray | None:
        return self._whole.baseline

    @property
    def also(self) -> dict[str, np.ndarray]:
        return self._whole.also
