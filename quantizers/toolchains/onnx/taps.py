"""A float ONNX model that also gives, of every tensor asked for, its extremes and a sample.

Copying 60 MB of activations out of every inference costs as much as half of a ResNet's arithmetic.
So the extremes (ReduceMin, ReduceMax) and the sample (a strided Slice) are taken in the graph, and
only they leave it. `TapNodes` are the nodes that do so (operator set 10 or later).

Outputs, in this order: of each tensor the counted elements (n,); then, each of all tensors end to
end, the minima (tensors,), the maxima, and, if any tensor has channels, the channels' minima and
maxima (channels of all tensors,), those at `step_of_places`.
Inputs besides the model's own: for each step > 1 where to start, `start_name(step)`, int64 (1,).

ONNX Runtime computes convolutions on tensors in blocks of channels (com.microsoft.nchwc), and puts
a ReorderOutput before whatever else reads one. Neither extremes nor a sample care for the order, so
the taps go into the graph that ONNX Runtime has optimized, before the reordering, which then has no
reader left and is taken out.
"""

from __future__ import annotations

import difflib
import math
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from int8gate.engine.host import flags
from int8gate.quantizers.calibration.statistics import channels_of, step_of_places
from int8gate.runtimes import onnx_file, ort

if TYPE_CHECKING:
    import onnxruntime

BLOCK = 16  # channels: multiples of it are whole blocks, of 16 or of 8
SLICE_WITH_STEPS = 10
_REDUCE_TAKES_AXES = 18
_PREFIX = "int8gate"
_END = 2**62

_BLOCKS = "com.microsoft.nchwc"
_BATCH = 1


def block_size() -> int:
    """Channels of a block on this host: 8 on x86 without AVX-512, else 16 (MLAS, `snchwc.cpp`)."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return 8 if is_x86 and "avx512f" not in flags() else 16


def start_name(step: int) -> str:
    return f"{_PREFIX}.start.{step}"


class TapNodes:
    """Adds taps to a model; `finish` puts them in, and the outputs of all tensors' figures."""

    def __init__(self, model) -> None:
        self._graph = model.graph
        versions = [entry.version for entry in model.opset_import if not entry.domain]
        self._axes_are_inputs = versions[0] >= _REDUCE_TAKES_AXES
        self._constants: set[tuple[int, ...]] = set()
        self._starts: set[int] = set()
        self._figures: dict[str, list[str]] = {}
        self._taps: dict[str, list] = {}  # nodes by the tensor that they read
        self._nodes: list = []

    def add(self, tap, blocked: str | None) -> None:
        """Taps `tap.tensor`, or `blocked`, which holds its elements in blocks of channels."""
        source, name = blocked or tap.tensor, f"{_PREFIX}.{tap.tensor}"
        self._nodes = self._taps.setdefault(source, [])
        flat = self._node("Reshape", [source, self._constant(-1)], f"{name}.flat")
        for extreme in ("Min", "Max"):
            self._keep(extreme, self._reduce(extreme, flat, 0, f"{name}.{extreme}"))
        self._output(self._every(flat, 0, tap.step, f"{name}.counted"))
        if tap.channels:
            inner = block_size() if blocked else 1
            view = self._constant(tap.channels // inner, -1, inner)
            view = self._node("Reshape", [source, view], f"{name}.channels")
            step = step_of_places(tap.size // tap.channels, tap.step)
            places = self._every(view, 1, step, f"{name}.places")
            for extreme in ("Min", "Max"):
                found = self._reduce(extreme, places, 1, f"{name}.channels.{extreme}")
                found = self._node("Reshape", [found, self._constant(-1)], f"{found}.flat")
                self._keep(f"channels.{extreme}", found)

    def add_whole(self, tap) -> None:
        """Gives the tensor itself (an input cannot be an output)."""
        self._nodes = self._taps.setdefault(tap.tensor, [])
        self._output(self._node("Identity", [tap.tensor], f"{_PREFIX}.{tap.tensor}"))

    def finish(self) -> tuple[int, ...]:
        """Writes the figures of all tensors; returns the steps that want a start."""
        from onnx import TensorProto, helper

        self._nodes = []
        for figure in ("Min", "Max", "channels.Min", "channels.Max"):
            if figure in self._figures:
                name = f"{_PREFIX}.{figure}"
                self._output(self._node("Concat", self._figures[figure], name, axis=0))
        self._put_in_place(self._nodes)
        starts = tuple(sorted(self._starts))
        for step in starts:
            name = start_name(step)
            self._graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1]))
        return starts

    def _put_in_place(self, last: list) -> None:
        """Each tap behind the node whose result it reads, which then still is in the cache."""
        ordered = [node for given in self._graph.input for node in self._taps.pop(given.name, ())]
        for node in self._graph.node:
            ordered.append(node)
            ordered += [tap for name in node.output for tap in self._taps.pop(name, ())]
        ordered += [tap for taps in self._taps.values() for tap in taps]
        del self._graph.node[:]
        self._graph.node.extend([*ordered, *last])

    def _every(self, source: str, axis: int, step: int, name: str) -> str:
        if step == 1:
            return source
        self._starts.add(step)
        inputs = [source, start_name(step), *map(self._constant, (_END, axis, step))]
        return self._node("Slice", inputs, name)

    def _reduce(self, extreme: str, source: str, axis: int, name: str) -> str:
        if self._axes_are_inputs:
            return self._node(f"Reduce{extreme}", [source, self._constant(axis)], name)
        return self._node(f"Reduce{extreme}", [source], name, axes=[axis])

    def _node(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def _constant(self, *values: int) -> str:
        from onnx import numpy_helper

        name = f"{_PREFIX}.{','.join(map(str, values))}"
        if values not in self._constants:
            self._constants.add(values)
            array = np.array(values, np.int64)
            self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _output(self, name: str) -> None:
        from onnx import ValueInfoProto

        self._graph.output.append(ValueInfoProto(name=name))

    def _keep(self, figure: str, name: str) -> None:
        self._figures.setdefault(figure, []).append(name)


@dataclass(frozen=True)
class Tap:
    """A tensor, and how it is tapped.

    `in_graph`: every `step`-th of `size` elements leaves the graph; else the whole tensor does.
    `channels` as `statistics.channels_of`.
    """

    tensor: str
    in_graph: bool
    size: int = 0
    step: int = 1
    channels: int = 0


@dataclass(frozen=True)
class TappedModel:
    """`session` gives the outputs that `TapNodes` lists; `starts` are the steps that take one."""

    session: onnxruntime.InferenceSession
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
