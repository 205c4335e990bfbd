"""Operators of a TFLite model that a recipe's rules leave float: found, left out, and noted.

TensorFlow's quantizer leaves an operator float whose output tensor's name it is given
(`denylisted_nodes`), weights and all, and converts at its borders; inputs and outputs of the file
keep their dtype. It does not know operators of several outputs (SPLIT, UNPACK) by that name. These
only move values: where an integer operator stands beside them they may be moved as integers, and
amid float ones they stay float, since no tensor there has a range (`without_inner`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from int8gate.quantizers.recipe import REFERENCES, Recipe
from int8gate.quantizers.toolchains.tflite.ranges import activations
from int8gate.runtimes.tflite_graph import Graph, Operator, read_graph
from int8gate.runtimes.tflite_integers import with_kept


def left_float(graph: Graph, recipe: Recipe) -> list[Operator]:
    """The operators of a float model that the rules leave float, by the name of what they write.

    Raises ValueError where a rule matches none, and where nothing is left to quantize.
    """
    operators = [operator for operator in graph.operators if operator.outputs]
    names = set(recipe.left_float(operator.outputs[0].name for operator in operators))
    kept = [operator for operator in operators if operator.outputs[0].name in names]
    if kept and len(kept) == len(operators):
        raise ValueError(
            f"{recipe.name} leaves every operator of {graph.path.name} float: choose "
            f"{REFERENCES[recipe.toolchain].name}, or rules that match less"
        )
    return kept


def without_inner(
    ranges: Mapping[str, tuple[float, float]], model: bytes, graph: Graph, kept: list[Operator]
) -> dict[str, tuple[float, float]]:
    """The ranges, without those of tensors that `kept` operators alone write and read."""
    others = [operator for operator in graph.operators if operator not in kept]
    touched = {id(t) for operator in others for t in (*operator.inputs, *operator.outputs)}
    touched |= {id(tensor) for tensor in (*graph.inputs, *graph.outputs)}
    inner = {index for index, tensor in enumerate(graph.tensors) if id(tensor) not in touched}
    known = activations(model)
    return {name: ends for name, ends in ranges.items() if known.get(name) not in inner}


def note(quantized: Path, graph: Graph, kept: list[Operator]) -> None:
    """Writes into the quantized file which of its operators are float because they were `kept`.

    `graph` is the float model's. The quantizer may put a number behind a name.
    """
    names = {operator.outputs[0].name for operator in graph.operators if operator.outputs}
    found = [
        operator.index
        for operator in read_graph(quantized).operators
        if any(_is_same(operator, each, names) for each in kept)
    ]
    quantized.write_bytes(with_kept(quantized.read_bytes(), found))


def _is_same(operator: Operator, kept: Operator, names: set[str]) -> bool:
    if operator.opcode != kept.opcode or not operator.outputs or not operator.outputs[0].is_float:
        return False
    name, wanted = operator.outputs[0].name, kept.outputs[0].name
    if name in names:
        return name == wanted
    joined = ";".join(output.name for output in kept.outputs)
    return any(re.fullmatch(re.escape(each) + r"\d*", name) for each in (wanted, joined))
