"""Repairs of an ONNX graph: its inputs, its operator set, its precision (float32).

Each says in a sentence what it did. A graph in half or double precision is written in float32
(`in_float32`): float16 files are made for graphics cards, whole (input and output too) or with a
Cast at either end. INT8 starts from float32, which holds every value of a half exactly, so the
weights stay what they are. float64 loses digits that 8 bits do not keep either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import (
    Names,
    fixed_shape,
    plainly,
    sides_in_words,
    unshaped,
    with_shapes,
)
from int8gate.runtimes import onnx_file

OLDEST_OPSET = 13  # a scale for each channel came with it (QuantizeLinear)
SMALL = 1024  # elements of a constant that the converter may have to read
OPSETS = (17, 13)  # what old files are lifted to, the first that the converter reaches
OLDEST_IR = 8
BATCH = 1

# Attributes that name a type, by the operators that have them: Cast and its like; random numbers,
# windows and EyeLike; what normalizations and attention compute with inside.
TYPE_ATTRIBUTES = frozenset(
    {"to", "dtype", "output_datatype", "output_dtype", "stash_type", "softmax_precision"}
)


def free_constants(model) -> list[str]:
    """Takes initializers out of the graph's inputs, where files of IR version 3 list them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    listed = [info for info in model.graph.input if info.name in constants]
    for info in listed:
        model.graph.input.remove(info)
    model.ir_version = max(model.ir_version, OLDEST_IR)
    if not listed:
        return []
    return [f"{len(listed)} weights were listed among the inputs: they are constants now."]


def opset_of(model) -> int:
    """The version of ONNX's own operators that a model is written in."""
    return next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 1)


def name_nodes(model) -> list[str]:
    """Every node gets a name of its own, those of subgraphs too: ONNX Runtime and its quantizer
    tell them apart by name.
    """
    nodes = [node for graph in onnx_file.graphs_of(model.graph) for node in graph.node]
    taken = Counter(node.name for node in nodes)
    shared = sorted(name for name, count in taken.items() if name and count > 1)
    names = Names(model.graph)
    for number, node in enumerate(nodes):
        if not node.name or taken[node.name] > 1:
            node.name = names.new(f"{node.op_type}_{number}")
    if not shared:
        return []
    return [f"Several nodes shared a name ({', '.join(shared[:3])}): each has its own now."]


def lift_opset(model):
    """The model at an operator set that can be quantized, and the sentences.

    Weights pass by the converter, which takes no more than 2 GB; constants of at most `SMALL`
    elements, such as a reshape's sides, must be in the model. Raises ValueError naming what the
    converter cannot lift.
    """
    from onnx import version_converter

    found = opset_of(model)
    if found >= OLDEST_OPSET:
        return model, []
    failures, (model, weights) = [], _without_weights(model)
    for target in OPSETS:
        try:
            lifted = version_converter.convert_version(model, target)
        # The converter is C++: whatever it asserts comes as RuntimeError or one of its own.
        except Exception as error:
            failures.append(f"to {target}: {plainly(error)}")
            continue
        lifted.graph.initializer.extend(weights)
        free_constants(lifted)
        return lifted, [f"Operator set {found} was lifted to {target}."]
    raise ValueError(
        f"operator set {found} is too old to quantize (expected {OLDEST_OPSET} or later) and "
        f"cannot be lifted ({'; '.join(failures)}): export the model with a newer opset"
    )


def _without_weights(model) -> tuple:
    """A copy of the model whose large constants are inputs, and those constants."""
    from onnx import helper

    weights = [tensor for tensor in model.graph.initializer if math.prod(tensor.dims) > SMALL]
    set_aside = {tensor.name for tensor in weights}
    bare = type(model)()
    bare.CopyFrom(model)
    for place in reversed(range(len(bare.graph.initializer))):
        if bare.graph.initializer[place].name in set_aside:
            del bare.graph.initializer[place]
    bare.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in weights
    )
    return bare, weights


def the_input(model):
    """The one float picture that the graph takes; raises ValueError for anything else."""
    from onnx import TensorProto

    inputs = list(model.graph.input)
    if len(inputs) != 1:
        names = ", ".join(info.name for info in inputs) or "none"
        raise ValueError(
            f"the model has {len(inputs)} inputs ({names}), expected one picture: cut it behind "
            "the others or make them constants"
        )
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        raise ValueError(
            f"input {inputs[0].name} is {TensorProto.DataType.Name(kind).lower()}, expected "
            "float32: cut the model behind the cast, or export it with float32 inputs"
        )
    return inputs[0]


def set_input_shape(model, shape: tuple[int, ...]) -> list[str]:
    """Writes a fixed shape into the input; every other shape is forgotten and inferred again."""
    info = the_input(model)
    before, words = fixed_shape(info), sides_in_words(info)
    _write_shape(info, shape)
    _forget_shapes(model.graph)
    if before == tuple(shape):
        return []
    what = "the wrong shape" if before else "no fixed shape,"
    return [f"Input {info.name} had {what} {words}: it is {tuple(shape)} now."]


def set_shapes(model, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Writes fixed shapes into the inputs, by name; the others are inferred again."""
    said = []
    for info in model.graph.input:
        shape = shapes[info.name]
        if fixed_shape(info) != tuple(shape):
            said.append(
                f"Input {info.name} had the shape {sides_in_words(info)}: it is {shape} now."
            )
        _write_shape(info, shape)
    _forget_shapes(model.graph)
    return said


def _forget_shapes(graph) -> None:
    """Of what the nodes make, outputs too."""
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")


def infer_shapes(model, missing: int):
    """The model with the shape of every tensor, and the sentences; `missing` had none in the file.

    Raises ValueError naming the node where shapes contradict each other.
    """
    import onnx

    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(plainly(error)) from error
    inferred = with_shapes(model)
    left = unshaped(inferred)
    found, said = missing - len(left), []
    if found > 0:
        said.append(f"The shapes of {found} tensors were missing: they are inferred now.")
    if left:
        said.append(
            f"The shapes of {len(left)} tensors are known only when the model runs "
            f"({', '.join(left[:3])})."
        )
    return inferred, said


def rebatch(model, before: int) -> list[str]:
    """Constant shapes of Reshape nodes that hold the exported batch get batch 1."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {
        node.output[0]: node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    changed = []
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        tensor = constants[node.input[1]]
        target = numpy_helper.to_array(tensor).copy()
        if len(target) and target[0] == before:
            target[0] = BATCH
            tensor.CopyFrom(numpy_helper.from_array(target, tensor.name))
            changed.append(node.name or node.output[0])
    if not changed:
        return []
    return [
        f"{len(changed)} reshapes held the exported batch of {before} ({', '.join(changed[:3])}): "
        "they hold 1 now."
    ]


def _write_shape(info, shape: tuple[int, ...]) -> None:
    kind = info.type.tensor_type
    kind.ClearField("shape")
    for side in shape:
        kind.shape.dim.add().dim_value = side


def widened(kind: int) -> int:
    """FLOAT for the `TensorProto` types that `in_float32` turns into it, any other as it is."""
    from onnx import TensorProto

    return TensorProto.FLOAT if kind in _turned_types() else kind


def has_halves(model) -> bool:
    """Whether anything of a model is float16 or bfloat16."""
    from onnx import TensorProto

    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    return any(tensor.data_type in halves for tensor in onnx_file.tensors_of(model.graph)) or any(
        attribute.name == "to" and attribute.i in halves
        for graph in onnx_file.graphs_of(model.graph)
        for node in graph.node
        for attribute in node.attribute
    )


def _turned_types() -> dict[int, str]:
    from onnx import TensorProto

    return {
        TensorProto.FLOAT16: "float16",
        TensorProto.BFLOAT16: "bfloat16",
        TensorProto.DOUBLE: "float64",
    }


def in_float32(model, home: Path) -> list[str]:
    """Turns every float16, bfloat16 and float64 of a model into float32, in place.

    Constants in external data files in the directory `home` are read. Returns the sentences; none
    where there was nothing to do.
    """
    from onnx import AttributeProto

    names, seen = _turned_types(), set()

    def turned(kind: int) -> int:
        if kind in names:
            seen.add(names[kind])
        return widened(kind)

    graphs = list(onnx_file.graphs_of(model.graph))
    sparse = [entry.values for graph in graphs for entry in graph.sparse_initializer]
    for tensor in (*onnx_file.tensors_of(model.graph), *sparse):
        if tensor.data_type in names:
            seen.add(names[tensor.data_type])
            _cast_tensor(tensor, home)
    for graph in graphs:
        for info in (*graph.input, *graph.output, *graph.value_info):
            for kind in _tensor_types(info.type):
                kind.elem_type = turned(kind.elem_type)
        for node in graph.node:
            for attribute in node.attribute:
                is_type = attribute.type == AttributeProto.INT and attribute.name in TYPE_ATTRIBUTES
                if is_type:
                    attribute.i = turned(attribute.i)
    if not seen:
        return []
    return [f"The graph computes in {' and '.join(sorted(seen))}: it is float32 now."]


def _cast_tensor(tensor, home: Path) -> None:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor, str(home)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _tensor_types(kind) -> Iterator:
    """The tensor types within a `TypeProto`: its own, or those of a sequence's elements."""
    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        yield getattr(kind, which)
    elif which in ("sequence_type", "optional_type"):
        yield from _tensor_types(getattr(kind, which).elem_type)
    elif which == "map_type":
        yield from _tensor_types(kind.map_type.value_type)
