"""Where every tensor of the quantized model lies in its data file, before one of them is read.

Sizes follow from shapes: a product's weights become blocks, scales and zero points, an embedding
stays in the checkpoint's own 16 bits and is widened behind its Gather, without a loss, or is read
from the blocks of the output layer that it is tied to (in 8 bits, see `shared_tables`), all else
becomes float32. So every range of rows has its place from the start, can be written in any order,
and written again with the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from int8gate.quantizers.out_of_core.checkpoint import TIED, TIED_TO, Checkpoint, Tensor
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.onnx import shared_tables
from int8gate.quantizers.toolchains.onnx.weight_only import bits_of

ALIGNMENT = 4096  # a page: ONNX Runtime maps external data instead of reading it
UNIT_VALUES = 1 << 20  # weights that are in memory at once
BATCH_VALUES = 1 << 24  # weights between two entries of the journal
BLOCKS, AS_STORED, FLOAT32 = "blocks", "as stored", "float32"


@dataclass(frozen=True)
class Place:
    """A tensor of the data file: `dtype` as `onnx.TensorProto` has it, `dims`, bytes."""

    name: str
    dtype: int
    dims: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Entry:
    """What becomes of a checkpoint's tensor: its `form` and the places that its rows go to."""

    source: str
    rows: int
    form: str
    places: tuple[Place, ...]

    def ranges(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Offset and length in bytes of rows `first` to `last` in each of the places."""
        for place in self.places:
            row = place.nbytes // self.rows
            yield place.offset + first * row, (last - first) * row


@dataclass(frozen=True)
class Unit:
    """Rows `first` to `last` of an entry, by its position in the plan."""

    entry: int
    first: int
    last: int


@dataclass(frozen=True)
class DataPlan:
    """The data file: its entries in the order of the shards, and its size in bytes.

    `bits` and `block` say how weights of products are quantized. `batches` are what is written
    between two entries of the journal; `batch_values` is the size of most of them, in weights.
    """

    bits: int
    block: int
    entries: tuple[Entry, ...]
    nbytes: int
    batches: tuple[tuple[Unit, ...], ...] = field(repr=False)

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DataPlan:
        """What `as_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        content = json.loads(text)
        entries = [
            Entry(**{**entry, "places": tuple(_place(place) for place in entry["places"])})
            for entry in content["entries"]
        ]
        batches = tuple(tuple(Unit(**unit) for unit in batch) for batch in content["batches"])
        return cls(**{**content, "entries": tuple(entries), "batches": batches})


def plan_data(
    model: Any,
    checkpoint: Checkpoint,
    recipe: Recipe,
    location: str,
    batch_values: int = BATCH_VALUES,
) -> DataPlan:
    """Turns the graph into the quantized one, in place, and says where its tensors will lie.

    Initializers that refer to data become references into the file `location`. Raises ValueError
    for a recipe that does not quantize the weights of matrix products alone, in blocks.
    """
    check_recipe(recipe)
    assert recipe.block is not None
    graph = _GraphEdit(model, checkpoint, bits_of(recipe), recipe.block)
    graph.quantize_products()
    graph.share_tables()
    graph.widen_embeddings()
    graph.store_others()
    order = {name: position for position, name in enumerate(checkpoint.tensors)}
    entries, end = [], 0
    for entry in sorted(graph.entries, key=lambda entry: (order[entry.source], entry.form)):
        places = []
        for place in entry.places:
            start = -(-end // ALIGNMENT) * ALIGNMENT
            places.append(Place(place.name, place.dtype, place.dims, start, place.nbytes))
            end = start + place.nbytes
        entries.append(Entry(entry.source, entry.rows, entry.form, tuple(places)))
    graph.refer(entries, location)
    batches = tuple(_batches(entries, checkpoint.tensors, batch_values))
    return DataPlan(bits_of(recipe), recipe.block, tuple(entries), end, batches)


def check_recipe(recipe: Recipe) -> None:
    """Raises ValueError unless it rounds weights alone, in blocks, to the nearest."""
    is_known = recipe.block is not None and recipe.toolchain == "onnx"
    if not is_known or recipe.rounding != "nearest":
        raise ValueError(
            f"{recipe.name} does not round weights alone, in blocks, to the nearest, which can be "
            "done without the model in memory: choose onnx_weight_int8 or onnx_weight_int4"
        )


def _place(content: dict) -> Place:
    return Place(**{**content, "dims": tuple(content["dims"])})


def _batches(
    entries: Iterable[Entry], tensors: dict[str, Tensor], most: int
) -> Iterator[tuple[Unit, ...]]:
    batch, values = [], 0
    for position, entry in enumerate(entries):
        row_values = max(1, math.prod(tensors[entry.source].shape[1:]))
        step = max(1, min(UNIT_VALUES, most) // row_values)
        for first in range(0, entry.rows, step):
            last = min(first + step, entry.rows)
            batch.append(Unit(position, first, last))
            values += (last - first) * row_values
            if values >= most:
                yield tuple(batch)
                batch, values = [], 0
    if batch:
        yield tuple(batch)


class _GraphEdit:
    """The graph with its weights as they will be stored; `entries` grows with each of them.

    A weight may be read in several ways: tied embeddings are gathered from and multiplied with.
    """

    def __init__(self, model: Any, checkpoint: Checkpoint, bits: int, block: int) -> None:
        self.model, self.graph = model, model.graph
        self.tensors, self.bits, self.block = checkpoint.tensors, bits, block
        self.entries: list[Entry] = []
        self._quantized: dict[str, tuple[str, ...]] = {}  # a product's blocks by its weights
        self._shapes = {
            tensor.name: tuple(tensor.dims)
            for tensor in self.graph.initializer
            if tensor.data_location == tensor.EXTERNAL
        }

    def quantize_products(self) -> None:
        """Every MatMul with transposed weights of the checkpoint becomes a MatMulNBits."""
        from onnx import helper

        turned = {
            node.output[0]: node.input[0]
            for node in self.graph.node
            if node.op_type == "Transpose" and node.input[0] in self._shapes
        }
        quantized = self._quantized
        for node in list(self.graph.node):
            if node.op_type != "MatMul" or node.input[1] not in turned:
                continue
            weight = turned[node.input[1]]
            outputs, inputs = self._shapes[weight]
            if weight not in quantized:
                places = self._blocks(weight, outputs, inputs)
                quantized[weight] = tuple(place.name for place in places)
                self._add(weight, outputs, BLOCKS, places)
            product = helper.make_node(
                "MatMulNBits",
                [node.input[0], *quantized[weight]],
                list(node.output),
                name=f"{node.name}_Q{self.bits}",
                domain="com.microsoft",
                K=inputs,
                N=outputs,
                bits=self.bits,
                block_size=self.block,
            )
            node.CopyFrom(product)
        self._drop(lambda node: node.output[0] in turned and turned[node.output[0]] in quantized)
        self.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    def share_tables(self) -> None:
        """A Gather from weights that a product multiplies by, too, reads the product's blocks."""

        nodes = []
        for node in self.graph.node:
            name = node.input[0] if node.op_type == "Gather" else ""
            if name not in self._quantized or not shared_tables.can_share(
                self._shapes[name][1], self.bits, self.block
            ):
                nodes.append(node)
                continue
            blocks, rows = self._quantized[name], self._shapes[name][0]
            nodes += shared_tables.gather_blocks(self.graph, node, blocks, rows, self.block)
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def widen_embeddings(self) -> None:
        """Behind a Gather of 16-bit weights stands a Cast to float32."""
        from onnx import TensorProto, helper

        dtypes = {"BF16": TensorProto.BFLOAT16, "F16": TensorProto.FLOAT16}
        nodes = []
        for node in self.graph.node:
            nodes.append(node)
            if node.op_type != "Gather" or node.input[0] not in self._shapes:
                continue
            name, gathered = node.input[0], node.output[0]
            dtype = dtypes.get(self._source(name).dtype)
            if dtype is None:
                continue
            place = self._whole(f"{name}_stored", dtype, self._shapes[name], 2)
            if all(entry.places != (place,) for entry in self.entries):
                self._add(name, self._shapes[name][0], AS_STORED, [place])
            node.input[0], node.output[0] = place.name, f"{gathered}_stored"
            cast = helper.make_node(
                "Cast", [node.output[0]], [gathered], name=f"{node.name}_widened", to=1
            )
            nodes.append(cast)
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def store_others(self) -> None:
        """What nodes still read of the checkpoint becomes float32.

        Raises RuntimeError for a matrix that is not an embedding of float32: a product was missed.
        """
        read = {name for node in self.graph.node for name in node.input}
        gathered = {node.input[0] for node in self.graph.node if node.op_type == "Gather"}
        for name, shape in self._shapes.items():
            if name in read:
                if len(shape) > 1 and name not in gathered:
                    raise RuntimeError(f"{name} is read by no MatMul that could be quantized")
                place = self._whole(name, 1, shape, 4)
                self._add(name, self._source(name).rows, FLOAT32, [place])

    def refer(self, entries: Iterable[Entry], location: str) -> None:
        """Initializers of all entries, which refer to the data file."""
        from onnx import TensorProto

        inside = [tensor for tensor in self.graph.initializer if tensor.name not in self._shapes]
        read = {name for node in self.graph.node for name in node.input}
        del self.graph.initializer[:]
        self.graph.initializer.extend(tensor for tensor in inside if tensor.name in read)
        for entry in entries:
            for place in entry.places:
                tensor = self.graph.initializer.add()
                tensor.name, tensor.data_type = place.name, place.dtype
                tensor.dims.extend(place.dims)
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in (
                    ("location", location),
                    ("offset", place.offset),
                    ("length", place.nbytes),
                ):
                    tensor.external_data.add(key=key, value=str(value))

    def _blocks(self, weight: str, outputs: int, inputs: int) -> list[Place]:
        """As `onnxruntime.quantization.matmul_nbits_quantizer` stores them: packed weights
        (outputs, blocks, bytes of a block), scales (outputs, blocks) and zero points (outputs,
        packed blocks).
        """
        blocks = -(-inputs // self.block)
        packed = -(-blocks * self.bits // 8)
        return [
            self._whole(f"{weight}_Q{self.bits}", 2, (outputs, blocks, self._block_bytes()), 1),
            self._whole(f"{weight}_scales", 1, (outputs, blocks), 4),
            self._whole(f"{weight}_zero_points", 2, (outputs, packed), 1),
        ]

    def _block_bytes(self) -> int:
        return self.block * self.bits // 8

    @staticmethod
    def _whole(name: str, dtype: int, dims: tuple[int, ...], width: int) -> Place:
        return Place(name, dtype, tuple(dims), 0, math.prod(dims) * width)

    def _source(self, name: str) -> Tensor:
        if name == TIED and name not in self.tensors:
            name = TIED_TO
        return self.tensors[name]

    def _add(self, name: str, rows: int, form: str, places: Iterable[Place]) -> None:
        self.entries.append(Entry(self._source(name).name, rows, form, tuple(places)))

    def _drop(self, is_unwanted) -> None:
        wanted = [node for node in self.graph.node if not is_unwanted(node)]
        del self.graph.node[:]
        self.graph.node.extend(wanted)
