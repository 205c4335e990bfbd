"""How often the non-inferiority test passes a model that it should not, and one that it should.

    python -m benchmarks.noninferiority [--simulations 4000] [--only "mean_iou"]

Pairs of float and quantized outputs are simulated with a known true drop. At a drop equal to the
tolerance every pass is false, and at most 5% are allowed; at a drop of 0 passes are the power.
The percentile bootstrap beside it, from fewer simulations, shows how hard a scenario is.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from validation.metrics import Metric, metric
from validation.statistics import CONFIDENCE, RESAMPLES, non_inferiority

ACCURACY = 0.85  # of the simulated float classifier
NAIVE_SIMULATIONS = 200
ICC = 0.5  # share of sources whose samples all behave alike


@dataclass(frozen=True)
class Pairs:
    """One simulated evaluation: rows (n, k) of both models and source ids (n,)."""

    metric: Metric
    reference: np.ndarray
    quantized: np.ndarray
    sources: np.ndarray

    def passes(self, tolerance: float, seed: int) -> bool:
        result = non_inferiority(
            self.metric,
            self.reference,
            self.quantized,
            self.sources,
            tolerance,
            chance=0.1,
            distinct_outputs=len(self.sources),
            seed=seed,
        )
        return result.verdict == "passed"

    def percentile_passes(self, tolerance: float, rng: np.random.Generator) -> bool:
        """The naive test: percentile bootstrap over whole sources."""
        sums = np.zeros((self.sources.max() + 1, 2 * self.reference.shape[1]))
        np.add.at(sums, self.sources, np.hstack([self.reference, self.quantized]))
        rows, counts = np.unique(sums, axis=0, return_counts=True)
        weights = rng.multinomial(len(sums), counts / len(sums), size=RESAMPLES).astype(float)
        reference, quantized = np.split(rows, 2, axis=1)
        drops = self.metric.score(reference, weights) - self.metric.score(quantized, weights)
        return bool(np.quantile(drops, CONFIDENCE) <= tolerance)


@dataclass(frozen=True)
class Top1:
    """A classifier: `symmetric` samples flip both ways in equal parts, and `drop` more are lost.

    Sources hold `cluster` samples; in a mixed scenario 1 to `cluster`, and the losses fall on
    sources by their size.
    """

    n: int
    tolerance: float
    symmetric: float
    drop: float
    cluster: int = 1
    mixed: bool = False

    @property
    def name(self) -> str:
        sizes = f"1..{self.cluster}" if self.mixed else str(self.cluster)
        return f"top1 symmetric={self.symmetric:.1%} cluster={sizes}"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        if self.mixed:
            sizes = rng.integers(1, self.cluster + 1, size=2 * self.n // (self.cluster + 1))
        else:
            sizes = np.full(self.n // self.cluster, self.cluster)
        sources = np.repeat(np.arange(len(sizes)), sizes)
        # Larger sources lose more, with the loss of an average sample kept.
        mean_square = (2 * self.cluster + 1) / 3 if self.mixed else self.cluster
        lost = self.drop * sizes / mean_square + self.symmetric / 2
        own, shared = rng.random(len(sources)), rng.random(len(sizes))[sources]
        draw = np.where(rng.random(len(sizes))[sources] < ICC, shared, own)
        loss = draw < lost[sources]
        gain = draw > 1 - self.symmetric / 2
        right = rng.random(len(sources)) < ACCURACY
        reference = loss | (right & ~gain)
        quantized = gain | (right & ~loss)
        ones = np.ones(len(sources))
        return Pairs(
            metric("top1"),
            np.stack([reference, ones], axis=1).astype(float),
            np.stack([quantized, ones], axis=1).astype(float),
            sources,
        )


@dataclass(frozen=True)
class MeanIou:
    """A segmenter that loses a share of the intersection of each class in an image.

    A `failure` share of the classes in an image (or of `whole` images) loses everything, the
    others lose by noise around what brings the expected loss of mIoU to `drop`.
    """

    n: int
    tolerance: float
    drop: float
    failure: float
    whole: bool = False
    presence: float = 0.5
    noise: float = 0.02
    classes: int = 5

    @property
    def name(self) -> str:
        what = "images" if self.whole else "classes"
        return f"mean_iou failure={self.failure:.1%} {what} presence={self.presence:.0%}"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        shape = (self.n, self.classes)
        union = rng.gamma(2.0, 50.0, shape) * (rng.random(shape) < self.presence)
        reference = union * rng.beta(18, 2, shape)  # of mean 0.9
        # The union stays, so the expected loss of every class's IoU is 0.9 * mean share.
        mean = self.drop / 0.9
        share = rng.normal((mean - self.failure) / (1 - self.failure), self.noise, shape)
        failed = rng.random((self.n, 1 if self.whole else self.classes)) < self.failure
        share = np.where(failed, 1.0, share)
        quantized = reference * (1 - share)
        return Pairs(
            metric("mean_iou"),
            np.hstack([reference, union]),
            np.hstack([quantized, union]),
            np.arange(self.n),
        )


def at_the_margin() -> Iterator[Top1 | MeanIou]:
    """Scenarios whose true drop is the tolerance."""
    for n in (300, 1000, 2000, 4000):
        for tolerance in (0.005, 0.01, 0.02):
            for symmetric in (0.0, 0.01, 0.03):
                yield Top1(n, tolerance, symmetric, drop=tolerance)
    for n in (1000, 4000):
        for tolerance in (0.01, 0.02):
            for cluster, mixed in ((3, False), (10, False), (10, True)):
                yield Top1(n, tolerance, 0.01, drop=tolerance, cluster=cluster, mixed=mixed)
    yield MeanIou(300, 0.02, 0.02, failure=0.0)
    yield MeanIou(300, 0.02, 0.02, failure=0.02)
    yield MeanIou(300, 0.02, 0.02, failure=0.02, presence=0.1)
    yield MeanIou(300, 0.02, 0.02, failure=0.02, whole=True)
    yield MeanIou(1000, 0.02, 0.02, failure=0.02)
    yield MeanIou(1000, 0.02, 0.02, failure=0.02, presence=0.1)
    yield MeanIou(1000, 0.02, 0.02, failure=0.01, whole=True)


def without_drop() -> Iterator[Top1 | MeanIou]:
    """Scenarios whose true drop is 0."""
    for n in (300, 500, 1000, 2000, 4000):
        for tolerance in (0.005, 0.01, 0.02):
            yield Top1(n, tolerance, 0.01, drop=0.0)
    for cluster in (3, 10):
        yield Top1(2000, 0.01, 0.01, drop=0.0, cluster=cluster)
    for n in (300, 500):
        yield MeanIou(n, 0.01, 0.0, failure=0.0)


def passes(scenario: Top1 | MeanIou, simulations: int, *, naive: bool = False) -> int:
    """How many simulations pass, in our test or in the naive one; seeded by the scenario."""
    rng = np.random.default_rng(zlib.crc32(repr(scenario).encode()))
    count = 0
    for seed in range(simulations):
        pairs = scenario.simulate(rng)
        if naive:
            count += pairs.percentile_passes(scenario.tolerance, np.random.default_rng(seed))
        else:
            count += pairs.passes(scenario.tolerance, seed)
    return count


def report(title: str, scenarios: Iterator[Top1 | MeanIou], simulations: int, only: str) -> None:
    from scipy.stats import binomtest

    print(f"\n{title}, {simulations} simulations each")
    print(f"{'scenario':48} {'n':>5} {'tolerance':>9} {'passed':>8}  95% interval      percentile")
    for scenario in scenarios:
        if only not in scenario.name:
            continue
        ours = passes(scenario, simulations)
        naive = passes(scenario, NAIVE_SIMULATIONS, naive=True) / NAIVE_SIMULATIONS
        low, high = binomtest(ours, simulations).proportion_ci()
        print(
            f"{scenario.name:48} {scenario.n:5} {scenario.tolerance:9.1%} {ours / simulations:8.2%}"
            f"  {low:7.2%} {high:7.2%}  {naive:10.1%}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    report("False passes at the margin", at_the_margin(), options.simulations, options.only)
    report("Power at no drop", without_drop(), options.simulations, options.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
