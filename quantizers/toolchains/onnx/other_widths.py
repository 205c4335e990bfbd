"""Nodes that a recipe's rules take out of the 8-bit graph: float32, float16, int4 weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from int8gate.quantizers.recipe_type import FLOAT16, INT4, Recipe
from int8gate.quantizers.toolchains.onnx.half_nodes import as_half, check_half
from int8gate.quantizers.toolchains.onnx.int4_nodes import as_int4, check_int4

ByWidth = Mapping[str, Collection[str]]  # names of nodes by one of `recipe.WIDTHS`
NONE: ByWidth = {}


def kept_by(recipe: Recipe, model) -> tuple[list[str], ByWidth]:
    """The nodes of a float model that multiply no integers by the recipe's rules, in their order,
    and the same by width. Raises ValueError for a rule that matches none.
    """
    found = recipe.by_width(node.name for node in model.graph.node)
    names = {name for of in found.values() for name in of}
    return list(dict.fromkeys(n.name for n in model.graph.node if n.name in names)), found


def check_widths(
    model, recipe: Recipe, widths: ByWidth, ranges: Mapping[str, tuple[float, float]]
) -> None:
    """Raises ValueError for the first node of a float model that cannot have its width."""
    check_half(model, recipe, widths.get(FLOAT16, ()), ranges)
    check_int4(model, recipe, widths.get(INT4, ()))


def give_widths(model, widths: ByWidth) -> list[str]:
    """Gives float32 nodes their widths, in place; returns the names of the casts beside them."""
    as_int4(model, widths.get(INT4, ()))
    return as_half(model, widths.get(FLOAT16, ()))
