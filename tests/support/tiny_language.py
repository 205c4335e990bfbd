"""A language model of two narrow layers and 24 tokens, and faults of its step with a cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.spec import ModelSpec

LENGTH = 24
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": LENGTH,
}


def tiny(name: str = "mistral_7b", **sizes) -> ModelSpec:
    """The zoo's model, made tiny; Mistral's window is a third of its sequences."""
    spec = model(name)
    network = spec.network("compact")
    window = {"sliding_window": LENGTH // 3} if name == "mistral_7b" else {}
    arguments = network.arguments | SIZES | window | sizes
    inputs = (Input("tokens", (LENGTH,), "int32"),)
    return replace(spec, compact=replace(network, arguments=arguments, inputs=inputs))


def one_place_off(decode: Path, target: Path) -> Path:
    """Decode as if each token stood a place later than it does."""
    return _edited(decode, target, _later)


def with_stale_cache(decode: Path, target: Path) -> Path:
    """Decode that gives the keys and values that it got, without the token's own."""
    return _edited(decode, target, _stale)


def not_finite(decode: Path, target: Path) -> Path:
    """Decode that answers NaN."""
    return _edited(decode, target, _without_numbers)


def _edited(decode: Path, target: Path, edit) -> Path:
    model_ = onnx.load(str(decode))
    edit(model_.graph)
    onnx.save(model_, str(target))
    return target


def _later(graph) -> None:
    place = graph.input[1].name
    kind = helper.tensor_dtype_to_np_dtype(graph.input[1].type.tensor_type.elem_type)
    for node in graph.node:
        node.input[:] = ["later" if name == place else name for name in node.input]
    one = numpy_helper.from_array(kind.type(1).reshape(1), "one_place")
    graph.initializer.append(one)
    graph.node.insert(0, helper.make_node("Add", [place, "one_place"], ["later"]))


def _without_numbers(graph) -> None:
    logits = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["finite_logits" if name == logits else name for name in node.output]
    graph.initializer.append(numpy_helper.from_array(np.float32([np.nan]), "nan"))
    graph.node.append(helper.make_node("Add", ["finite_logits", "nan"], [logits]))


def _stale(graph) -> None:
    for given, made in zip(graph.input[2:], graph.output[1:], strict=True):
        for node in graph.node:
            node.output[:] = [f"{n}_unread" if n == made.name else n for n in node.output]
            node.input[:] = [f"{n}_unread" if n == made.name else n for n in node.input]
        graph.node.append(helper.make_node("Identity", [given.name], [made.name]))
