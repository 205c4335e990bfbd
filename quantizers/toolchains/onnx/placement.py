"""Which nodes of a float ONNX graph compute with integers, which stay float, which move integers.

Convolutions and matrix products are integer always. What lies between them falls into islands:
nodes joined by tensors without crossing a product. An island that holds a normalization, a softmax
or an error function belongs to a transformer's token stream, whose residual sums have a few
outliers that take the whole range (Bondarenko et al., 2021, arXiv:2109.12948): it stays float as a
whole. A normalization that is written out, as JAX does, is known by its Sqrt: a small deviation is
zero in 8 bits, and dividing by it infinite. An island with a sine or cosine stays float as well:
its argument is a time step or a place, and a step of 8 bits over 0..1000 is more than half a turn.
A regression head stays float, too, several products in a row between a token stream and an output
(DETR's boxes): coordinates that are rounded at every layer cost accuracy (1.5% of mAP against 0.5%
in the zoo's DETR), and its products are few. Every other island, a CNN's sums, concatenations and
poolings, is integer, so that the graph is integer from end to end. A transposed convolution has no
integer kernel in ONNX Runtime: its weights are int8 and it computes on floats; with float weights
it would get int8 ones of a single scale when it is loaded.

What a recipe's rules leave float (`kept`) is taken out of that in the end, and nothing else
changes: a tensor has 8 bits wherever an integer operator reads or writes it. What has 8 bits loses
nothing by a Relu or Clip, which the operator before takes in, nor where it is only moved: such a
node goes with the integer one before it, and a Relu or Clip with the float one that it alone reads.

What is concatenated and read by nothing else takes the scale of the result (`concatenated_scales`).

Operators that only move values do so on the integers themselves (`move_integers`). ONNX Runtime
takes the Q/DQ pairs from around a Reshape or a Transpose and leaves those around others, which then
move floats. Between a DQ and Qs of the same scale they get what the DQ reads, and give what the Q
gave: the values are the same, bit for bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from int8gate.runtimes.onnx_graph import islands
from int8gate.runtimes.onnx_integer_forms import has_integer_form

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = (*CONVOLUTIONS, "Gemm", "MatMul")
FLOAT_MAKES = frozenset(
    {
        *("LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"),
        *("RMSNormalization", "GroupNormalization", "InstanceNormalization"),
        *("LpNormalization", "Softmax", "LogSoftmax", "Erf", "Gelu", "FastGelu", "QuickGelu"),
        "Sqrt",
    }
)
PERIODIC = ("Sin", "Cos")
ONE_TO_ONE = frozenset(  # operators of one activation, as they stand between a head's products
    {
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Clip", "Sigmoid", "Tanh", "HardSigmoid"),
        *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"),
    }
)

WITHOUT_LOSS = frozenset(  # on 8 bits, whichever they are
    {
        *("Relu", "Clip", "MaxPool", "Split", "Slice", "Transpose", "Reshape", "Flatten"),
        *("Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth", "Gather", "Tile", "Expand"),
    }
)
ACTIVATIONS = ("Relu", "Clip")  # taken in by the operator before
MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")  # all values, in their scale
MOVED_AS_FLOATS = ("Pad", "Tile", "Expand", "DepthToSpace", "SpaceToDepth")


@dataclass(frozen=True)
class Placement:
    """Names of the nodes that are quantized, and of those among them with a float output.

    `regression_heads` are the matrix products that stay float on purpose, `by_recipe` the nodes
    that a recipe's rules leave float.
    """

    integer: tuple[str, ...]
    float_output: frozenset[str]
    regression_heads: tuple[str, ...]
    by_recipe: tuple[str, ...]


def place(model, kept: Collection[str] = ()) -> Placement:
    """Where integers go in a prepared float model (`prepare`); `kept` nodes stay float."""
    return placing(model)(kept)


def placing(model) -> Callable[[Collection[str]], Placement]:
    """`place` of a model for any `kept` nodes: what does not depend on them is found once."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    floats = _float_tensors(graph)
    products = {node.name for node in graph.node if is_product(node, constants)}
    heads = _regression_heads(graph, products, *_islands(graph, products, constants, floats))
    products -= heads  # and so they belong to the token stream that they read
    islands, token_streams = _islands(graph, products, constants, floats)
    periodic = {islands[node.name] for node in graph.node if node.op_type in PERIODIC}
    between = {
        node.name
        for node in graph.node
        if has_integer_form(node, constants)
        and islands.get(node.name) not in token_streams | periodic
        and any(name in floats and name not in constants for name in node.input)
    }

    def placed(kept: Collection[str]) -> Placement:
        integer = _without(kept, products | between, graph)
        stay = frozenset(kept).union(activations_of(kept, graph) & (products | between)) - integer
        return Placement(
            tuple(node.name for node in graph.node if node.name in integer),
            frozenset(_with_float_output(graph, products - stay, integer, islands, token_streams)),
            tuple(node.name for node in graph.node if node.name in heads - stay),
            tuple(node.name for node in graph.node if node.name in stay),
        )

    return placed


def _without(kept: Collection[str], integer: set[str], graph) -> set[str]:
    """The integer nodes without those kept float, but for what goes with an integer one.

    An activation that alone reads a kept node stays float with it: it would only be rounded twice.
    """
    rest = integer.difference(kept) - activations_of(kept, graph)
    makes = {name for node in graph.node if node.name in rest for name in node.output}
    for node in graph.node:  # in their order
        if node.op_type in WITHOUT_LOSS and node.name in integer and node.input[0] in makes:
            rest.add(node.name)
            makes.update(node.output)
    return rest


def activations_of(nodes: Collection[str], graph) -> set[str]:
    """Names of each Relu and Clip that alone reads what a node of these names gives."""
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    ends, chosen = {info.name for info in graph.output}, set(nodes)
    return {
        readers[name][0].name
        for node in graph.node
        if node.name in chosen
        for name in node.output
        if len(readers[name]) == 1 and name not in ends
        if readers[name][0].op_type in ACTIVATIONS and readers[name][0].input[0] == name
    }


def is_product(node, constants: dict) -> bool:
    """A convolution or matrix product that can be quantized: its weights are constant.

    The products of attention have none. Stacks of constant matrices stay float: the stock quantizer
    takes their scales along the wrong axis.
    """
    if node.op_type == "MatMul":
        return node.input[1] not in constants or len(constants[node.input[1]].dims) == 2
    return node.op_type in PRODUCTS and node.input[1] in constants


def constant_left_operands(graph) -> set[str]:
    """Constants that a matrix product multiplies by an activation, such as learned queries."""
    constants = {tensor.name for tensor in graph.initializer}
    return {
        node.input[0]
        for node in graph.node
        if node.op_type == "MatMul" and node.input[0] in constants
    }


def concatenated_scales(graph, placement: Placement) -> dict[str, str]:
    """For each tensor that ends in one integer concatenation alone, that one's result.

    It is rounded to the result's scale in any case, and to a scale of its own before would be once
    more. Not so where a Relu or Clip gives it, which an operator takes in as the range that it has:
    but a Relu, where all that is concatenated are such.
    """
    readers, producer = defaultdict(list), {}
    for node in graph.node:
        producer |= dict.fromkeys(node.output, node)
        for name in node.input:
            readers[name].append(node)
    integer = set(placement.integer)
    ends = {info.name for info in graph.output}

    def source_of(name: str) -> str:
        node = producer.get(name)
        while node is not None and node.op_type in MOVES and node.name in integer:
            name = node.input[0]
            node = producer.get(name)
        return name

    def ends_in(name: str, concat) -> bool:
        """Whether all that reads a tensor, moved or not, is that node."""
        if name in ends or not readers[name]:
            return False
        return all(
            reader is concat
            or (
                (reader.op_type in MOVES and reader.name in integer and reader.input[0] == name)
                and all(ends_in(moved, concat) for moved in reader.output)
            )
            for reader in readers[name]
        )

    found: dict[str, str] = {}
    for node in reversed(graph.node):
        if node.op_type != "Concat" or node.name not in integer:
            continue
        sources = [source_of(name) for name in node.input]
        given_by = [producer[name].op_type if name in producer else "" for name in sources]
        are_relus = set(given_by) == {"Relu"}
        for name, kind in zip(sources, given_by, strict=True):
            is_free = kind in ("Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "LeakyRelu")
            if (is_free or are_relus) and ends_in(name, node):
                found[name] = found.get(node.output[0], node.output[0])
    return found


def _float_tensors(graph) -> set[str]:
    from onnx import TensorProto

    infos = (*graph.value_info, *graph.input, *graph.output)
    kind = {info.name: info.type.tensor_type.elem_type for info in infos}
    kind |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name for name, found in kind.items() if found == TensorProto.FLOAT}


def _islands(graph, products: set[str], constants: dict, floats: set[str]) -> tuple[dict, set]:
    """For each node that is no product the root of its island (nodes joined by float tensors), and
    the roots of the islands that are token streams.
    """
    names = {node.name for node in graph.node} - products
    touching = defaultdict(list)
    for node in graph.node:
        if node.name in names:
            for tensor in (*node.input, *node.output):
                if tensor in floats and tensor not in constants:
                    touching[tensor].append(node.name)
    island = islands(names, touching.values())
    streams = {island[node.name] for node in graph.node if node.op_type in FLOAT_MAKES}
    return island, streams


def _regression_heads(graph, products: set[str], islands: dict, token_streams: set) -> set[str]:
    """The products of every row of them that leads from a token stream to an output."""
    producer = {name: node for node in graph.node for name in node.output}
    found = set()
    for output in graph.output:
        row, node = [], producer.get(output.name)
        while node is not None and islands.get(node.name) not in token_streams:
            if node.name in products and node.op_type not in CONVOLUTIONS:
                row.append(node.name)
            elif node.op_type not in ONE_TO_ONE:
                break
            node = producer.get(node.input[0])
        else:
            if node is not None and len(row) > 1:
                found.update(row)
    return found


def _with_float_output(graph, products, integer, islands, token_streams) -> set[str]:
    """Matrix products that feed float nodes alone: their int32 sums become floats at once.

    Rounding them to 8 bits first would cost accuracy and time. A convolution has no such kernel.
    """
    consumers = defaultdict(list)
    producer = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node.name)
    outputs = {output.name for output in graph.output}
    found = set()
    for node in graph.node:
        if node.name not in products or node.op_type in CONVOLUTIONS:
            continue
        (result,) = node.output
        if any(name in integer for name in consumers[result]):
            continue
        source = producer.get(node.input[0])
        from_float = source is not None and islands.get(source.name) in token_streams
        if consumers[result] or (result in outputs and from_float):
            found.add(node.name)
    return found


def move_integers(graph) -> None:
    """Moves integers where floats would be moved, in place; a padding of zeros is the zero point.

    Nodes may be out of order afterwards.
    """
    producer = {name: node for node in graph.node for name in node.output}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    outputs = {info.name for info in graph.output}
    for node in list(graph.node):
        if node.op_type not in MOVED_AS_FLOATS or node.output[0] in outputs:
            continue
        before, after = producer.get(node.input[0]), readers[node.output[0]]
        if before is None or before.op_type != "DequantizeLinear" or not after:
            continue
        if any(q.op_type != "QuantizeLinear" or q.input[1:] != before.input[1:] for q in after):
            continue
        if node.op_type == "Pad" and not _pad_with(node, before.input[2]):
            continue
        node.input[0], node.output[0] = before.input[0], after[0].output[0]
        for quantizer in after:
            for reader in readers[quantizer.output[0]]:
                for place, name in enumerate(reader.input):
                    if name == quantizer.output[0]:
                        reader.input[place] = node.output[0]
            graph.node.remove(quantizer)
        producer[node.output[0]] = node


def _pad_with(node, zero_point: str) -> bool:
    """Makes the zero point what a Pad puts around a map; False where that is another number."""
    if len(node.input) > 2 and node.input[2]:
        return False
    modes = [entry.s for entry in node.attribute if entry.name == "mode"]
    if modes in ([], [b"constant"]):
        axes = list(node.input[3:])
        del node.input[2:]
        node.input.extend([zero_point, *axes])
    return True
