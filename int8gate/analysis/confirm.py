"""The winner of a search, judged on samples that the search never saw.

    parts = split_by_source(evaluation.sources, labels, seed=0)
    judge = Judge.of(metric, float_evaluation, tolerance, parts)
    judge.on_search(name, rows)      as often as the search likes; rows of parts.search
    judge.confirm(winner, rows)      once: rows of parts.confirmation

The best of many candidates on one evaluation set is partly the luckiest: gated on the same set, it
passes far more often than the 5% that the gate allows (`benchmarks/confirm_false_pass.py` measures
it). The confirmation part is judged for one candidate only, so that its gate holds as it stands. To
confirm a second one after the first failed would be a search again, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from int8gate.validation.bootstrap import RESAMPLES
from int8gate.validation.metrics.registry import Metric
from int8gate.validation.noninferiority import NonInferiority, non_inferiority

SHARE = 0.5  # of the samples, for the confirmation


@dataclass(frozen=True)
class Split:
    """Rows of the evaluation set, ascending: `search` (s,) and `confirmation` (c,), disjoint; no
    source has samples in both.
    """

    search: np.ndarray
    confirmation: np.ndarray


class Scored(Protocol):
    """What is read of a float model's `Evaluation`, or of one in the cache."""

    @property
    def statistics(self) -> np.ndarray: ...
    @property
    def sources(self) -> np.ndarray: ...
    @property
    def chance(self) -> float | None: ...
    @property
    def distinct_outputs(self) -> int: ...
    @property
    def baseline(self) -> np.ndarray | None: ...


def split_by_source(
    sources: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    share: float = SHARE,
    seed: int = 0,
) -> Split:
    """Sources (n,) in two parts, the same for the same seed; `share` of the samples is for the
    confirmation, to within about a source, also of each class where there are labels (n,).

    A source is of the class that most of its samples have. Raises ValueError where sources and
    labels do not fit, the share is none, or there are too few sources for two parts.
    """
    ids, of_sample, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    if not 0 < share < 1:
        raise ValueError(f"the share to confirm on is {share}: expected more than 0, less than 1")
    if len(ids) < 2:
        raise ValueError(
            f"{len(sources)} samples of {len(ids)} source cannot be split in a part to search on "
            "and one to confirm on: add samples of other sources"
        )
    order = np.random.default_rng(seed).permutation(len(ids))
    if labels is not None:
        if np.shape(labels) != np.shape(sources):
            raise ValueError(
                f"labels {np.shape(labels)} and sources {np.shape(sources)} are not of the same "
                "samples: expected a class for each, or no labels"
            )
        order = order[np.argsort(_class_of_sources(of_sample, labels)[order], kind="stable")]
    is_confirmation = np.zeros(len(ids), bool)
    confirmed = total = 0
    for source in order:  # to the part that is further behind
        total += sizes[source]
        if confirmed + sizes[source] / 2 <= share * total:
            is_confirmation[source] = True
            confirmed += sizes[source]
    if is_confirmation.all() or not is_confirmation.any():
        largest = sizes.argmax()
        is_confirmation[:] = np.arange(len(ids)) == largest  # all of one size but this: by itself
        is_confirmation ^= share > 0.5 and sizes[largest] < sizes.sum() / 2
    chosen = is_confirmation[of_sample]
    return Split(np.flatnonzero(~chosen), np.flatnonzero(chosen))


def _class_of_sources(of_sample: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(sources,): the number of the class that most of a source's samples have."""
    _, classes = np.unique(labels, return_inverse=True)
    counts = np.zeros((of_sample.max() + 1, classes.max() + 1), int)
    np.add.at(counts, (of_sample, classes), 1)
    return counts.argmax(axis=1)


@dataclass(frozen=True)
class Confirmed:
    """The winner's gate on both parts; `candidates` is how many the search judged.

    Only `on_confirmation` says whether it may ship.
    """

    name: str
    on_search: NonInferiority
    on_confirmation: NonInferiority
    candidates: int

    @property
    def passed(self) -> bool:
        return self.on_confirmation.verdict == "passed"

    @property
    def optimism(self) -> float:
        """How much less it dropped where it was chosen, in the metric's unit."""
        return self.on_confirmation.drop - self.on_search.drop

    @property
    def sentence(self) -> str:
        """Both figures, for a report."""
        search, confirmation = self.on_search, self.on_confirmation
        told = f": {confirmation.reason}" if confirmation.reason else ""
        return (
            f"{self.name}, chosen among {self.candidates}: drop {search.drop:.4g} on the "
            f"{search.samples} samples that it was chosen on, {confirmation.drop:.4g} (at most "
            f"{confirmation.drop_upper_95:.4g} at 95%, allowed {confirmation.tolerance:.4g}) on "
            f"{confirmation.samples} others: {confirmation.verdict}{told}"
        )


class Judge:
    """The accuracy gate on each part of an evaluation set; the confirmation for one candidate.

    Parameters
    ----------
    float_statistics : (n, k) rows of the float model on the whole set.
    sources : (n,) ids of the same samples.
    tolerance : largest drop allowed, in the metric's unit.
    chance, distinct_outputs, baseline_statistics, seed, resamples : as of `non_inferiority`, of the
        whole set.
    """

    def __init__(
        self,
        metric: Metric,
        float_statistics: np.ndarray,
        sources: np.ndarray,
        tolerance: float,
        parts: Split,
        *,
        chance: float,
        distinct_outputs: int,
        baseline_statistics: np.ndarray | None = None,
        seed: int = 0,
        resamples: int = RESAMPLES,
    ):
        self.metric, self.tolerance, self.parts = metric, tolerance, parts
        self._float, self._sources, self._baseline = float_statistics, sources, baseline_statistics
        self._settings = {"distinct_outputs": distinct_outputs, "seed": seed}
        self._settings["resamples"] = resamples
        self._chance = chance
        self._searched: dict[str, NonInferiority] = {}
        self._confirmed: Confirmed | None = None

    @classmethod
    def of(
        cls,
        metric: Metric,
        reference: Scored,
        tolerance: float,
        parts: Split,
        *,
        seed: int = 0,
    ) -> Judge:
        """Of a float model's evaluation. Raises ValueError where nothing was scored."""
        if reference.chance is None:
            raise ValueError("the float model was not scored: a search for accuracy needs labels")
        return cls(
            metric,
            reference.statistics,
            reference.sources,
            tolerance,
            parts,
            chance=reference.chance,
            distinct_outputs=reference.distinct_outputs,
            baseline_statistics=reference.baseline,
            seed=seed,
        )

    @property
    def candidates(self) -> int:
        """How many were judged in the search."""
        return len(self._searched)

    def without_loss(self, part: np.ndarray) -> NonInferiority:
        """The gate on a part of the set of a candidate that answers as the float model: where this
        one does not pass, none can.
        """
        return self._gate(self._float[part], part, "given")

    def on_search(self, name: str, quantized_statistics: np.ndarray) -> NonInferiority:
        """The gate on the search part; rows (s, k) of its samples.

        Raises ValueError for other rows, and once a winner is confirmed: the search is over.
        """
        if self._confirmed is not None and name not in self._searched:
            raise ValueError(
                f"{name} cannot be searched any more: {self._confirmed.name} was confirmed; split "
                "the set anew with another seed for another search"
            )
        self._searched[name] = self._gate(quantized_statistics, self.parts.search, "search")
        return self._searched[name]

    def confirm(self, name: str, quantized_statistics: np.ndarray) -> Confirmed:
        """The gate on the confirmation part; rows (c, k) of its samples.

        Raises ValueError for other rows, for a candidate that was not searched, and for a second
        one.
        """
        if name not in self._searched:
            raise ValueError(f"{name} was not judged in the search: only its winner is confirmed")
        if self._confirmed is not None:
            if self._confirmed.name == name:
                return self._confirmed
            raise ValueError(
                f"{name} cannot be confirmed: the confirmation part was used for "
                f"{self._confirmed.name}, and to choose by it would be a search again"
            )
        gate = self._gate(quantized_statistics, self.parts.confirmation, "confirmation")
        self._confirmed = Confirmed(name, self._searched[name], gate, self.candidates)
        return self._confirmed

    def _gate(self, rows: np.ndarray, part: np.ndarray, which: str) -> NonInferiority:
        if len(rows) != len(part):
            raise ValueError(
                f"the {which} part has {len(part)} samples, the candidate's rows are of "
                f"{len(rows)}: evaluate it on that part alone"
            )
        baseline = None if self._baseline is None else self._baseline[part]
        chance = self._chance if baseline is None else float(self.metric.score(baseline))
        return non_inferiority(
            self.metric,
            self._float[part],
            rows,
            self._sources[part],
            self.tolerance,
            chance=chance,
            baseline_statistics=baseline,
            **self._settings,
        )
