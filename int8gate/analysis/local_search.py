"""Greedy and evolutionary search for a mix, and the improvements that both rest on.

Neighbours of a mix are: one layer in another width; two layers in other widths, which covers the
exchange of one layer's loss for another's; a run of neighbouring layers in one width, without which
boundaries keep a region wide that pays only as a whole. A descent goes to the best neighbour until
none is better.

Neither method proves anything: how near they come is measured by `benchmarks/mixed_search.py`.
"""

from __future__ import annotations

import numpy as np

from int8gate.analysis.mix_table import MixTable
from int8gate.analysis.search_budget import Clock, Improvements

RESTARTS = 12  # of greedy, from disturbed mixes, without a gain: then it ends
POPULATION = 20
OFFSPRING = 10  # of a generation
GENERATIONS = 12  # without a gain: then it ends
LONGEST_RUN = 16  # layers that are changed together
MOST_PAIRS = 1_500_000  # of changes looked at together; of larger tables a random part
EPSILON = 1e-12  # of the cost at hand: a gain that is no rounding


def greedy(
    table: MixTable, limit: float, clock: Clock, rng: np.random.Generator, start: np.ndarray
) -> Improvements:
    """From the start, and from the cheapest mix repaired; then from disturbed ones."""
    best = start
    for first in (start, _cheapest(table), *map(table.all_in, _all_widths(table))):
        reached = yield from narrowed(table, _repaired(table, first, limit, clock), limit, clock)
        reached = _improved(table, reached, limit, clock, rng)
        if table.costs_of(reached) < table.costs_of(best):
            best = reached
            yield best
    without_gain = 0
    while without_gain < RESTARTS:
        disturbed = _repaired(table, _disturbed(table, best, rng), limit, clock)
        reached = _improved(table, disturbed, limit, clock, rng)
        without_gain += 1
        if _is_gain(table.costs_of(best) - table.costs_of(reached), table.costs_of(best)):
            best, without_gain = reached, 0
            yield best
    return False


def evolutionary(
    table: MixTable, limit: float, clock: Clock, rng: np.random.Generator, start: np.ndarray
) -> Improvements:
    """A population of feasible mixes; the worst give way to offspring that is better."""
    seeds = [start, _cheapest(table), *map(table.all_in, _all_widths(table))]
    while len(seeds) < POPULATION:
        seeds.append(_random_mix(table, rng))
    population = np.array([_repaired(table, seed, limit, clock, rng) for seed in seeds])
    costs = table.costs_of(population)
    best, improved_to = costs.min(), np.inf
    yield population[costs.argmin()].copy()
    without_gain = 0
    while without_gain < GENERATIONS:
        clock.spend()
        without_gain += 1
        for _ in range(OFFSPRING):
            child = _mutated(table, _crossed(population, costs, rng), rng)
            child = _narrowed_once(table, _repaired(table, child, limit, clock, rng), limit)
            if (population == child).all(axis=1).any():
                continue
            worst, cost = costs.argmax(), table.costs_of(child)
            if cost < costs[worst]:
                population[worst], costs[worst] = child, cost
        leader = int(costs.argmin())
        if costs[leader] < improved_to:
            population[leader] = _improved(table, population[leader], limit, clock, rng)
            improved_to = costs[leader] = table.costs_of(population[leader])
        if _is_gain(best - costs[leader], best):
            best, without_gain = costs[leader], 0
            yield population[leader].copy()
    return False


def _is_gain(gain: float, cost: float) -> bool:
    return gain > EPSILON * max(abs(cost), 1e-300)


def _all_widths(table: MixTable) -> list[str]:
    return list(dict.fromkeys(width for widths in table.widths for width in widths))


def _cheapest(table: MixTable) -> np.ndarray:
    """Each layer at its cheapest, whatever it loses."""
    return table.cost.argmin(axis=1)


def _random_mix(table: MixTable, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, table.counts)


def _changes(table: MixTable, mix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(layers, options): what the cost and the loss grow by where one layer changes; infinite
    where a layer has no such option.
    """
    rows = np.arange(len(mix))
    cost = table.cost.copy()
    if len(table.ends):
        first, second = table.ends.T
        edges = np.arange(len(table.ends))
        np.add.at(cost, first, table.boundary_cost[edges, :, mix[second]])
        np.add.at(cost, second, table.boundary_cost[edges, mix[first], :])
    return cost - cost[rows, mix][:, None], table.loss - table.loss[rows, mix][:, None]


def _repaired(
    table: MixTable,
    mix: np.ndarray,
    limit: float,
    clock: Clock,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Changes that take most loss for their cost, until the mix is within the limit.

    With `rng` by chance, the likelier the better, so that a population stays diverse.
    """
    mix = np.array(mix)
    while (over := table.losses_of(mix) - limit) > 0:
        clock.spend()
        cost, loss = _changes(table, mix)
        taken = np.minimum(-loss, over)
        helps = taken > 0
        if not helps.any():  # each layer is at its best: the sums differ by rounding alone
            return table.least_lossy
        price = np.where(helps, np.maximum(cost, 0) + EPSILON, np.inf) / np.where(helps, taken, 1)
        if rng is not None:
            price = price * rng.exponential(1.0, price.shape)
        layer, option = np.unravel_index(price.argmin(), price.shape)
        mix[layer] = option
    return mix


def narrowed(table: MixTable, mix: np.ndarray, limit: float, clock: Clock):
    """Greedy as the literature has it: the change that saves most for the loss it adds, until none
    fits. Yields each mix; returns the last.
    """
    mix = np.array(mix)
    while True:
        clock.spend()
        step = _best_ratio(table, mix, limit)
        if step is None:
            return mix
        mix = step
        yield mix.copy()


def _narrowed_once(table: MixTable, mix: np.ndarray, limit: float) -> np.ndarray:
    """`narrowed` to its end, as a part of another step."""
    while (step := _best_ratio(table, mix, limit)) is not None:
        mix = step
    return mix


def _best_ratio(table: MixTable, mix: np.ndarray, limit: float) -> np.ndarray | None:
    cost, loss = _changes(table, mix)
    room = limit - table.losses_of(mix)
    fits = (loss <= room) & (cost < -EPSILON * max(abs(table.costs_of(mix)), 1e-300))
    if not fits.any():
        return None
    least = EPSILON * max(abs(limit), 1e-300)
    saved = np.where(fits, -cost, 0) / np.where(fits, np.maximum(loss, least), 1)
    layer, option = np.unravel_index(saved.argmax(), saved.shape)
    changed = mix.copy()
    changed[layer] = option
    return changed


def _improved(
    table: MixTable, mix: np.ndarray, limit: float, clock: Clock, rng: np.random.Generator
) -> np.ndarray:
    """Down to a mix that no change of one or two layers, or of a run, makes cheaper."""
    while True:
        clock.spend()
        candidates = [_best_of_two(table, mix, limit, rng), _best_run(table, mix, limit)]
        costs = [table.costs_of(each) for each in candidates]
        before = table.costs_of(mix)
        if not _is_gain(before - min(costs), before):
            return mix
        mix = candidates[int(np.argmin(costs))]


def _best_of_two(
    table: MixTable, mix: np.ndarray, limit: float, rng: np.random.Generator
) -> np.ndarray:
    """The cheapest mix within the limit in which one or two layers changed."""
    cost, loss = _changes(table, mix)
    layers, options = np.nonzero(np.isfinite(cost))
    if len(layers) ** 2 > MOST_PAIRS:
        some = rng.choice(len(layers), int(MOST_PAIRS**0.5), replace=False)
        layers, options = layers[some], options[some]
    own_cost, own_loss = cost[layers, options], loss[layers, options]
    together = own_cost[:, None] + own_cost[None, :]
    together += _interactions(table, mix, layers, options)
    is_same = layers[:, None] == layers[None, :]
    fits = own_loss[:, None] + own_loss[None, :] <= limit - table.losses_of(mix)
    together = np.where(fits & ~is_same, together, np.inf)
    alone = np.where(own_loss <= limit - table.losses_of(mix), own_cost, np.inf)
    first, second = np.unravel_index(together.argmin(), together.shape)
    changed = mix.copy()
    if alone.min() <= together[first, second]:
        first = second = alone.argmin()
    changed[layers[first]], changed[layers[second]] = options[first], options[second]
    return changed if table.losses_of(changed) <= limit else mix


def _interactions(
    table: MixTable, mix: np.ndarray, layers: np.ndarray, options: np.ndarray
) -> np.ndarray:
    """(changes, changes): what two changes cost together beyond their sum: of layers with a
    boundary between them.
    """
    beyond = np.zeros((len(layers),) * 2)
    for (first, second), between in zip(table.ends, table.boundary_cost, strict=True):
        here, there = np.flatnonzero(layers == first), np.flatnonzero(layers == second)
        now = mix[first], mix[second]
        a, b = options[here], options[there]
        extra = between[np.ix_(a, b)] - between[a, now[1]][:, None] - between[now[0], b][None, :]
        extra = extra + between[now]
        beyond[np.ix_(here, there)] += extra
        beyond[np.ix_(there, here)] += extra.T
    return beyond


def _best_run(table: MixTable, mix: np.ndarray, limit: float) -> np.ndarray:
    """The cheapest mix within the limit in which a run of neighbours got one width."""
    count = len(mix)
    starts, lengths = np.meshgrid(np.arange(count), np.arange(2, LONGEST_RUN + 1))
    ends = starts + lengths
    starts, ends = starts[ends <= count], ends[ends <= count]
    if not len(starts):
        return mix
    places = np.arange(count)
    inside = (starts[:, None] <= places) & (places < ends[:, None])
    best, least = mix, table.costs_of(mix)
    for width in _all_widths(table):
        candidates = np.where(inside, table.all_in(width), mix)
        fits = table.losses_of(candidates) <= limit
        costs = np.where(fits, table.costs_of(candidates), np.inf)
        if costs.min() < least:
            best, least = candidates[costs.argmin()], costs.min()
    return best


def _disturbed(table: MixTable, mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few layers, or a run of them, in random widths."""
    changed, count = mix.copy(), len(mix)
    if rng.random() < 0.5:
        rows = rng.choice(count, min(count, int(rng.integers(2, 5))), replace=False)
        changed[rows] = rng.integers(0, table.counts[rows])
        return changed
    return _with_run(table, changed, rng)


def _with_run(table: MixTable, mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    first, length = rng.integers(len(mix)), rng.integers(1, min(LONGEST_RUN, len(mix)) + 1)
    widths = _all_widths(table)
    chosen = table.all_in(widths[rng.integers(len(widths))])
    mix[first : first + length] = chosen[first : first + length]
    return mix


def _crossed(population: np.ndarray, costs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One parent with a run, or single layers, of another; each the better of two."""
    parents = []
    for _ in range(2):
        some = rng.choice(len(population), 2, replace=False)
        parents.append(population[some[costs[some].argmin()]])
    count = population.shape[1]
    if rng.random() < 0.5:
        taken = rng.random(count) < 0.5
    else:
        first, last = np.sort(rng.integers(0, count + 1, 2))
        taken = (np.arange(count) >= first) & (np.arange(count) < last)
    return np.where(taken, parents[1], parents[0])


def _mutated(table: MixTable, mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    changed = np.where(rng.random(len(mix)) < 1 / len(mix), _random_mix(table, rng), mix)
    return _with_run(table, changed, rng) if rng.random() < 0.3 else changed
