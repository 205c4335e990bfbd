"""ONNX files on disk, with the weights inside or in external data files beside them.

Protobuf cannot hold a message of 2 GiB, so that larger models keep their tensors in other files,
which `TensorProto.external_data` names relative to the model
(https://github.com/onnx/onnx/blob/main/docs/ExternalData.md).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

from int8gate.engine.file_digest import sha256_of

ARRAYS = "int8gate.arrays"  # in the metadata of a file whose inputs are arrays, not a picture
LARGEST_INSIDE = 1_500_000_000  # bytes of weights; quantizing and optimizing need room below 2 GiB
EXTERNAL_SUFFIX = ".data"
MANY_BYTES = 1024  # a smaller tensor stays in the model file: shapes, scales


def graphs_of(graph) -> Iterator:
    """The graph itself, then the subgraphs of its nodes (If, Loop, Scan), theirs too."""
    yield graph
    for node in graph.node:
        yield from graphs_within(node)


def graphs_within(node) -> Iterator:
    """The subgraphs of a node, theirs too."""
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from graphs_of(inner)


def tensors_of(graph) -> Iterator:
    """Every `TensorProto` of a graph and of its subgraphs: initializers and attributes."""
    for inner in graphs_of(graph):
        yield from inner.initializer
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def external_locations(model) -> list[str]:
    """The relative paths of a model's external data, each once, sorted."""
    stored = [tensor for tensor in tensors_of(model.graph) if tensor.data_location == 1]
    entries = [entry for tensor in stored for entry in tensor.external_data]
    return sorted({entry.value for entry in entries if entry.key == "location"})


def files_of(path: Path) -> list[Path]:
    """The model file, and the external data files it names.

    Raises ValueError for data outside of the model's own directory: whoever made the model chose
    the path.
    """
    import onnx

    path = Path(path)
    model = onnx.load(str(path), load_external_data=False)
    home = Path(os.path.realpath(path.parent))
    files = [path.parent / location for location in external_locations(model)]
    for file in files:
        if not Path(os.path.realpath(file)).is_relative_to(home):
            raise ValueError(f"{path}: its data is kept in {str(file)!r}, outside of {home}")
    return [path, *files]


def digest(path: Path) -> str:
    """SHA-256 of the model file or, with external data, of the digests of all of its files."""
    files = files_of(path)
    if len(files) == 1:
        return sha256_of(files[0])
    return hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()


def weight_bytes(model) -> int:
    """Bytes of a model's tensors, wherever they are; protobuf cannot count beyond 2 GiB."""
    from onnx import helper

    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in tensors_of(model.graph)
    )


def mark_as_arrays(model) -> None:
    """Says in a loaded model that its inputs are arrays, in a layout that is to stay."""
    mark = model.metadata_props.add()
    mark.key = mark.value = ARRAYS


def are_arrays(path: Path) -> bool:
    """Whether an ONNX file's inputs are arrays and no picture; optimizers forget that mark."""
    import onnx

    read = onnx.load(str(path), load_external_data=False)
    return any(entry.key == ARRAYS for entry in read.metadata_props)


def write(model, path: Path) -> None:
    """Writes a loaded model; the weights of a large one go to ``<name>.data`` beside it.

    A large model is emptied on its way: load it again to go on with it.
    """
    import onnx

    path = Path(path)
    if weight_bytes(model) <= LARGEST_INSIDE:
        onnx.save_model(model, str(path))
        return
    beside = path.with_name(path.name + EXTERNAL_SUFFIX)
    beside.unlink(missing_ok=True)  # onnx appends
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        location=beside.name,
        size_threshold=MANY_BYTES,
    )
