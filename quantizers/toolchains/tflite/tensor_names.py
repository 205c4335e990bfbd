"""Gives the inputs and outputs of a `.tflite` the names of the model that it was made from.

Converters call them `serving_default_image:0`, `StatefulPartitionedCall:1`, `output_0`; an
integrator looks for `boxes` and `scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from int8gate.runtimes.artifact import TFLITE, in_order
from int8gate.runtimes.litert import describe
from int8gate.runtimes.tflite_graph import opened, written

INNER = b"/inner"  # behind the name of another tensor that is called as an output


def name_ends(model: Path, inputs: Sequence[str], outputs: Sequence[str], directory: Path) -> dict:
    """Writes `directory`/model.tflite, the same network with these names, in the order in which
    sessions give its tensors; returns its description.

    The keys of its signature are named so, too, where their order stays: sessions sort them. Names
    that are not as many as the tensors are left out.
    """
    (directory / TFLITE).write_bytes(named(model.read_bytes(), inputs, outputs))
    return describe(directory / TFLITE)


def named(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The same `.tflite` with the names; see `name_ends`."""

    whole = opened(model)
    graph = whole.subgraphs[0]
    signature = whole.signatureDefs[0] if len(whole.signatureDefs or []) == 1 else None
    for names, tensors, entries in (
        (inputs, graph.inputs, signature and signature.inputs),
        (outputs, graph.outputs, signature and signature.outputs),
    ):
        _name(graph, list(names), list(map(int, tensors)), entries or [])
    return written(whole)


def _name(graph, names: list[str], tensors: list[int], entries: list) -> None:
    by_key = {entry.name.decode(): entry for entry in entries}
    ordered = [by_key[key] for key in in_order(by_key)]
    if sorted(entry.tensorIndex for entry in ordered) == sorted(tensors):
        tensors = [entry.tensorIndex for entry in ordered]
    else:
        ordered = []
    if len(set(names)) != len(tensors) or len(set(tensors)) != len(tensors):
        return
    wanted = {number: name.encode() for number, name in zip(tensors, names, strict=True)}
    for number, tensor in enumerate(graph.tensors):
        if number in wanted:
            tensor.name = wanted[number]
        elif tensor.name in wanted.values():
            tensor.name += INNER
    if in_order(names) == names:
        for entry, name in zip(ordered, names, strict=False):
            entry.name = name.encode()
