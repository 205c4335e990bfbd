"""Reading an ONNX file that somebody else made: what it is, whether it is whole, what it asks for.

Nothing of it is believed. Its weights may lie outside (external data), and the paths it names may
lead anywhere; its operators may be of nobody's. The memory and the nodes that it asks for are
counted before anything of it is allocated or run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.engine import memory
from int8gate.model_zoo.importers.onnx.qdq.openvino_pairs import to_pairs
from int8gate.model_zoo.importers.onnx.structure import (
    SMALL,
    fixed_shape,
    inferred,
    plainly,
    sort_nodes,
)
from int8gate.runtimes import onnx_file

MOST_NODES = 10**6  # of a model whose functions are written out
WIDEST = 8  # times the bytes that a packed tensor takes in the file (4 bits to 4 bytes)

LARGEST = 2**31  # protobuf's limit for one message
OTHER_KINDS = (
    (b"PK\x03\x04", "a zip archive, such as PyTorch's"),
    (b"\x89HDF", "an HDF5 file, such as Keras'"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself (git lfs pull)"),
)
TFLITE = b"TFL3"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu")
RUNTIME_DOMAINS = ("com.microsoft",)
ON_INTEGERS = ("DynamicQuantizeLinear", "QGemm", "ConvInteger")
PAIRS = ("QuantizeLinear", "DequantizeLinear")  # of a file in QDQ form: see `qdq`


def check_functions(path: Path, model) -> None:
    """Raises ValueError where functions that call functions would be written out to absurdly many
    nodes.
    """
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes, open_calls: tuple) -> int:
        total = 0
        for node in nodes:
            key = node.domain, node.op_type
            if key in open_calls:
                raise ValueError(
                    f"{path}: function {node.op_type[:80]!r} calls itself: export the model again"
                )
            if key in bodies and key not in counts:
                counts[key] = count(bodies[key], (*open_calls, key))
            total += counts.get(key, 1)
        return total

    try:
        found = count(model.graph.node, ())
    except RecursionError:
        found = MOST_NODES + 1
    if found > MOST_NODES:
        raise ValueError(
            f"{path}: its functions write out to more than {MOST_NODES:,} nodes: that is no model, "
            "it would fill memory"
        )


def check_tensors(path: Path, model) -> None:
    """Raises ValueError for a tensor that is declared, or follows, to take absurd memory.

    Constants must be as large as the file holds them; what nodes make is inferred, as far as that
    can be told without running them.
    """
    for tensor in onnx_file.tensors_of(model.graph):
        needed = memory.size_of(tensor.dims, _itemsize(tensor.data_type))
        is_inside = tensor.data_location != tensor.EXTERNAL
        if needed > SMALL and is_inside and needed > WIDEST * tensor.ByteSize():
            raise ValueError(
                f"{path}: tensor {tensor.name[:80]} declares {memory.gib(needed)}, the file holds "
                f"{tensor.ByteSize():,} bytes of it: the file is damaged, export it again"
            )
    for sparse in model.graph.sparse_initializer:
        itemsize = _itemsize(sparse.values.data_type)
        memory.check_tensor(str(path), sparse.values.name[:80], sparse.dims, itemsize)
    for info in inferred(model):
        if (shape := fixed_shape(info)) is not None:
            itemsize = _itemsize(info.type.tensor_type.elem_type)
            memory.check_tensor(str(path), info.name[:80], shape, itemsize)


def _itemsize(data_type: int) -> int:
    from onnx import helper

    try:
        return helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except KeyError:
        return 1


def read(path: Path):
    """The `ModelProto` of a file, its external data checked but not loaded.

    Raises FileNotFoundError, or ValueError for anything else than one whole ONNX model whose
    operators are known and float, with pairs of QuantizeLinear and DequantizeLinear between them or
    without: the sentence names the file and the node or tensor.
    """
    path = Path(path)
    model = _parse(path)
    _check_external(path, model)
    if model.functions:
        check_functions(path, model)
        model = _inlined(path, model)
        _check_external(path, model)  # of constants that stood in a function
    to_pairs(path, model)
    _check_operators(path, model)
    check_tensors(path, model)
    _check_weights(path, model)
    try:
        was_sorted = sort_nodes(model.graph)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _check_graph(path, None if was_sorted else model)
    return model


def _inlined(path: Path, model):
    """The model with the nodes of its local functions in the place of their calls."""
    import onnx.inliner  # a module that onnx does not bring along

    for function in model.functions:
        _same_opset(function, model)
    try:
        model = onnx.inliner.inline_local_functions(model)
        if model.functions:  # those written for another operator set
            model = onnx.shape_inference.infer_shapes(model)
            model = onnx.inliner.inline_local_functions(model, convert_version=True)
    # It is C++: whatever it asserts comes as RuntimeError or an error of its own.
    except Exception as error:
        raise ValueError(
            f"{path}: its local functions ({model.functions[0].name[:80]}) cannot be written out: "
            f"{plainly(error)}; export the model without functions, or with one operator set"
        ) from error
    return model


def _same_opset(function, model) -> None:
    """Gives a function the operator set of the model where its operators are the same in both."""
    from onnx import defs

    versions = {entry.domain: entry.version for entry in model.opset_import}
    for entry in function.opset_import:
        wanted = versions.get(entry.domain, entry.version)
        try:
            is_same = all(
                defs.get_schema(node.op_type, entry.version, entry.domain).since_version
                == defs.get_schema(node.op_type, wanted, entry.domain).since_version
                for node in function.node
                if node.domain == entry.domain
            )
        except defs.SchemaError:  # of another function, which has no schema
            is_same = False
        if is_same:
            entry.version = wanted


def _parse(path: Path):
    import onnx
    from google.protobuf.message import DecodeError

    if path.is_dir():
        raise ValueError(f"{path} is a directory, expected an ONNX file: name the file in it")
    if not path.exists():
        raise FileNotFoundError(f"ONNX file {path} does not exist")
    size = path.stat().st_size
    if size >= LARGEST:
        raise ValueError(
            f"{path} has {size / 2**30:.1f} GiB, expected less than 2 GiB, which one ONNX message "
            "cannot exceed: export the model with its weights as external data"
        )
    content = path.read_bytes()
    kind = next((kind for start, kind in OTHER_KINDS if content.startswith(start)), None)
    if content[4:8] == TFLITE:
        kind = "a TFLite model"
    if kind:
        raise ValueError(f"{path} is {kind}, expected an ONNX model")
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError):
        model = None
    if model is None or not model.graph.node or not model.opset_import:
        raise ValueError(
            f"{path} ({size:,} bytes) is no whole ONNX model: it is truncated, damaged or of "
            "another kind; copy or export it again"
        )
    return model


def _check_external(path: Path, model) -> None:
    """Every external tensor lies in a file beside the model, whole."""
    home = path.parent.resolve()
    for tensor in onnx_file.tensors_of(model.graph):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        location = told.get("location", "")
        where = f"{path}: tensor {tensor.name} is kept in the file {location!r}"
        is_name = location and "\0" not in location and not Path(location).is_absolute()
        file = (home / location).resolve() if is_name else home
        if not is_name or not file.is_relative_to(home):
            raise ValueError(
                f"{where}, which is outside of the model's own directory: such a file is not "
                "read; export the model with its data beside it"
            )
        if not file.is_file():
            raise FileNotFoundError(
                f"{where}, which does not exist in {home}: copy it there; the weights belong to "
                "the model"
            )
        offset = _whole_number(told.get("offset", "0"))
        length = _whole_number(told.get("length", "0")) or _bytes_of(tensor)
        if offset is None or length is None or offset + length > file.stat().st_size:
            raise ValueError(
                f"{where} at byte {told.get('offset', '0')}, {told.get('length', length)} bytes, "
                f"but the file has {file.stat().st_size:,}: it is truncated or of another model; "
                "copy it again"
            )


def _whole_number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _bytes_of(tensor) -> int:
    import onnx

    return (
        int(np.prod(tensor.dims)) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    )


def _check_operators(path: Path, model) -> None:
    from onnx import defs

    versions = {entry.domain or "": entry.version for entry in model.opset_import}
    for node in (node for graph in onnx_file.graphs_of(model.graph) for node in graph.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        where = f"{path}: node {node.name or node.output[0]!r} is a {node.op_type}"
        if domain in RUNTIME_DOMAINS and (node.op_type in PAIRS or not _is_on_integers(node)):
            continue
        if _is_on_integers(node):
            raise ValueError(
                f"{where}: the model is quantized already and computes on integers, expected float "
                "operators: bring the model from before quantization, or one in QDQ form "
                "(QuantizeLinear and DequantizeLinear around float operators)"
            )
        try:
            defs.get_schema(node.op_type, versions.get(domain, 1), domain)
        except defs.SchemaError:
            raise ValueError(
                f"{where} of the domain {domain or 'ai.onnx'!r} (version "
                f"{versions.get(domain, 'not given')}), which is no operator of ONNX: a custom "
                "operator needs its library and cannot be quantized; export the model with "
                "standard operators, or cut it before this node"
            ) from None


def _is_on_integers(node) -> bool:
    return node.op_type in ON_INTEGERS or node.op_type.startswith(("QLinear", "MatMulInteger"))


def _check_weights(path: Path, model) -> None:
    """Weights are finite; other constants may be infinite, such as a mask of attention."""
    from onnx import numpy_helper

    of_products = {
        name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input[1:]
    }
    for tensor in onnx_file.tensors_of(model.graph):
        try:
            values = numpy_helper.to_array(tensor, str(path.parent))
        # It reshapes what it finds: a wrong size or type raises whatever numpy raises.
        except Exception as error:
            raise ValueError(
                f"{path}: tensor {tensor.name} cannot be read ({error}): the file is damaged, "
                "export it again"
            ) from error
        if values.dtype.kind != "f":
            continue
        if tensor.name in of_products:
            bad, what = not np.isfinite(values).all(), "NaN or infinity"
        else:
            bad, what = np.isnan(values).any(), "NaN"
        if bad:
            raise ValueError(
                f"{path}: tensor {tensor.name} holds {what}: the training diverged or the file is "
                "damaged, train or copy it again"
            )


def _check_graph(path: Path, changed) -> None:
    """Edges, order and attributes, by ONNX's checker, which reads a large model by its path.

    `changed` is checked in its place where the file was not as it should be and could be repaired.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path) if changed is None else _without_external(changed))
    except onnx.checker.ValidationError as error:
        first = " ".join(str(error).split("==>")[0].split())
        raise ValueError(f"{path} is no valid ONNX model: {first}; export it again") from error


def _without_external(model):
    """A copy whose constants in other files are inputs: the checker would look for the files."""
    from onnx import helper

    outside = [tensor for tensor in model.graph.initializer if tensor.data_location == 1]
    if not outside:
        return model
    bare = type(model)()
    bare.CopyFrom(model)
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(t for t in model.graph.initializer if t.data_location != 1)
    listed = {info.name for info in bare.graph.input}
    bare.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in outside
        if tensor.name not in listed
    )
    return bare
