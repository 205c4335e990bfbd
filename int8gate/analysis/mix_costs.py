"""What it costs to leave layers of a case float, measured, as the table of a search.

    variants = Variants(run)
    costs = measure_costs(variants, layers, edges, "size", is_over=lambda: False)
    table = costs.table(layers, noise)

Each layer is left float alone: its cost is what the whole file has more than that of all int8, its
boundaries to int8 neighbours included. Of each pair of neighbours that were measured so, both
together: what that has less than the two alone is the boundary that goes away between them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from int8gate.analysis.attempts import FAILURES, attempt, first_line_of
from int8gate.analysis.mix_table import Boundary, MixTable, Option
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe import Recipe
from int8gate.validation.case_run import CaseRun
from int8gate.validation.speed import Interleaved, interleave

SIZE, LATENCY = "size", "latency"
OBJECTIVES = {LATENCY: "ms", SIZE: "bytes"}  # and their units
INT8, FLOAT32 = "int8", "float32"
CONFIDENT = 1.645  # standard deviations: one-sided 95%


class Variants:
    """A case with layers left float, each variant made once; none of them is the case itself."""

    def __init__(self, run: CaseRun) -> None:
        self.base = run
        self._runs: dict[frozenset[str], CaseRun] = {frozenset(): run}

    def of(self, floats: Collection[str]) -> CaseRun:
        """The case of a recipe that leaves the layers of these names float.

        Raises ValueError where the toolchain does not take such a recipe.
        """
        names = frozenset(floats)
        if names not in self._runs:
            self._runs[names] = attempt(self.base, mixed_recipe(self.base.recipe, names))
        return self._runs[names]

    def size(self, floats: Collection[str]) -> int:
        """Bytes of the artifact; raises what making it raises."""
        return self.of(floats).built.artifact.size_bytes

    def timed(self, floats: Collection[str]) -> Interleaved:
        """The case itself (its `float_s`) and a variant (its `quantized_s`), in turn."""
        models = [self.of(each).built.artifact.path for each in ((), floats)]
        return self.base.in_worker(interleave, *models)


def mixed_recipe(base: Recipe, floats: Collection[str]) -> Recipe:
    """The base where no layer stays float. Its name tells which do: the same ones are made once."""
    if not floats:
        return base
    rules = sorted(Layer(name, "", (), 0, 0, 0.0, ()).match for name in floats)
    digest = hashlib.sha256("\n".join(rules).encode()).hexdigest()[:8]
    name = f"{base.name.replace('+', '_')}_mix_{digest}"
    return base.with_widths(name, {FLOAT32: rules})


@dataclass
class Costs:
    """In the unit of the objective: of the file of all `int8`; what each layer adds `alone`; what
    goes away again where both layers of a pair are float (`saved`). `failed` are sentences by
    layer.
    """

    objective: str
    int8: float
    alone: dict[str, float] = field(default_factory=dict)
    saved: dict[tuple[str, str], float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def table(self, layers: Sequence[Layer], noise: Mapping[str, float]) -> MixTable:
        """A layer that cannot be left float stays int8; one whose noise or cost was not measured
        stays float, which loses nothing.
        """
        options = {layer.name: self._options(layer.name, noise) for layer in layers}
        boundaries = [
            Boundary(*pair, {(FLOAT32, FLOAT32): -saved}) for pair, saved in self.saved.items()
        ]
        return MixTable(options, boundaries)

    def _options(self, name: str, noise: Mapping[str, float]) -> list[Option]:
        wide = Option(FLOAT32, 0.0, self.alone.get(name, 0.0))
        if name in self.failed:
            return [Option(INT8, noise.get(name, 0.0), 0.0)]
        if name not in noise or name not in self.alone:
            return [wide]
        return [Option(INT8, noise[name], 0.0), wide]


def measure_costs(
    variants: Variants,
    layers: Sequence[Layer],
    edges: Sequence[tuple[str, str]],
    objective: str,
    is_over: Callable[[], bool],
    progress: Callable[[str], None] = lambda line: None,
) -> Costs:
    """Layers first, then pairs; what `is_over` before it began is not measured.

    Raises what making the case's own artifact raises.
    """
    costs = Costs(objective, float(variants.size(())) if objective == SIZE else 0.0)
    names = [layer.name for layer in layers]
    for number, name in enumerate(names, 1):
        if is_over():
            return costs
        progress(f"{objective} with a layer in float32, {number} of {len(names)}: {name}")
        try:
            costs.alone[name] = _added(variants, (name,), costs)
        except FAILURES as error:
            costs.failed[name] = first_line_of(error)
    pairs = [pair for pair in dict.fromkeys(edges) if set(pair) <= costs.alone.keys()]
    for number, pair in enumerate(pairs, 1):
        if is_over():
            return costs
        told = " and ".join(pair)
        progress(f"{objective} with neighbours in float32, {number} of {len(pairs)}: {told}")
        try:
            together = _added(variants, pair, costs)
        except FAILURES:
            continue  # the search takes such a pair for two layers, and the gate judges the file
        saved = sum(costs.alone[name] for name in pair) - together
        costs.saved[pair] = saved if objective == SIZE else max(saved, 0.0)
    return costs


def _added(variants: Variants, floats: Collection[str], costs: Costs) -> float:
    """What a variant has more than all int8, in bytes or ms."""
    if costs.objective == SIZE:
        return variants.size(floats) - costs.int8
    timed = variants.timed(floats)
    costs.int8 = costs.int8 or float(np.median(timed.float_s)) * 1e3
    return costs.int8 * excess(timed)


def excess(timed: Interleaved) -> float:
    """By how much of its time the second takes longer than the first: the median round by round.

    It counts as faster by what is certain (95%, by the order of the rounds): of many layers one
    always seems to be so.
    """
    ratios = np.sort(timed.quantized_s / timed.float_s)
    middle = float(np.median(ratios))
    if middle >= 1:
        return middle - 1
    rank = math.ceil(len(ratios) / 2 + CONFIDENT * math.sqrt(len(ratios)) / 2)
    return min(float(ratios[min(rank, len(ratios) - 1)]), 1.0) - 1
