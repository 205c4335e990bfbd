"""The rungs of the ladder: recipes that may help a case, from the cheapest to the dearest.

Cost is what the user pays on the target: first come those that leave the graph one of 8 bits (other
ranges, remedies, training, by the time that they take to prepare), then the worst layers in int16,
then in float, then int16 activations everywhere. What comes next depends on how those before did.
"""

from __future__ import annotations

import glob
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe import RECIPES, untrained, with_remedies
from int8gate.quantizers.recipe_type import FLOAT32, INT16, REMEDIES, Recipe
from int8gate.quantizers.toolchains.toolchain import Toolchain

QUICK = ("cle", "smooth", "bias")  # of `REMEDIES`, by the time that they take
SLOW = ("adaround",)
MOST_WIDE = 0.25  # of the layers may stay float: a mix of more is no 8-bit network
MOST_INT16 = 0.5  # may have int16: all of it stays integer
# A single layer gains nothing by int16: what it reads and gives has 8 bits where its neighbours do.
FEWEST = {INT16: 2, FLOAT32: 1}
MOST = {INT16: MOST_INT16, FLOAT32: MOST_WIDE}


@dataclass(frozen=True)
class Rung:
    """A recipe, and in words what it does differently."""

    recipe: Recipe
    what: str


def rungs(
    base: Recipe,
    toolchain: Toolchain,
    gain: Callable[[str], float | None],
    worst_layers: Callable[[], Sequence[Layer]],
    widths: Sequence[str] = (FLOAT32,),
) -> Iterator[Rung]:
    """For a calibrated recipe, one after another; single layers only in those `widths` that the
    targets take, in their order.

    `gain` says of a recipe that was tried by how much it is better than the base, None where it is
    not or was not tried; it is asked when the next rung is. `worst_layers` gives the network's
    layers, those that lose most first; it is called once, where all before has failed. A layer that
    has no form of a width is left out of its rungs.
    """
    ranges = _other_ranges(base)
    yield from ranges
    start = _best([base, *(rung.recipe for rung in ranges)], gain)
    quick = [name for name in QUICK if name in toolchain.remedies and name not in base.remedies]
    for name in quick:
        yield Rung(with_remedies(base, name), REMEDIES[name])
    together = [name for name in quick if gain(with_remedies(base, name).name) is not None]
    yield from _combined(base, start, together)
    for name in SLOW:
        if name not in toolchain.remedies or name in base.remedies:
            continue
        yield Rung(with_remedies(base, name), REMEDIES[name])
        if together:
            both = with_remedies(start, *together, name)
            yield Rung(both, " and ".join(map(_short, (*together, name))))
    yield from _trained(base, toolchain)
    taken = [width for width in widths if width in toolchain.widths]
    if taken:
        best, layers = _best([base, *_tried(base, start, together)], gain), worst_layers()
        for width in taken:
            yield from _wide(best, width, layers)
    yield from _wider_activations(base)


def _other_ranges(base: Recipe) -> list[Rung]:
    """Registered recipes that differ from the base by their ranges alone."""
    found = []
    for other in RECIPES.values():
        as_base = replace(
            other,
            name=base.name,
            summary=base.summary,
            calibration=base.calibration,
            pixel_ranges=base.pixel_ranges,
            remedies=base.remedies,
        )
        if other.name != base.name and as_base == base and other.is_calibrated:
            told = f"ranges by {other.calibration}" + ", of pixels" * other.pixel_ranges
            changed = with_remedies(other, *base.remedies) if base.remedies else other
            found.append(Rung(changed, told))
    return found


def _combined(base: Recipe, start: Recipe, remedies: list[str]) -> Iterator[Rung]:
    """Those that helped by themselves, together, and on the ranges that did."""
    told = " and ".join(map(_short, remedies))
    if len(remedies) > 1:
        yield Rung(with_remedies(base, *remedies), told)
    if start != base and remedies:
        yield Rung(with_remedies(start, *remedies), f"{told}, ranges by {start.calibration}")


def _tried(base: Recipe, start: Recipe, together: list[str]) -> list[Recipe]:
    """What the layers that stay float are added to, if it is the best."""
    singles = [with_remedies(base, name) for name in together]
    return [start, *singles, *([with_remedies(start, *together)] if together else [])]


def _best(recipes: list[Recipe], gain: Callable[[str], float | None]) -> Recipe:
    return max(recipes, key=lambda each: gain(each.name) or 0.0)


def _wide(base: Recipe, width: str, layers: Sequence[Layer]) -> Iterator[Rung]:
    most, count = max(FEWEST[width], MOST[width] * len(layers)), FEWEST[width]
    able = [layer.name for layer in layers if width in layer.widths]
    while count <= min(most, len(able)):
        globs = [glob.escape(name) for name in able[:count]]
        of_width = "wide" if width == FLOAT32 else f"{width}_"
        name = f"{base.name.replace('+', '_')}_{of_width}{count}"
        shown = ", ".join(able[: min(count, 3)]) + ", ..." * (count > 3)
        what = f"{shown} in {width}{_passed_over(layers, width, able[count - 1])}"
        yield Rung(base.with_widths(name, {width: globs}), what)
        count *= 2


def _passed_over(layers: Sequence[Layer], width: str, last: str) -> str:
    """In words: of the layers that lose more than the `last` those that have no such width."""
    worse = itertools.takewhile(lambda layer: layer.name != last, layers)
    kinds = Counter(layer.kind for layer in worse if width not in layer.widths)
    if not kinds:
        return ""
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f" (worse ones that have no {width} form stay int8: {listed})"


def _wider_activations(base: Recipe) -> Iterator[Rung]:
    for other in RECIPES.values():
        if other.toolchain == base.toolchain and other.activations == "int16":
            yield Rung(other, other.summary)


def _trained(base: Recipe, toolchain: Toolchain) -> Iterator[Rung]:
    """Quantization-aware training, which leaves the graph integer, and takes minutes."""
    for other in RECIPES.values() if toolchain.training else ():
        if other.is_trained and untrained(other).name == base.name.partition("+")[0]:
            chosen = with_remedies(other, *base.remedies) if base.remedies else other
            yield Rung(chosen, other.summary)


def _short(remedy: str) -> str:
    return REMEDIES[remedy].partition(":")[0]
