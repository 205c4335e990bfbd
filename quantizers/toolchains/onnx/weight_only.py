"""Weights alone as small integers, in blocks with a scale and a zero point each (MatMulNBits).

A block is `Recipe.block` weights along a matrix product's input, of one output. Activations and
sums stay float32: what is saved is memory, and the time to read it. ONNX Runtime's own quantizer
does it; it knows MatMul alone, so that a Gemm becomes one, and an Add.

Its roundings: to the nearest, or half-quadratic (HQQ; Badri and Shaji, "Half-Quadratic Quantization
of Large Machine Learning Models", 2023), which shifts a block's zero point, a float32, to make few
errors large; neither takes samples. GPTQ does (`gptq_rounding`). Measured in int4, in perplexity on
code and on prose: the compact LLaMA loses 4.4 and 4.8% to the nearest, 4.0 and 4.0 by HQQ, 2.9 and
3.5 by GPTQ; Mistral 3.7 and 4.1, 3.4 and 3.3, 2.3 and 2.6. Its k-quant (1.31) cannot pack the zero
points of a product whose input is two blocks long, "cannot reshape array of size 16 into shape
(32,newaxis)".
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from int8gate.engine.cache_entry import array_digest
from int8gate.quantizers.recipe import REFERENCES
from int8gate.quantizers.recipe_type import INT4, ROUNDED_BY_SAMPLES, Recipe
from int8gate.quantizers.toolchains.onnx import shared_tables
from int8gate.quantizers.toolchains.onnx.gptq_rounding import SUFFIXES, round_weights
from int8gate.quantizers.toolchains.onnx.graph_view import GraphView, drop_unread_constants
from int8gate.runtimes import onnx_file

STOCK = "onnxruntime.quantization.matmul_nbits_quantizer"


def quantize(
    float_model: Path, recipe: Recipe, samples: Path | None = None
) -> tuple[Any, list[str]]:
    """The model with the constant weights of its products in `recipe.weights`, int4 or int8, and
    notes for the record; `samples` are the network's inputs, of a rounding that looks at them.

    Raises ValueError where such a rounding gets no samples, or weights of another width than int4.
    """
    import onnx
    from onnxruntime.quantization import matmul_nbits_quantizer as stock

    assert recipe.block is not None
    bits = bits_of(recipe)
    model = onnx.load(str(float_model))
    _make_products(model.graph)
    if recipe.rounding == "hqq":
        config = stock.HQQWeightOnlyQuantConfig(block_size=recipe.block, bits=bits)
    else:
        config = stock_settings(bits, recipe.block)
    shares = bits == shared_tables.BITS and recipe.rounding == "nearest"
    floats = _products(GraphView(model.graph)) if shares else {}
    before = onnx.ModelProto() if recipe.rounding in ROUNDED_BY_SAMPLES else None
    if before is not None:
        if samples is None or recipe.weights != INT4:
            raise ValueError(
                f"{recipe.name} rounds {INT4} weights by samples of calibration; found "
                f"{recipe.weights} weights and {'no samples' if samples is None else 'samples'}: "
                "choose an int4 recipe without samples"
            )
        if onnx_file.weight_bytes(model) > onnx_file.LARGEST_INSIDE:
            raise ValueError(
                f"{recipe.name} runs the float network from one file, and this one has more than "
                "protobuf's 2 GiB: choose another int4 recipe"
            )
        before.CopyFrom(model)
    with _quiet():
        quantizer = stock.MatMulNBitsQuantizer(model, algo_config=config)
        quantizer.process()
    wrapped: Any = quantizer.model  # an `ONNXModel` once it is processed
    if shares:
        packed = {f"{name}_Q{bits}": array for name, array in floats.items()}
        shared_tables.share_tables(wrapped.model, packed, recipe.block)
        drop_unread_constants(wrapped.model.graph)
    notes: list[str] = []
    if before is not None and samples is not None:
        notes = round_weights(before, wrapped.model, samples, recipe.block)
    return wrapped.model, notes


def with_weights_of(float_model: Path, recipe: Recipe, other_float: Path, other: Path) -> Any:
    """The model quantized by the recipe with the rounded weights that another network's artifact
    `other` has, made by the same recipe from `other_float`: float weights are alike byte for byte.

    Raises ValueError naming a weight that the other network does not have.
    """
    import onnx

    model, _ = quantize(float_model, replace(recipe, rounding="nearest"))
    known = {digest: name for name, digest in _float_weights(other_float).items()}
    rounded = {tensor.name: tensor for tensor in onnx.load(str(other)).graph.initializer}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, digest in _float_weights(float_model).items():
        for suffix in SUFFIXES:
            mine = stored.get(f"{name}{suffix}")
            if mine is None:
                continue  # a product that is not quantized
            theirs = rounded.get(f"{known.get(digest)}{suffix}")
            if theirs is None:
                raise ValueError(
                    f"{float_model} multiplies by {name}, and {other_float} has no such weight: "
                    "export both networks from the same weights"
                )
            mine.CopyFrom(theirs)
            mine.name = f"{name}{suffix}"
    return model


def _float_weights(float_model: Path) -> dict[str, str]:
    """SHA-256 of the constant that each product multiplies by, by name, as `quantize` sees it."""
    import onnx

    model = onnx.load(str(float_model))
    _make_products(model.graph)
    return {name: array_digest(array) for name, array in _products(GraphView(model.graph)).items()}


def _products(view: GraphView) -> dict[str, np.ndarray]:
    """The constant float weights (inputs, outputs) that MatMuls multiply by, by name."""
    arrays = {
        node.input[1]: view.array(node, 1) for node in view.graph.node if node.op_type == "MatMul"
    }
    return {name: array for name, array in arrays.items() if array is not None}


def bits_of(recipe: Recipe) -> int:
    """The width of its weights: 4 of int4."""
    (bits,) = map(int, re.findall(r"\d+", recipe.weights))
    return bits


def stock_settings(bits: int, block: int) -> Any:
    """ONNX Runtime's settings: to the nearest, a zero point for each block."""
    from onnxruntime.quantization import matmul_nbits_quantizer as stock

    return stock.DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=False, bits=bits)


def quantize_rows(weights: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, ...]:
    """Blocks of `weights`, float32 (outputs, inputs): the numbers that `quantize` stores.

    Packed weights, uint8 (outputs, blocks, bytes of a block), scales, float32 (outputs, blocks),
    and zero points, uint8 (outputs, packed blocks). Outputs do not depend on each other.
    """
    from onnxruntime.quantization import matmul_nbits_quantizer as stock

    quantizer = stock.DefaultWeightOnlyQuantizer(stock_settings(bits, block))
    return quantizer.qbits_block_quant(np.ascontiguousarray(weights.T, np.float32))


def check(model, recipe: Recipe, float_model: Path) -> None:
    """Raises ValueError where nothing was quantized."""
    if not any(node.op_type == "MatMulNBits" for node in model.graph.node):
        raise ValueError(
            f"{float_model.name} holds no matrix product of constant weights, which is what "
            f"{recipe.name} quantizes: choose {REFERENCES[recipe.toolchain].name}, or a recipe "
            "for convolutions"
        )


def _make_products(graph) -> None:
    """Each Gemm of plain constant weights as MatMul and Add, in place."""
    view, nodes, turned = GraphView(graph), [], {}
    for node in graph.node:
        if _is_plain(node, view):
            nodes += _product(node, view, turned)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread_constants(graph)


def _is_plain(node, view: GraphView) -> bool:
    settings = view.settings(node)
    return (
        node.op_type == "Gemm"
        and settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0
        and not settings.get("transA")
        and view.is_float(node.input[1])
        and view.array(node, 1) is not None
    )


def _product(node, view: GraphView, turned: dict[str, str]) -> list:
    """The same as MatMul, of weights (inputs, outputs), and Add; `turned` are such by name."""
    from onnx import helper

    inputs, weights = node.input[0], node.input[1]
    if view.settings(node).get("transB"):
        values = view.array(node, 1)
        assert values is not None  # `_is_plain`
        if weights not in turned:
            turned[weights] = view.constant(f"{weights}_turned", np.ascontiguousarray(values.T))
        weights = turned[weights]
    has_bias = len(node.input) > 2 and node.input[2]
    product = view.names.new(f"{node.output[0]}_product") if has_bias else node.output[0]
    made = [helper.make_node("MatMul", [inputs, weights], [product], name=node.name)]
    if has_bias:
        name = view.names.new(f"{node.name}_bias")
        made.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=name))
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without a line for each layer."""
    logger = logging.getLogger(STOCK)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
