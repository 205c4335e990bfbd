"""Operators of TensorFlow that a network does not need, and that a file could do harm with.

A graph runs with the rights of whoever runs it: it can read and write files, send them away, call
Python, or end the process (https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md). Some
run while a SavedModel is loaded, or while shapes are inferred, so that a graph is searched before
TensorFlow sees it. The names are those of the operators that TensorFlow 2.21 registers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from int8gate.engine import memory

SAVING = re.compile(r"(Save|Restore)(V2|Slices?)?|MergeV2Checkpoints|Sharded.*")
HARMFUL = re.compile(
    r".*(PyFunc|File|Reader|Dataset|Iterator|Checkpoint|Restore|Rpc|Remote|SessionTensor).*"
    r"|.*(SummaryWriter|SummaryDbWriter|TRTEngine|TRTResource|Bigtable|Snapshot|DataService).*"
    r"|(Distributed|Calibration)?Save.*|.*StatisticsSaver|Write.*Summary|ImportEvent|RecordInput"
    r"|Debug(Identity|NanCount|Numeric).*|PrintV2|DumpTensor|Abort|ImmutableConst|LMDB.*"
    r"|LoadAndRemapMatrix|Skipgram|GenerateVocabRemapping|FixedUnigramCandidateSampler"
    r"|(De|En)codeProto.*|MlirPassthroughOp|_?(Host)?(Send|Recv)|.*HostCompute.*|Infeed.*|Outfeed.*|Xla(Custom)?Call.*"
)
BLOWN_UP = 2**28  # bytes of constants that a graph may hold beyond what its file stores
ITEMSIZES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 8: 8, 9: 8, 10: 1, 14: 2, 17: 2, 18: 16, 19: 2} | {
    22: 4,
    23: 8,
}  # by DataType of types.proto; others count 1


def check(where: str, graph_def) -> None:
    """Raises ValueError naming the operator and node that could do harm, or take absurd memory.

    Searched are the graph's nodes and the functions that they call.
    """
    nodes = list(reached(graph_def, graph_def.node))
    check_nodes(where, nodes)
    check_sizes(where, nodes)


def check_nodes(where: str, nodes: Iterable) -> None:
    """Raises ValueError naming the first node whose operator could do harm."""
    for node in nodes:
        if HARMFUL.fullmatch(node.op):
            raise ValueError(
                f"{where}: node {node.name[:100]!r} is a {node.op[:60]}, which touches files, "
                "other processes or Python: a graph with it is not run; export the network alone, "
                "from its picture to its outputs"
            )


def is_saving(node) -> bool:
    """Whether it may be of the saver that TensorFlow writes into every SavedModel."""
    return bool(SAVING.fullmatch(node.op))


def check_sizes(where: str, nodes: Iterable) -> None:
    """Raises ValueError where constants or placeholders declare a size that takes absurd memory."""
    total = 0
    for node in nodes:
        for name, value in node.attr.items():
            if value.WhichOneof("value") == "tensor":
                needed = _bytes(value.tensor.tensor_shape, value.tensor.dtype)
                total += max(0, needed - value.tensor.ByteSize())  # one value may stand for all
                if total > BLOWN_UP:
                    raise ValueError(
                        f"{where}: node {node.name[:100]!r} makes {memory.gib(needed)} of its "
                        f"{name}, of which the file holds next to nothing: the file is damaged or "
                        "made to fill memory"
                    )
            elif value.WhichOneof("value") == "shape" and node.op.startswith("Placeholder"):
                sides = [side.size for side in value.shape.dim]
                dtype = node.attr["dtype"].type if "dtype" in node.attr else 0
                memory.check_tensor(where, repr(node.name[:100]), sides, ITEMSIZES.get(dtype, 1))


def reached(graph_def, begin: Iterable) -> Iterator:
    """The nodes `begin`, and those of every function that they call, through others too."""
    library = {function.signature.name: function for function in graph_def.library.function}
    waiting, seen = list(begin), set()
    while waiting:
        node = waiting.pop()
        yield node
        for name in _functions_of(node) & library.keys() - seen:
            seen.add(name)
            waiting.extend(library[name].node_def)


def _functions_of(node) -> set[str]:
    """The functions that a node calls, by an attribute or as its operator."""
    found = {node.op}
    for value in node.attr.values():
        found.add(value.func.name)
        found.update(function.name for function in value.list.func)
    return found


def _bytes(shape, dtype: int) -> int:
    return memory.size_of([side.size for side in shape.dim], ITEMSIZES.get(dtype, 1))
