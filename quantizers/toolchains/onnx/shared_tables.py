"""A table of embeddings that a product multiplies by, too, stored once: as the product's blocks.

ONNX Runtime's GatherBlockQuantized reads what MatMulNBits reads, packed weights, scales and zero
points, but for their axes: (outputs, bytes of all blocks) for (outputs, blocks, bytes of a block),
which a Reshape gives. The rows are bit for bit those that the product multiplies by (1.31).

In 8 bits alone. Measured on the compact LLaMA, whose output layer is its embedding, 300 windows of
prose and of code: rows in 8 bits change its perplexity by 0.05 points of a percent at most; in 4
bits they add 0.9 and 0.7 to the 4.7 and 4.9% that int4 weights cost, and 1.3 and 0.4 to GPTQ's 3.9
and 2.9. So an int4 artifact keeps its table in the float type that it came in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BITS = 8


def can_share(width: int, bits: int, block: int) -> bool:
    """Whether rows of `width` weights can be read from a product's blocks; a last block that is
    padded would give longer rows.
    """
    return bits == BITS and width % block == 0


def gather_blocks(
    graph: Any, gather: Any, blocks: tuple[str, ...], rows: int, block: int
) -> list[Any]:
    """The nodes that take the place of a Gather of a table's `rows`: `blocks` name packed weights,
    scales and zero points as MatMulNBits has them. The graph gets the constant that they read.
    """
    from onnx import helper, numpy_helper

    packed, scales, zero_points = blocks
    shape = f"{packed}_rows"
    if all(tensor.name != shape for tensor in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.array([rows, -1], np.int64), shape))
    flat = f"{gather.output[0]}_blocks"
    read = helper.make_node(
        "GatherBlockQuantized",
        [flat, gather.input[1], scales, zero_points],
        list(gather.output),
        name=f"{gather.name}_Q{BITS}",
        domain="com.microsoft",
        gather_axis=0,
        quantize_axis=1,
        block_size=block,
        bits=BITS,
    )
    return [helper.make_node("Reshape", [packed, shape], [flat], name=f"{flat}_rows"), read]


def share_tables(model: Any, weights: dict[str, np.ndarray], block: int) -> None:
    """Every Gather from a table that a product of the quantized `model` multiplies by, too, reads
    the product's blocks, in place. `weights` are the float ones (inputs, outputs) of each product's
    packed weights, by their name.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    products = {
        node.input[1]: tuple(node.input[1:4])
        for node in graph.node
        if node.op_type == "MatMulNBits" and len(node.input) > 3 and node.input[3]
    }
    nodes = []
    for node in graph.node:
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        packed = _twin(table, node, weights, products.keys(), block)
        if table is None or packed is None:
            nodes.append(node)
            continue
        nodes += gather_blocks(graph, node, products[packed], table.dims[0], block)
    del graph.node[:]
    graph.node.extend(nodes)


def _twin(table, node, weights: dict[str, np.ndarray], products, block: int) -> str | None:
    """The packed weights of the product that multiplies by the table that a Gather reads."""
    from onnx import TensorProto, helper, numpy_helper

    if table is None or table.data_type != TensorProto.FLOAT or len(table.dims) != 2:
        return None
    axis = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}.get("axis")
    if axis or not can_share(table.dims[1], BITS, block):
        return None
    values = numpy_helper.to_array(table)
    return next(
        (name for name in products if name in weights and np.array_equal(weights[name].T, values)),
        None,
    )
