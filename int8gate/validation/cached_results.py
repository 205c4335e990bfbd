"""What follows from files and evaluations alone, found once and kept in the artifact cache.

Keys hold contents: an artifact's digest, the key of an evaluation; and the code and the libraries
that the finding depends on. So a gate that is run again only measures what is of this moment. Of an
evaluation in the cache the scalars are at hand; its arrays are read when one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from int8gate.engine import code_identity
from int8gate.engine.cache import ArtifactCache, CacheEntry
from int8gate.validation.answers import Answers
from int8gate.validation.evaluation import Evaluation, read_evaluation
from int8gate.validation.fidelity import least_cosine, worst_sqnr
from int8gate.validation.metrics.registry import Metric, metric, places_of
from int8gate.validation.noninferiority import NonInferiority, non_inferiority
from int8gate.validation.to_float import distance


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
    def answers(self) -> Answers | None:
        return self._whole.answers

    @property
    def groups(self) -> np.ndarray | None:
        return self._whole.groups

    @property
    def to_float(self) -> dict[str, np.ndarray]:
        return self._whole.to_float

    @property
    def pictures(self) -> dict[str, np.ndarray]:
        return self._whole.pictures

    @property
    def also(self) -> dict[str, np.ndarray]:
        return self._whole.also


@dataclass(frozen=True)
class ScoredPair:
    """Scores of the float and the quantized artifact on the same samples, that of the baseline, and
    the test of the drop.
    """

    float_score: float
    quantized_score: float
    chance: float
    test: NonInferiority


@dataclass(frozen=True)
class Compared(ScoredPair):
    """Of all samples, and in `groups` of each part of them that is judged by itself, too.

    `also` has both of each metric beside the gated one: `{"ssim": {"float", "quantized"}}`.
    `to_float` has what `validation.to_float` says of each comparison with the float model.
    """

    also: dict[str, dict[str, float]]
    groups: dict[str, ScoredPair]
    to_float: dict[str, dict]


def fact(
    cache: ArtifactCache,
    name: str,
    parts: dict,
    find: Callable[[], object],
    *roots: str,
):
    """What `find` returns, a plain value, of `parts`: asked for only where it is not known.

    `name` says which fact it is, `roots` are the functions that find it (``module:name``, see
    `code_identity`): what they reach is what it depends on besides `parts`.
    Whatever `find` raises is raised, and not kept. See `ArtifactCache.remembered`.
    """
    key = {"fact": name, "of": parts, **code_identity.identity(*roots)}
    return cache.remembered("fact", key, find)


def compared(
    cache: ArtifactCache,
    metrics: tuple[str, ...],
    reference: KeptEvaluation,
    own: KeptEvaluation,
    rule: str,
    tolerance: Callable[[float], float],
    seed: int,
) -> Compared:
    """Scores, and `non_inferiority` under the first of `metrics`, on the samples that `own` has.

    `tolerance` is called with the float score; it does what `rule` says, which stands in the key,
    by the arithmetic of `validation.expectations`.
    Raises ValueError as `non_inferiority` does.
    """
    parts = {
        "evaluations": [reference.key, own.key],
        "metrics": metrics,
        "rule": rule,
        "seed": seed,
    }

    def find() -> dict:
        gated, count = metric(metrics[0]), len(own.statistics)
        asked = gated, reference, own, tolerance, seed
        names = [] if own.groups is None else dict.fromkeys(own.groups.tolist())
        parts = {name: np.flatnonzero(own.groups == name) for name in names}
        return {
            **_judged(*asked, np.arange(count)),
            "groups": {name: _judged(*asked, rows) for name, rows in parts.items()},
            "also": {
                name: {
                    "float": float(metric(name).score(reference.also[name][:count])),
                    "quantized": float(metric(name).score(own.also[name])),
                }
                for name in metrics[1:]
            },
            "to_float": {
                name: distance(rows, own.sources[: len(rows)], seed)
                for name, rows in own.to_float.items()
            },
        }

    roots = (
        "int8gate.validation.cached_results:compared",
        "int8gate.validation.expectations",
        *places_of(metrics),
    )
    found = fact(cache, "compared", parts, find, *roots)
    groups = {name: ScoredPair(**_typed(of)) for name, of in found["groups"].items()}
    return Compared(**_typed(found) | {"groups": groups})


def _judged(
    gated: Metric,
    reference: KeptEvaluation,
    own: KeptEvaluation,
    tolerance: Callable[[float], float],
    seed: int,
    rows: np.ndarray,
) -> dict:
    """The fields of a `ScoredPair`, plain ones, on the samples of those numbers."""
    whole = len(rows) == len(own.statistics)
    real, quantized = reference.statistics[rows], own.statistics[rows]
    baseline = None if own.baseline is None else own.baseline[rows]
    float_score = float(gated.score(real))
    chance = own.chance if whole or baseline is None else float(gated.score(baseline))
    test = non_inferiority(
        gated,
        real,
        quantized,
        own.sources[rows],
        tolerance(float_score),
        chance=chance,
        distinct_outputs=reference.distinct_outputs,
        baseline_statistics=baseline,
        seed=seed,
    )
    return {
        "float_score": float_score,
        "quantized_score": float(gated.score(quantized)),
        "chance": chance,
        "test": _plain(asdict(test)),
    }


def _typed(found: dict) -> dict:
    return found | {"test": NonInferiority(**found["test"])}


def _plain(fields: dict) -> dict:
    """NumPy's numbers as Python's, which JSON has."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in fields.items()
    }
