"""How near the search methods of `int8gate.analysis.search` come to the cheapest mix.

    python -m benchmarks.mixed_search [--tables 200] [--large 54 150] [--seconds 20]

Seeded random tables (`random_table`): chains with boundary costs and a few connections that skip
layers, losses over several orders of magnitude, two to four widths. Small ones, of at most 16
layers, are held against exhaustive search, larger ones against integer programming. `plain` is
greedy as the literature has it: the change that saves most for the loss it adds, until none fits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise, product

import numpy as np

from int8gate.analysis.local_search import narrowed
from int8gate.analysis.mix_table import Boundary, MixTable, Option
from int8gate.analysis.search import METHODS, search
from int8gate.analysis.search_budget import NO_LIMIT, Budget, Clock

WIDTHS = ("int8", "int16", "float16", "float32")
MOST_LAYERS = {2: 16, 3: 10, 4: 8}  # by the number of widths: at most 65,536 mixes


def random_table(seed: int, layers: int | None = None) -> tuple[MixTable, float]:
    """A table and a bound between nothing and what all layers lose in their narrowest width."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 5))
    layers = layers or int(rng.integers(1, MOST_LAYERS[count] + 1))
    names, options = [f"layer{number}" for number in range(layers)], {}
    for name in names:
        scale, size = 10 ** rng.uniform(-5, -2), 10 ** rng.uniform(0, 2)
        losses = scale * np.sort(10 ** -rng.uniform(0, 4, count))[::-1]
        losses[-1] = 0
        costs = size * np.sort(rng.uniform(0.2, 1, count))
        options[name] = [Option(*of) for of in zip(WIDTHS, losses, costs, strict=False)]
    ends = list(pairwise(names))
    for _ in range(int(rng.integers(0, 3)) if layers > 3 else 0):
        first = int(rng.integers(0, layers - 2))
        ends.append((names[first], names[int(rng.integers(first + 2, min(first + 5, layers)))]))
    boundaries = [Boundary(*pair, float(10 ** rng.uniform(-1, 1.5))) for pair in ends]
    table = MixTable(options, boundaries)
    narrowest = table.losses_of(np.zeros(layers, int))
    return table, float(narrowest * rng.uniform(0.001, 0.6))


def exhaustive(table: MixTable, bound: float) -> float:
    """The least cost of all mixes within the bound."""
    mixes = np.array(list(product(*map(range, table.counts))))
    fits = table.losses_of(mixes) <= bound + table.tolerance
    return float(table.costs_of(mixes[fits]).min())


def plain_greedy(table: MixTable, bound: float) -> float:
    """The cost that greedy alone reaches from the widest mix."""
    steps = narrowed(table, table.widest, bound + table.tolerance, Clock(NO_LIMIT))
    *_, mix = table.widest, *steps
    return float(table.costs_of(mix))


def report(title: str, gaps: dict[str, list[float]], seconds: dict[str, list[float]]) -> None:
    print(f"\n{title}\n{'method':14} {'tables':>6} {'worst gap':>10} {'mean gap':>9} ", end="")
    print(f"{'over 1%':>8} {'mean s':>8} {'worst s':>8}")
    for name, of in gaps.items():
        took = seconds.get(name) or [float("nan")]
        print(
            f"{name:14} {len(of):6} {max(of):10.3%} {np.mean(of):9.3%} "
            f"{sum(gap > 0.01 for gap in of):8} {np.mean(took):8.3f} {max(took):8.3f}",
            flush=True,
        )


def compare(
    tables: list[tuple[MixTable, float]],
    least: Callable[[MixTable, float], float],
    methods: list[str],
    budget: Budget,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Relative gaps to `least`, and seconds, by method."""
    gaps: dict[str, list[float]] = {name: [] for name in ("plain", *methods)}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for seed, (table, bound) in enumerate(tables):
        best = least(table, bound)
        gaps["plain"].append(plain_greedy(table, bound) / best - 1)
        for method in methods:
            found = search(table, bound, method=method, seed=seed, budget=budget)
            assert found.loss <= bound + table.tolerance
            gaps[method].append(found.cost / best - 1)
            seconds[method].append(found.seconds)
    return gaps, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=200, help="small ones")
    parser.add_argument("--large", type=int, nargs="*", default=[54, 150], help="layers")
    parser.add_argument("--seconds", type=float, default=20, help="budget of a large search")
    options = parser.parse_args()
    small = [random_table(seed) for seed in range(options.tables)]
    figures = compare(small, exhaustive, list(METHODS), NO_LIMIT)
    report("at most 16 layers, against exhaustive search", *figures)
    budget = Budget(seconds=options.seconds)
    for layers in options.large:
        tables = [random_table(seed, layers) for seed in range(3)]
        results = [search(*each, method="integer", budget=budget) for each in tables]
        costs = iter([found.cost for found in results])
        others = [name for name in METHODS if name != "integer"]
        figures = compare(tables, lambda table, bound, costs=costs: next(costs), others, budget)
        proved = sum(found.is_optimal for found in results)
        took = max(found.seconds for found in results)
        title = f"{layers} layers, against integer programming (optimal in {proved} of 3"
        report(f"{title}, at most {took:.1f} s)", *figures)


if __name__ == "__main__":
    main()
