"""What a model file takes and gives, read from the file: `inspect`.

It runs in the worker process: the file is untrusted, and its library may crash on it. No code of
the file is run: Keras's safe mode refuses Lambda layers, PyTorch's programs are read without
pickled objects, and every size is checked before it is allocated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from int8gate.model_zoo.user_models import untrusted
from int8gate.model_zoo.user_models.declaration import SAVED_MODEL, TORCH_QAT
from int8gate.model_zoo.user_models.tflite_file import check_computes_on_integers, is_quantized
from int8gate.runtimes.artifact import in_order

CHANNELS = (3, 1, 4)  # of a picture, the likeliest first
TEXT = ("object", "string", "str")  # dtypes, as NumPy and TensorFlow call them
CODE_IN = ("keras", "pytorch")  # formats whose files may hold code, which `trust` lets run
LAYOUT_OF_FORMAT = dict.fromkeys(("onnx", "pytorch", "darknet", TORCH_QAT), "nchw")  # else nhwc


@dataclass(frozen=True)
class End:
    """An input or output: its name, shape (None where a side is free) and dtype.

    Of a quantized one ``real = (stored - zero_point) * scale``; both are None of a float one.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @property
    def quantization(self) -> tuple[float, int]:
        """Scale and zero point of a quantized one."""
        assert self.scale is not None
        assert self.zero_point is not None  # a file has both, or none
        return self.scale, self.zero_point

    @property
    def is_text(self) -> bool:
        return self.dtype in TEXT

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        name = self.name if self.name.isprintable() else repr(self.name)  # on one line
        return f"{name} ({sides}) {self.dtype}"


@dataclass(frozen=True)
class ModelFile:
    """The inputs and outputs of a model file, in the file's order, and its format.

    `is_quantized`: its weights or activations are stored in integers already. `has_scales`: it is
    a float network with scales of a training or another quantizer (QDQ), which are what ships.
    """

    format: str
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    is_quantized: bool = False
    has_scales: bool = False

    @classmethod
    def of(cls, described: dict) -> ModelFile:
        """What `describe` returned."""
        inputs, outputs = (
            tuple(End(**end | {"shape": tuple(end["shape"])}) for end in described[kind])
            for kind in ("inputs", "outputs")
        )
        told = (described[key] for key in ("is_quantized", "has_scales"))
        return cls(described["format"], inputs, outputs, *told)

    @property
    def picture(self) -> tuple[str | None, tuple[int | None, int | None], int | None]:
        """Of the first input the layout ("nhwc", "nchw", None if it is no picture), (height, width)
        and channels; what the file leaves free is None.
        """
        return picture_of(self.inputs[0].shape, LAYOUT_OF_FORMAT.get(self.format, "nhwc"))


@dataclass(frozen=True)
class TrainedNetwork:
    """What makes the network of a checkpoint, ``module:function``, and its picture: `size` (h, w),
    None where that is to be declared, and `channels`.
    """

    network: str
    size: tuple[int, int] | None
    channels: int


def picture_of(shape: tuple[int | None, ...], usual: str = "nhwc") -> tuple:
    """Layout, (height, width) and channels of a shape with four sides, batch first.

    The axis that has as many entries as pictures have channels tells the layout; where both or
    none have, the likelier number of channels (3, then 1, then 4), then the `usual` layout.
    """
    if len(shape) != 4:
        return None, (None, None), None
    first, last = shape[1], shape[3]
    if _rank(last) < _rank(first) or (_rank(last) == _rank(first) and usual == "nhwc"):
        return "nhwc", (shape[1], shape[2]), last
    return "nchw", (shape[2], shape[3]), first


def _rank(channels: int | None) -> int:
    return CHANNELS.index(channels) if channels in CHANNELS else len(CHANNELS)


def inspect(
    file: Path,
    format: str,
    inputs: tuple = (),
    outputs: tuple = (),
    trust: bool = False,
    signature: str | None = None,
    trained: TrainedNetwork | None = None,
) -> ModelFile:
    """What the file takes and gives; `inputs` and `outputs` name the ends of a frozen graph,
    `signature` what of a SavedModel is meant, `trained` what makes the network of a checkpoint.

    With `trust` a Keras model or PyTorch program may hold code. Raises ValueError or OSError naming
    the file, for one that is damaged or of another kind, or asks for absurd memory.
    """
    file = Path(file)
    trusted = {"trust": True} if trust and format in CODE_IN else {}
    chosen = {"signature": signature} if format == SAVED_MODEL else {}
    chosen |= {"trained": trained} if format == TORCH_QAT else {}
    with untrusted.reading(file, format):
        found = _READERS[format](file, inputs, outputs, **trusted, **chosen)
        quantized = format == "tflite" and is_quantized(file)
        has_scales = format == TORCH_QAT or (format == "onnx" and _has_pairs(file))
    found = ModelFile(format, *(tuple(ends) for ends in found), quantized, has_scales)
    untrusted.check_ends(file, (*found.inputs, *found.outputs))
    if not (found.inputs and found.outputs):
        raise ValueError(f"{file} has no {'output' if found.inputs else 'input'}: export it again")
    if texts := [end for end in found.inputs if end.is_text]:
        raise ValueError(
            f"{file} takes text or encoded pictures (input {texts[0]}), expected a picture as "
            "numbers: cut the model behind its decoding of the file, or export it without"
        )
    return found


def describe(
    file: Path,
    format: str,
    inputs: tuple,
    outputs: tuple,
    trust: bool,
    signature: str | None,
    trained: TrainedNetwork | None,
    directory: Path,
) -> dict:
    """`inspect` as plain values; it writes nothing into `directory`."""
    return asdict(inspect(file, format, inputs, outputs, trust, signature, trained))


def _tflite(file: Path, inputs, outputs):
    from int8gate.runtimes.litert import LiteRTSession
    from int8gate.runtimes.tflite_graph import check_sizes

    check_sizes(file)
    check_computes_on_integers(file)
    session = LiteRTSession(file)
    ends = session.inputs, session.outputs
    return [
        [End(t.name, t.shape, t.dtype, t.scale, t.zero_point) for t in tensors] for tensors in ends
    ]


def _onnx(file: Path, inputs, outputs):
    from onnx import helper

    from int8gate.model_zoo.importers.onnx import checked_file as onnx_reading
    from int8gate.model_zoo.importers.onnx import repairs as onnx_floats

    graph = onnx_reading.read(file).graph
    constants = {tensor.name for tensor in graph.initializer}

    def end(info) -> End:
        sides = (side.dim_value or None for side in info.type.tensor_type.shape.dim)
        kind = onnx_floats.widened(info.type.tensor_type.elem_type)  # as the importer takes it
        return End(info.name, tuple(sides), str(helper.tensor_dtype_to_np_dtype(kind)))

    given = [info for info in graph.input if info.name not in constants]
    return _of_any_batch(list(map(end, given)), list(map(end, graph.output)))


def _has_pairs(file: Path) -> bool:
    import onnx

    from int8gate.model_zoo.importers.onnx.qdq.stripping import is_qdq

    return is_qdq(onnx.load(str(file), load_external_data=False))


def _of_any_batch(inputs: list[End], outputs: list[End]) -> tuple[list[End], list[End]]:
    """A batch that pictures were exported with is free: the importer makes it 1 where it can."""
    batches = {entry.shape[0] for entry in inputs if len(entry.shape) == 4}
    if len(batches) != 1 or (batch := batches.pop()) in (None, 1):
        return inputs, outputs

    def free(entry: End) -> End:
        is_batch = entry.shape[:1] == (batch,)
        return replace(entry, shape=(None, *entry.shape[1:])) if is_batch else entry

    return list(map(free, inputs)), list(map(free, outputs))


def _keras(file: Path, inputs, outputs, trust: bool = False):
    from int8gate.model_zoo.user_models import keras_file

    taken, given = keras_file.ends(keras_file.load(file, trust))
    return [[End(*end) for end in ends] for ends in (taken, given)]


def _saved_model(file: Path, inputs, outputs, signature: str | None = None):
    from int8gate.model_zoo.user_models import saved_model_file as saved_model

    serve = saved_model.signature(file, signature)
    taken, given = serve.structured_input_signature[1], serve.structured_outputs
    taken, given = (
        [_of_spec(name, ends[name]) for name in in_order(ends)] for ends in (taken, given)
    )
    return list(map(_maybe_picture, taken)), given


def _of_spec(name: str, spec) -> End:
    sides = spec.shape.as_list() if spec.shape.rank is not None else []
    return End(name, tuple(sides), spec.dtype.name)


def _maybe_picture(end: End) -> End:
    """An input of which the file tells no shape: a picture of free sides, which keys declare."""
    return replace(end, shape=(None,) * 4) if not end.shape else end


def _frozen_graph(file: Path, inputs, outputs):
    from int8gate.model_zoo.importers.tf1.graph_ends import find_ends
    from int8gate.model_zoo.importers.tf1.graphs import Graph
    from int8gate.model_zoo.importers.tf1.importer import read_graph_def

    ends, graph_def, _ = find_ends(read_graph_def(file), inputs, outputs, str(file))
    graph = Graph(graph_def)
    taken = [_maybe_picture(_of_tensor(graph, name)) for name in ends.inputs]
    return taken, [_of_tensor(graph, name) for name in ends.outputs]


def _of_tensor(graph, name: str) -> End:
    return _of_spec(name, graph.imported.get_tensor_by_name(name))


def _darknet(file: Path, inputs, outputs):
    from int8gate.model_zoo.importers.darknet.cfg import input_shape, read

    _, sections = read(file)
    channels, height, width = input_shape(sections[0])
    heads = [section for section in sections if section.kind == "yolo"]
    outputs = [End(str(head), (), "float32") for head in heads] or [End("output", (), "float32")]
    return [End("image", (1, channels, height, width), "float32")], outputs


def _pytorch(file: Path, inputs, outputs, trust: bool = False):
    from int8gate.runtimes.session import UNKNOWN
    from int8gate.runtimes.torch_program import TorchProgramSession

    def end(spec) -> End:
        sides = tuple(None if side == UNKNOWN else side for side in spec.shape)
        return End(spec.name, sides, spec.dtype)

    session = TorchProgramSession(file, trust)
    return [[end(spec) for spec in specs] for specs in (session.inputs, session.outputs)]


def _torch_qat(file: Path, inputs, outputs, trained: TrainedNetwork):
    from int8gate.model_zoo.user_models import qat_network

    if trained.size is None:
        free = (None, trained.channels, None, None)
        return [[End("image", free, "float32")], [End("output", (), "float32")]]
    shape = (1, trained.channels, *trained.size)
    shapes = qat_network.output_shapes(qat_network.load(trained.network, file), shape)
    given = [End(f"output_{number}", sides, "float32") for number, sides in enumerate(shapes)]
    return [[End("image", shape, "float32")], given]


_READERS: dict[str, Callable] = {
    TORCH_QAT: _torch_qat,
    "tflite": _tflite,
    "onnx": _onnx,
    "keras": _keras,
    SAVED_MODEL: _saved_model,
    "frozen_graph": _frozen_graph,
    "darknet": _darknet,
    "pytorch": _pytorch,
}
