"""Dynamic and integer programming: a cheapest mix that is known to be one, where they end.

Dynamic programming is the knapsack over layers with the boundaries that are open between those done
and those to come (a path decomposition): layers in the table's order; a state is the widths of the
layers that still have a neighbour ahead; of each state the front of loss against cost is kept
(Nemhauser and Ullmann 1969, Management Science 15(9)), with losses as they are, not rounded. A
chain has one layer open, a residual network two or three, so that on those it is exact, as long as
no front has more points than are kept. A longer one is thinned: of the points within a step of
loss the cheapest. It is done coarsely first, so that there is a good answer soon.

Where more than `STATES` combinations would be open, the layer whose boundaries ahead matter least
is no longer told apart: mixes that differ in it compete, and those boundaries are charged by the
width that the survivor has. From there on it approximates.
"""

from __future__ import annotations

import numpy as np

from int8gate.analysis.mix_table import MixTable
from int8gate.analysis.search_budget import Clock, Improvements

STATES = 256
POINTS = (30, 1000, 20000)  # kept of a state's front: coarsely first
TOGETHER = 600_000  # points of all states: memory
PROGRAM_S = 60.0  # longer is not waited for: the best so far is taken, as not proved
CUTS = 50  # programs solved again for a mix that is beyond the bound by the solver's tolerance
SCALE = 1000.0  # of the program's costs: the solver stops at a gap of 1e-6


def dynamic(
    table: MixTable, limit: float, clock: Clock, rng: np.random.Generator, start: np.ndarray
) -> Improvements:
    """Ever finer, until a pass keeps every front whole; it is optimal then."""
    for points in POINTS:
        mix, is_exact = _swept(table, limit, clock, points)
        if mix is not None:
            yield mix
        if is_exact:
            return True
    return False


def integer(
    table: MixTable, limit: float, clock: Clock, rng: np.random.Generator, start: np.ndarray
) -> Improvements:
    """One program; more where its answer is beyond the limit by what the solver tolerates.

    Variables: x of each layer and option, 0 or 1; y of each boundary and pair of options, whose
    sums over one end are the x of the other, so that they are products of two x.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    cost, integrality, constraints = _program(table, limit)
    cuts: list[np.ndarray] = []
    for _ in range(CUTS):
        clock.spend()
        seconds = min(max(clock.seconds_left, 0.01), PROGRAM_S)
        options = {"mip_rel_gap": 0.0, "time_limit": seconds}
        ruled_out = [LinearConstraint(cut, -np.inf, len(table.layers) - 1) for cut in cuts]
        solved = milp(
            cost,
            integrality=integrality,
            bounds=Bounds(0, 1),
            constraints=[*constraints, *ruled_out],
            options=options,
        )
        if solved.x is None:
            return False
        mix = _chosen(table, solved.x)
        if table.losses_of(mix) <= limit:
            yield mix
            return solved.status == 0
        cut = np.zeros(len(cost))
        cut[_columns(table)[np.arange(len(mix)), mix]] = 1
        cuts.append(cut)
    return False


def _columns(table: MixTable) -> np.ndarray:
    """(layers, options): the variable of each; -1 where a layer has no such option."""
    is_there = np.isfinite(table.loss)
    columns = np.full(is_there.shape, -1)
    columns[is_there] = np.arange(is_there.sum())
    return columns


def _chosen(table: MixTable, variables: np.ndarray) -> np.ndarray:
    columns = _columns(table)
    return np.where(columns >= 0, variables[columns], -1).argmax(axis=1)


def _program(table: MixTable, limit: float):
    """Costs, integrality and constraints of the program. Losses are what they are above the least
    possible, over what may be lost above it: of order 1, whatever their unit.
    """
    from scipy.optimize import LinearConstraint
    from scipy.sparse import coo_array

    columns = _columns(table)
    layer_of, option_of = np.nonzero(columns >= 0)
    count = len(layer_of)
    entries: list[tuple[int, int, float]] = [
        (int(layer), column, 1.0) for column, layer in enumerate(layer_of)
    ]
    right = [1.0] * len(table.layers)
    pair_costs: list[float] = []
    for (first, second), between in zip(table.ends, table.boundary_cost, strict=True):
        sizes = table.counts[first], table.counts[second]
        pair = count + len(pair_costs) + np.arange(sizes[0] * sizes[1]).reshape(sizes)
        pair_costs += between[: sizes[0], : sizes[1]].ravel().tolist()
        for end, of_option in ((first, pair), (second, pair.T)):
            for option, variables in enumerate(of_option):
                row = len(right)
                entries += [(row, int(variable), 1.0) for variable in variables]
                entries.append((row, int(columns[end, option]), -1.0))
                right.append(0.0)
    cost = np.concatenate([table.cost[layer_of, option_of], pair_costs])
    cost = cost * (SCALE / max(abs(cost).sum(), 1e-300))
    rows, places, values = zip(*entries, strict=True)
    equal = coo_array((values, (rows, places)), shape=(len(right), len(cost))).tocsr()
    least = table.loss.min(axis=1)
    room = limit - least.sum()
    loss = np.zeros(len(cost))
    loss[:count] = table.loss[layer_of, option_of] - least[layer_of]
    most = 1.0
    if room > table.tolerance:
        loss = np.minimum(loss / room, 2.0)  # twice the room is beyond it: numbers of like size
    else:  # nothing may be lost
        loss, most = (loss > table.tolerance).astype(float), 0.0
    integrality = (np.arange(len(cost)) < count).astype(int)
    return (
        cost,
        integrality,
        [LinearConstraint(equal, right, right), LinearConstraint(loss, 0, most)],
    )


def _swept(
    table: MixTable, limit: float, clock: Clock, points: int
) -> tuple[np.ndarray | None, bool]:
    """The cheapest mix by one pass over the layers, and whether nothing was left out.

    `held` has for each point the options of the layers that are still needed; `parents` the point
    that each came from and its option, by layer, to find the whole mix in the end.
    """
    count = len(table.layers)
    least_ahead = np.append(np.cumsum(table.loss.min(axis=1)[::-1])[::-1], 0.0)
    last_needed = _last_neighbours(table)
    loss, cost = np.zeros(1), np.zeros(1)
    held, open_layers = np.zeros((1, 0), np.int8), []
    merged: set[int] = set()
    parents: list[tuple[np.ndarray, np.ndarray]] = []
    is_exact = True
    for layer in range(count):
        clock.spend()
        options = np.arange(table.counts[layer])
        parent = np.tile(np.arange(len(loss)), len(options))
        option = np.repeat(options, len(loss))
        loss = loss[parent] + table.loss[layer, option]
        cost = cost[parent] + table.cost[layer, option]
        held = np.column_stack([held[parent], option.astype(np.int8)])
        open_layers = [*open_layers, layer]
        for (first, second), between in zip(table.ends, table.boundary_cost, strict=True):
            if second == layer:
                cost = cost + between[held[:, open_layers.index(first)], option]
        needed = [place for place, each in enumerate(open_layers) if last_needed[each] > layer]
        held, open_layers = held[:, needed], [open_layers[place] for place in needed]
        merged |= _merged(table, [each for each in open_layers if each not in merged], layer)
        is_exact &= merged.isdisjoint(open_layers)
        state = _states(table, held, open_layers, merged)
        kept = np.flatnonzero(loss + least_ahead[layer + 1] <= limit)
        kept, is_whole = _fronts(state, loss, cost, kept, points)
        is_exact &= is_whole
        loss, cost, held = loss[kept], cost[kept], held[kept]
        parents.append((parent[kept], option[kept]))
        if not len(kept):
            return None, False
    return _traced(parents, int(cost.argmin())), is_exact


def _last_neighbours(table: MixTable) -> np.ndarray:
    """(layers,): up to which layer each one's width is asked for."""
    last = np.full(len(table.layers), -1)
    np.maximum.at(last, table.ends[:, 0], table.ends[:, 1])
    return last


def _merged(table: MixTable, apart: list[int], layer: int) -> set[int]:
    """Those of the open layers whose widths are no longer told apart."""
    merged: set[int] = set()
    while np.prod([float(table.counts[each]) for each in apart]) > STATES:
        matters = [_spread_ahead(table, each, layer) for each in apart]
        merged.add(apart.pop(int(np.argmin(matters))))
    return merged


def _spread_ahead(table: MixTable, layer: int, done: int) -> float:
    """What boundaries from a layer to those ahead may cost at most."""
    ahead = (table.ends[:, 0] == layer) & (table.ends[:, 1] > done)
    return float(np.ptp(table.boundary_cost[ahead], axis=(1, 2)).sum()) if ahead.any() else 0.0


def _states(
    table: MixTable, held: np.ndarray, open_layers: list[int], merged: set[int]
) -> np.ndarray:
    """(points,): a number for each combination of the widths that are told apart."""
    state = np.zeros(len(held), np.int64)
    for place, layer in enumerate(open_layers):
        if layer not in merged:
            state = state * table.counts[layer] + held[:, place]
    return state


def _fronts(
    state: np.ndarray, loss: np.ndarray, cost: np.ndarray, kept: np.ndarray, points: int
) -> tuple[np.ndarray, bool]:
    """Of the points `kept` those that no other of their state beats in loss and cost, at most
    `points` of a state; and whether none was thinned out.
    """
    if not len(kept):
        return kept, True
    order = kept[np.lexsort((cost[kept], loss[kept], state[kept]))]
    _, group = np.unique(state[order], return_inverse=True)
    falling = cost[order] - group * (np.ptp(cost[order]) + 1.0)  # each state begins anew
    before = np.append(np.inf, np.minimum.accumulate(falling)[:-1])
    is_front = falling < before
    order, group = order[is_front], group[is_front]
    sizes = np.bincount(group)
    most = max(min(points, TOGETHER // len(sizes)), 10)
    if sizes.max() <= most:
        return order, True
    starts = np.append(0, np.cumsum(sizes)[:-1])
    lowest, highest = loss[order][starts], loss[order][np.cumsum(sizes) - 1]
    step = np.where(sizes > most, (highest - lowest) / most, 0.0)[group]
    above = loss[order] - lowest[group]
    bucket = np.where(step > 0, above / np.where(step > 0, step, 1), np.arange(len(order)))
    bucket = np.minimum(bucket.astype(np.int64), np.where(step > 0, most - 1, len(order)))
    is_last = np.append((np.diff(bucket) != 0) | (np.diff(group) != 0), True)
    return order[is_last], False


def _traced(parents: list[tuple[np.ndarray, np.ndarray]], point: int) -> np.ndarray:
    """The options of a point of the last layer, and of those that it came from."""
    mix = np.zeros(len(parents), int)
    for layer in range(len(parents) - 1, -1, -1):
        origin, option = parents[layer]
        mix[layer], point = option[point], origin[point]
    return mix
