"""What it costs to give layers of a case other widths, as the table of a search.

    variants = Variants(run)
    meter = Meter(variants, asked)
    costs = measure_costs(meter, layers, edges, is_over=lambda: False)
    table = costs.table(layers, noise)

Each layer is given a width alone: its cost is what the whole file has more than that of all int8,
its boundaries to int8 neighbours included. Of each pair of neighbours that were measured so, both
together: what that has less than the two alone is the boundary that goes away between them. Cost is
bytes, ms that are measured on this host, or ms that a target tells, with what it leaves to the CPU.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from int8gate.analysis.attempts import FAILURES, attempt, first_line_of
from int8gate.analysis.mix_question import SIZE, MixQuestion
from int8gate.analysis.mix_table import Boundary, MixTable, Option
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe_type import INT4, INT8, WIDTHS, Recipe
from int8gate.targets.registry import HOST, find
from int8gate.validation.case_run import CaseRun
from int8gate.validation.speed import Interleaved, interleave

CONFIDENT = 1.645  # standard deviations: one-sided 95%
Wide = Mapping[str, str]  # the width of each layer that is not int8, by name


class Variants:
    """A case with layers of other widths, each made once; none of them is the case itself."""

    def __init__(self, run: CaseRun) -> None:
        self.base = run
        self._runs: dict[frozenset[tuple[str, str]], CaseRun] = {frozenset(): run}

    def of(self, wide: Wide) -> CaseRun:
        """The case of a recipe that gives these layers other widths.

        Raises ValueError where the toolchain does not take such a recipe.
        """
        key = frozenset(wide.items())
        if key not in self._runs:
            self._runs[key] = attempt(self.base, mixed_recipe(self.base.recipe, wide))
        return self._runs[key]

    def size(self, wide: Wide) -> int:
        """Bytes of the artifact; raises what making it raises."""
        return self.of(wide).built.artifact.size_bytes

    def timed(self, wide: Wide) -> Interleaved:
        """The case itself (its `float_s`) and a variant (its `quantized_s`), in turn."""
        models = [self.of(each).built.artifact.path for each in ({}, wide)]
        return self.base.in_worker(interleave, *models)

    def on_target(self, wide: Wide, target: str, core: str) -> float:
        """ms on a target, with what it leaves to the CPU; ValueError where it tells none."""
        found = self.of(wide).npu_entry(find(target), core)
        if (latency_ms := found.get("latency_ms")) is None:
            raise ValueError(
                found.get("unavailable") or f"{target} tells no latency of such a file"
            )
        return latency_ms


def mixed_recipe(base: Recipe, wide: Wide) -> Recipe:
    """The base where all is int8. Its name tells which layers are not: the same are made once."""
    if not wide:
        return base
    globs = {
        width: sorted(
            Layer(name, "", (), 0, 0, 0.0, ()).match for name in wide if wide[name] == width
        )
        for width in WIDTHS
    }
    lines = "\n".join(f"{width} {glob}" for width, of in globs.items() for glob in of)
    digest = hashlib.sha256(lines.encode()).hexdigest()[:8]
    return base.with_widths(f"{base.name.replace('+', '_')}_mix_{digest}", globs)


class Meter:
    """The cost of variants, in the unit of what is asked."""

    def __init__(self, variants: Variants, asked: MixQuestion) -> None:
        self.variants, self.asked = variants, asked
        self.is_measured = asked.objective != SIZE and asked.target == HOST
        self._int8_ms = 0.0

    @property
    def int8(self) -> float:
        """Of the case itself; raises what making its artifact raises."""
        if self.asked.objective == SIZE:
            return float(self.variants.size({}))
        if self.asked.target != HOST:
            return self._on_target({})
        return self._int8_ms

    def added(self, wide: Wide) -> float:
        """What a variant has more than all int8."""
        if self.asked.objective == SIZE:
            return self.variants.size(wide) - self.int8
        if self.asked.target != HOST:
            return self._on_target(wide) - self.int8
        timed = self.variants.timed(wide)
        self._int8_ms = self._int8_ms or float(np.median(timed.float_s)) * 1e3
        return self._int8_ms * excess(timed)

    def _on_target(self, wide: Wide) -> float:
        return self.variants.on_target(wide, self.asked.target, self.asked.core)


@dataclass
class Costs:
    """By (layer, width), of `widths`: what it adds `alone`; and by (pair, width) what goes away
    again where both layers have it (`saved`). `failed` are sentences by (layer, width).
    """

    widths: tuple[str, ...]
    alone: dict[tuple[str, str], float] = field(default_factory=dict)
    saved: dict[tuple[tuple[str, str], str], float] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)

    def table(self, layers: Sequence[Layer], noise: Mapping[tuple[str, str], float]) -> MixTable:
        """A layer that cannot have other widths stays int8; one whose noise or cost was not
        measured has its widest. `noise` is by (layer, width), int8 too; what a wider width loses
        counts as nothing where it was not measured; one that loses as much as int8 is not offered.
        """
        options = {layer.name: self._options(layer.name, noise) for layer in layers}
        boundaries = [
            Boundary(*pair, {(width, width): -saved})
            for (pair, width), saved in self.saved.items()
            if all(width in {each.width for each in options[name]} for name in pair)
        ]
        return MixTable(options, boundaries)

    def possible(self, name: str) -> list[str]:
        """The widths that a layer can have besides int8, narrowest first."""
        return [width for width in self.widths if (name, width) not in self.failed]

    def _options(self, name: str, noise: Mapping[tuple[str, str], float]) -> list[Option]:
        possible = self.possible(name)
        int8 = Option(INT8, noise.get((name, INT8), 0.0), 0.0)
        if not possible:
            return [int8]
        known = [width for width in possible if (name, width) in self.alone]
        if (name, INT8) not in noise or not known:
            widest = possible[-1] if possible[-1] != INT4 else INT8
            return [Option(widest, 0.0, self.alone.get((name, widest), 0.0))]
        narrow = [width for width in known if width == INT4 and (name, width) in noise]
        wide = [
            width for width in known if width != INT4 and noise.get((name, width), 0.0) < int8.loss
        ]

        def offered(width: str) -> Option:
            return Option(width, noise.get((name, width), 0.0), self.alone[name, width])

        return [*map(offered, narrow), int8, *map(offered, wide)]


def measure_costs(
    meter: Meter,
    layers: Sequence[Layer],
    edges: Sequence[tuple[str, str]],
    is_over: Callable[[], bool],
    progress: Callable[[str], None] = lambda line: None,
    failed: Mapping[tuple[str, str], str] | None = None,
) -> Costs:
    """Layers first, then pairs of one width; what `is_over` before it began is not measured, nor
    what is known to have `failed`.

    Raises what making the case's own artifact raises.
    """
    asked = meter.asked
    costs = Costs(asked.widths, failed=dict(failed or {}))
    _ = meter.int8
    singles = [(layer.name, width) for width in asked.widths for layer in layers]
    for number, (name, width) in enumerate(singles, 1):
        if is_over():
            return costs
        if (name, width) in costs.failed:
            continue
        progress(f"{asked.objective} with a layer in {width}, {number} of {len(singles)}: {name}")
        try:
            costs.alone[name, width] = meter.added({name: width})
        except FAILURES as error:
            costs.failed[name, width] = first_line_of(error)
    pairs = [
        (pair, width)
        for width in asked.widths
        for pair in dict.fromkeys(edges)
        if all((name, width) in costs.alone for name in pair)
    ]
    for number, (pair, width) in enumerate(pairs, 1):
        if is_over():
            return costs
        told = " and ".join(pair)
        progress(f"{asked.objective} with neighbours in {width}, {number} of {len(pairs)}: {told}")
        try:
            together = meter.added(dict.fromkeys(pair, width))
        except FAILURES:
            continue  # the search takes such a pair for two layers, and the gate judges the file
        saved = sum(costs.alone[name, width] for name in pair) - together
        costs.saved[pair, width] = max(saved, 0.0) if meter.is_measured else saved
    return costs


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
