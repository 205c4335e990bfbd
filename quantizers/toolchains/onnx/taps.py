"""A float ONNX model that also gives, of every tensor asked for, its extremes and a sample.

Copying 60 MB of activations out of every inference costs as much as half of a ResNet's arithmetic.
So the extremes (ReduceMin, ReduceMax) and the sample (a strided Slice) are taken in the graph, and
only they leave it.

ONNX Runtime computes convolutions on tensors in blocks of channels (com.microsoft.nchwc), and puts
a ReorderOutput before whatever else reads one. Neither extremes nor a sample care for the order, so
the taps go into the graph that ONNX Runtime has optimized, before the reordering, which then has no
reader left and is taken out.
"""

from __future__ import annotations

import difflib
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from int8gate.quantizers.calibration.strides import channels_of
from int8gate.quantizers.toolchains.onnx.tap_nodes import BLOCK, SLICE_WITH_STEPS, TapNodes
from int8gate.runtimes import onnx_file, ort

_BLOCKS = "com.microsoft.nchwc"
_BATCH = 1


@dataclass(frozen=True)
class Tap:
    """A tensor, and how it is tapped.

    `in_graph`: every `step`-th of `size` elements leaves the graph; else the whole tensor does.
    `channels` as `strides.channels_of`.
    """

    tensor: str
    in_graph: bool
    size: int = 0
    step: int = 1
    channels: int = 0


@dataclass(frozen=True)
class TappedModel:
    """`session` gives the outputs that `TapNodes` lists; `starts` are the steps that take one."""

    session: object
    taps: tuple[Tap, ...]
    starts: tuple[int, ...]
    step_of: Callable[[int], int]


def tapped_model(
    path: Path, tensors: list[str], step_of: Callable[[int], int], threads: int
) -> TappedModel:
    """Opens the model with its tensors tapped; the file stays as it is.

    `step_of` takes a tensor's number of elements: every how many of them one is counted. External
    data is read where it lies. Raises ValueError for an unknown or integer tensor, and for a model
    that ONNX Runtime cannot load.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError derives from Exception alone
        raise ValueError(f"{path} is not a readable ONNX file: {error}") from error
    _check_known(model, tensors, path)
    _fix_batch(model)
    with tempfile.TemporaryDirectory(prefix="int8gate-") as scratch:
        weights, is_blocked = path.parent, _may_be_blocked(model)
        if is_blocked:
            weights = Path(scratch)
            model = _optimized(model, tensors, path, weights, threads)
        taps = _taps(model, tensors, step_of, path)
        starts = _attach(model, taps)
        options = _options(threads, "DISABLE_ALL" if is_blocked else "ALL")
        session = _session(model, options, path, weights)
        return TappedModel(session, taps, starts, step_of)


def _check_known(model, tensors: list[str], path: Path) -> None:
    known = {name for node in model.graph.node for name in node.output}
    known |= {given.name for given in model.graph.input}
    for name in tensors:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise ValueError(f"{path.name} has no tensor {name!r}{hint}")


def _fix_batch(model) -> None:
    """A batch of unknown size is one of one sample."""
    for given in model.graph.input:
        sides = given.type.tensor_type.shape.dim
        if sides and not sides[0].dim_value:
            sides[0].dim_value = _BATCH


def _may_be_blocked(model) -> bool:
    """Only convolutions run in blocks, and what is optimized is written out with its weights.

    What ONNX Runtime writes of a graph with subgraphs is not in order: it cannot be read again.
    """
    return (
        any(node.op_type == "Conv" for node in model.graph.node)
        and len(list(onnx_file.graphs_of(model.graph))) == 1
        and not onnx_file.external_locations(model)
        and onnx_file.weight_bytes(model) <= onnx_file.LARGEST_INSIDE
    )


def _optimized(model, tensors: list[str], path: Path, scratch: Path, threads: int):
    """The graph as ONNX Runtime runs it when these tensors are outputs."""
    import onnx

    inputs = {given.name for given in model.graph.input}
    given = {output.name for output in model.graph.output}
    marked = [name for name in tensors if name not in inputs | given]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in marked)
    target, beside = scratch / "optimized.onnx", "session.optimized_model_external_initializers_"
    entries = {
        f"{beside}file_name": "optimized.onnx.data",
        f"{beside}min_size_in_bytes": str(onnx_file.MANY_BYTES),
        "session.disable_prepacking": "1",
    }
    options = _options(threads, "ALL", entries, optimized_model_filepath=str(target))
    session = _session(model, options, path, path.parent)
    optimized = onnx.load(str(target), load_external_data=False)
    del optimized.graph.value_info[:]
    optimized.graph.value_info.extend(_described(found) for found in session.get_outputs())
    return optimized


def _described(found):
    """A session's output as the graph describes a tensor."""
    from onnx import TensorProto, helper

    kinds = {"tensor(float)": TensorProto.FLOAT, "tensor(float16)": TensorProto.FLOAT16}
    kind = kinds.get(found.type, TensorProto.INT64 if "int" in found.type else 0)
    shape = [side if isinstance(side, int) else None for side in found.shape]
    return helper.make_tensor_value_info(found.name, kind, shape)


def _taps(model, tensors: list[str], step_of: Callable, path: Path) -> tuple[Tap, ...]:
    from onnx import TensorProto

    graph = model.graph
    known = {info.name: info.type.tensor_type for info in (*graph.output, *graph.input)}
    known |= {info.name: info.type.tensor_type for info in graph.value_info}
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UNDEFINED)
    opset = next((entry.version for entry in model.opset_import if not entry.domain), 0)
    taps = []
    for name in tensors:
        kind = known[name].elem_type if name in known else 0
        if kind not in floats:
            raise ValueError(
                f"tensor {name} of {path.name} is {TensorProto.DataType.Name(kind)}: only a float "
                "tensor has a range to calibrate"
            )
        sides = tuple(side.dim_value for side in known[name].shape.dim) if name in known else (0,)
        if kind != TensorProto.FLOAT or opset < SLICE_WITH_STEPS or 0 in sides:
            taps.append(Tap(name, in_graph=False))
        else:
            size = math.prod(sides)
            taps.append(Tap(name, True, size, step_of(size), channels_of(sides)))
    return tuple(taps)


def _attach(model, taps: tuple[Tap, ...]) -> tuple[int, ...]:
    """Puts the taps into the graph, in place; returns the steps that it wants a start for."""
    blocked = _blocked_sources(model.graph)
    del model.graph.output[:]
    nodes = TapNodes(model)
    for tap in taps:
        if tap.in_graph:
            nodes.add(tap, blocked.get(tap.tensor))
        else:
            nodes.add_whole(tap)
    starts = nodes.finish()
    read = {name for node in model.graph.node for name in node.input}
    read |= {output.name for output in model.graph.output}
    unread = [
        node
        for node in model.graph.node
        if node.op_type == "ReorderOutput" and not read & set(node.output)
    ]
    for node in unread:
        model.graph.node.remove(node)
    return starts


def _blocked_sources(graph) -> dict[str, str]:
    """The tensor in blocks that holds the elements of another, where no block is padded."""
    found = {}
    for node in graph.node:
        if node.domain != _BLOCKS or node.op_type != "ReorderOutput":
            continue
        options = {attribute.name: attribute.i for attribute in node.attribute}
        if not options.get("channels_last") and options["channels"] % BLOCK == 0:
            found[node.output[0]] = node.input[0]
    return found


def _options(threads: int, level: str, entries: dict[str, str] | None = None, **attributes):
    """In the order of the file, which has each tap behind what it reads."""
    import onnxruntime

    order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    return ort.options(level, threads, entries, execution_order=order, **attributes)


def _session(model, options, path: Path, weights: Path):
    """A session of a loaded graph whose external data lie in the directory `weights`."""
    folder = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(folder, str(weights.absolute()))
    try:
        return ort.open_model(model.SerializeToString(), options)
    # ONNX Runtime raises classes of its own, each a direct child of Exception.
    except Exception as error:
        raise ValueError(f"ONNX Runtime cannot load {path}: {error}") from error
