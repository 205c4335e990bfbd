"""How often the winner of a search passes though it should not, with and without confirmation.

    python -m benchmarks.confirm_false_pass [--searches 200] [--candidates 5 20 100] [--only rmse]

Each simulated search has quantized models of one float model that all drop by exactly what is
allowed: whichever wins, a pass is false, and at most 5% are allowed. The winner is the one that
drops least where the search looks.

    confirmed      the search sees half of the sources, the gate is that of the other half
                   (`int8gate.analysis.confirm`)
    unconfirmed    the search sees the whole evaluation set, and the gate is that of the same set

Beside them the power of the confirmed search: its passes where all candidates drop by a quarter of
what is allowed. It ends with status 1 where a confirmed rate is above 5% beyond chance (one-sided
binomial test, p < 0.001).
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.noninferiority import ALLOWED, BEYOND_CHANCE, CHANCE
from benchmarks.simulated_pairs import Candidates, Top1
from benchmarks.simulated_values import ERROR, Values
from int8gate.analysis.confirm import Judge, Split, split_by_source

Scenario = Top1 | Values
SCENARIOS = (
    Top1(1000, 0.02, 0.02),
    Top1(4000, 0.01, 0.01),
    Top1(4000, 0.01, 0.01, symmetric=0.03),
    Top1(2000, 0.02, 0.02, cluster=5),
    Values(1000, 0.05 * ERROR, 0.05 * ERROR),
    Values(4000, 0.05 * ERROR, 0.05 * ERROR, few=True),
)


@dataclass(frozen=True)
class Rates:
    """Passes among `searches`."""

    confirmed: int
    unconfirmed: int
    searches: int


def rates(scenario: Scenario, candidates: int, searches: int) -> Rates:
    """Passes of the winner, with and without confirmation; seeded by the scenario."""
    rng = np.random.default_rng(zlib.crc32(repr((scenario, candidates)).encode()))
    confirmed = unconfirmed = 0
    for seed in range(searches):
        simulated = scenario.candidates(rng, candidates)
        confirmed += confirmed_passes(simulated, scenario, seed)
        unconfirmed += unconfirmed_passes(simulated, scenario, seed)
    return Rates(confirmed, unconfirmed, searches)


def confirmed_passes(simulated: Candidates, scenario: Scenario, seed: int) -> bool:
    parts = split_by_source(simulated.sources, seed=seed)
    winner = least_drop(simulated, parts.search)
    judge = judge_of(simulated, scenario, parts, seed)
    judge.on_search("winner", simulated.quantized[winner][parts.search])
    return judge.confirm("winner", simulated.quantized[winner][parts.confirmation]).passed


def unconfirmed_passes(simulated: Candidates, scenario: Scenario, seed: int) -> bool:
    """Searched and gated on all samples."""
    everything = np.arange(len(simulated.sources))
    winner = least_drop(simulated, everything)
    judge = judge_of(simulated, scenario, Split(everything, everything[:0]), seed)
    return judge.on_search("winner", simulated.quantized[winner]).verdict == "passed"


def least_drop(simulated: Candidates, part: np.ndarray) -> int:
    score = simulated.metric.score
    reference = score(simulated.reference[part])
    drops = [simulated.metric.drop(reference, score(of[part])) for of in simulated.quantized]
    return int(np.argmin(drops))


def judge_of(simulated: Candidates, scenario: Scenario, parts: Split, seed: int) -> Judge:
    return Judge(
        simulated.metric,
        simulated.reference,
        simulated.sources,
        scenario.tolerance,
        parts,
        chance=CHANCE.get(scenario.metric, 0.01),
        distinct_outputs=len(simulated.sources),
        seed=seed,
    )


def main() -> int:
    from scipy.stats import binomtest

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--candidates", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    start, too_high = time.monotonic(), []
    print(f"{'scenario':46} {'n':>5} {'candidates':>10}  confirmed, 95% interval   ", end="")
    print("unconfirmed   power")
    for scenario in (each for each in SCENARIOS if options.only in each.name):
        for candidates in options.candidates:
            found = rates(scenario, candidates, options.searches)
            easy = replace(scenario, drop=scenario.tolerance / 4)
            power = rates(easy, candidates, max(20, options.searches // 5))
            test = binomtest(found.confirmed, found.searches, ALLOWED, "greater")
            low, high = binomtest(found.confirmed, found.searches).proportion_ci()
            if test.pvalue < BEYOND_CHANCE:
                too_high.append(scenario.name)
            print(
                f"{scenario.name:46} {scenario.n:5} {candidates:10} "
                f"{found.confirmed / found.searches:9.1%} {low:6.1%} {high:6.1%} "
                f"{found.unconfirmed / found.searches:16.1%} "
                f"{power.confirmed / power.searches:8.1%}"
                f"{'  TOO HIGH' if scenario.name in too_high else ''}",
                flush=True,
            )
    print(f"\n{time.monotonic() - start:.0f} s")
    return bool(too_high)


if __name__ == "__main__":
    sys.exit(main())
