"""Operators of a TFLite model that a recipe's rules leave float: found, left out, and noted.

TensorFlow's quantizer leaves an operator float whose output tensor's name it is given
(`denylisted_nodes`), weights and all, and converts at its borders; inputs and outputs of the file
keep their dtype. It knows an operator of several outputs (SPLIT, UNPACK) by no name, unless they
all have the same one (`with_one_name`): then the locations of which it makes the operator's
(`FusedLoc` of MLIR) are one.
"""

from __future__ import annotations

import re
from pathlib import Path

from int8gate.quantizers.recipe import REFERENCES
from int8gate.quantizers.recipe_type import FLOAT32, Recipe
from int8gate.runtimes.tflite_graph import Graph, Operator, opened, read_graph, written
from int8gate.runtimes.tflite_integers import with_kept


def of_widths(graph: Graph, recipe: Recipe) -> dict[str, list[Operator]]:
    """The operators of a float model that the rules give another width, by width; by the name of
    what they write.

    Raises ValueError where a rule matches none, and where nothing is left to quantize.
    """
    operators = [operator for operator in graph.operators if operator.outputs]
    names = recipe.by_width(operator.outputs[0].name for operator in operators)
    found = {
        width: [operator for operator in operators if operator.outputs[0].name in names[width]]
        for width in names
    }
    kept = found[FLOAT32]
    if kept and len(kept) == len(operators):
        raise ValueError(
            f"{recipe.name} leaves every operator of {graph.path.name} float: choose "
            f"{REFERENCES[recipe.toolchain].name}, or rules that match less"
        )
    return found


def with_one_name(model: bytes, graph: Graph, kept: list[Operator]) -> bytes:
    """The float model, where all outputs of a `kept` operator have the name of its first one."""
    several = [operator for operator in kept if len(operator.outputs) > 1]
    if not several:
        return model
    index = {id(tensor): number for number, tensor in enumerate(graph.tensors)}
    whole = opened(model)
    tensors = whole.subgraphs[0].tensors
    for operator in several:
        first, *others = (tensors[index[id(output)]] for output in operator.outputs)
        for other in others:
            other.name = first.name
    return written(whole)


def found_in(quantized: Graph, graph: Graph, kept: list[Operator]) -> dict[int, Operator]:
    """Of a file of TensorFlow's quantizer the float operators that are those `kept` of the float
    model `graph`, by their places in the file.
    """
    names = {operator.outputs[0].name for operator in graph.operators if operator.outputs}
    return {
        operator.index: each
        for operator in quantized.operators
        for each in kept
        if _is_same(operator, each, names)
    }


def note(quantized: Path, graph: Graph, kept: list[Operator]) -> list[str]:
    """Writes into the quantized file which of its operators are float because they were `kept`.

    `graph` is the float model's. Returns a sentence for the record where others of them are not:
    behind an integer operator TensorFlow's quantizer averages integers (AVERAGE_POOL_2D).
    """
    found = found_in(read_graph(quantized), graph, kept)
    quantized.write_bytes(with_kept(quantized.read_bytes(), found))
    return not_given(kept, found, "leave float")


def not_given(asked: list[Operator], found: dict[int, Operator], what: str) -> list[str]:
    """A sentence where the quantizer did not do to operators what the rules say."""
    done = {id(each) for each in found.values()}
    others = [o for o in asked if o.outputs[0].is_float and id(o) not in done]
    if not others:
        return []
    told = ", ".join(f"{operator.opcode} ({operator.outputs[0].name})" for operator in others)
    return [f"TensorFlow's quantizer did not {what} what the rules name: {told}"]


def _is_same(operator: Operator, kept: Operator, names: set[str]) -> bool:
    """The quantizer may put a number behind a name, so that it is none of the float model's."""
    if operator.opcode != kept.opcode or not operator.outputs or not operator.outputs[0].is_float:
        return False
    name, wanted = operator.outputs[0].name, kept.outputs[0].name
    if name in names:
        return name == wanted
    return re.fullmatch(re.escape(wanted) + r"\d*", name) is not None
