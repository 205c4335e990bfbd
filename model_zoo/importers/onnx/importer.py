"""The importer of ONNX files: somebody's `.onnx` in, a float model of fixed shape out.

Files come with inputs whose shape is symbolic or simply wrong, with old operator sets, without
shape information. What the graph takes is found by trying: the declared picture as channels first,
then as channels last, and the first that ONNX Runtime runs is right. The repaired model is compared
with the file as it came wherever that one runs.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from int8gate.engine import memory
from int8gate.model_zoo.importers.onnx import checked_file as onnx_reading
from int8gate.model_zoo.importers.onnx import repairs as onnx_repairs
from int8gate.model_zoo.importers.onnx.qdq.fake_quantization import with_fake_quantization
from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import QdqScales, read_scales
from int8gate.model_zoo.importers.onnx.qdq.stripping import is_qdq, strip
from int8gate.model_zoo.importers.onnx.structure import (
    fixed_shape,
    plainly,
    sides_in_words,
    unshaped,
)
from int8gate.runtimes import onnx_file, ort
from int8gate.runtimes.artifact import ONNX, TRAINED_ONNX

_DATA_FOLDER = "session.model_external_initializers_file_folder_path"
SAME = 1e-4  # largest difference to the file as it came, relative to the output's largest value
SAME_AS_HALVES = 2e-2  # to a file that rounds what each node gives to float16, or to bfloat16


def import_onnx(
    source: Path,
    input_shape: tuple[int, ...],
    directory: Path,
    inputs: dict[str, tuple[int, ...]] | None = None,
) -> dict:
    """Writes `directory`/model.onnx: batch 1, the input of `input_shape` (1, c, h, w), opset >= 13;
    of a network that takes arrays its `inputs`, shapes with batch 1 by name.

    A graph that takes its pictures channels last keeps doing so. Returns the report: ``file``,
    ``nodes``, ``opset``, ``input`` and ``outputs`` with their shapes, ``repairs`` (sentences) and
    ``largest_difference`` to the file as it came (None where that does not run or is too large).
    Of a file in QDQ form it is the float network within, and what the pairs said goes to
    `directory`/qdq.json (`qdq_scales`); `directory`/trained.onnx computes what the file does.

    Raises FileNotFoundError, or ValueError naming the node, tensor or file that is at fault.
    """
    source, directory = Path(source), Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    model = onnx_reading.read(source)
    allowed = SAME_AS_HALVES if onnx_repairs.has_halves(model) else SAME
    with tempfile.TemporaryDirectory() as scratch:
        before, found = source, []
        try:
            if is_qdq(model):
                before, found = Path(scratch) / ONNX, _without_pairs(model, source, directory)
                onnx_file.write(model, before)
                model = _loaded(before)
            repaired, repairs = _repaired(model, tuple(input_shape), before, inputs)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        report = _written(repaired, [*found, *repairs], source, before, directory, inputs, allowed)
    if scales := read_scales(directory):
        _write_trained(directory, scales)
    return report


def _write_trained(directory: Path, scales: QdqScales) -> None:
    """Writes `directory`/trained.onnx, what a file in QDQ form computes, beside its float network.

    Raises ValueError where it does not run.
    """
    import onnx

    model = onnx.load(str(directory / ONNX))
    with_fake_quantization(model, scales)
    onnx_file.write(model, directory / TRAINED_ONNX)
    ort.open_model(directory / TRAINED_ONNX, ort.options("DISABLE_ALL"))


def _without_pairs(model, source: Path, directory: Path) -> list[str]:
    """Makes a file in QDQ form its float network, in place, and writes its scales beside it."""
    _load_weights(model, source)
    scales = strip(model)
    scales.write(directory)
    return [
        f"The file is in QDQ form: scales of {len(scales.activations)} activations and "
        f"{len(scales.weights)} weights were read from its QuantizeLinear and DequantizeLinear "
        "nodes.",
        *scales.notes,
    ]


def _written(
    repaired,
    repairs: list[str],
    source: Path,
    before: Path,
    directory: Path,
    inputs: dict | None,
    allowed: float,
) -> dict:
    """Writes the repaired model and compares it with that `before`; returns the report."""
    target = directory / ONNX
    _load_weights(repaired, before)
    if inputs:
        onnx_file.mark_as_arrays(repaired)
    onnx_file.write(repaired, target)
    written = _loaded(target)
    shape = fixed_shape(written.graph.input[0])
    assert shape is not None  # `_repaired` gave every input one
    is_large = onnx_file.weight_bytes(written) > onnx_file.LARGEST_INSIDE
    return {
        "file": source.name,
        "nodes": len(written.graph.node),
        "opset": onnx_repairs.opset_of(written),
        "input": [written.graph.input[0].name, *shape],
        "outputs": [[info.name, sides_in_words(info)] for info in written.graph.output],
        "repairs": repairs,
        "largest_difference": None if is_large else _difference(before, target, allowed),
    }


def explain(report: dict) -> list[str]:
    """What was found and repaired, in sentences for people."""
    name, *shape = report["input"]
    said = [
        f"{report['file']} has {report['nodes']} nodes of operator set {report['opset']}; it takes "
        f"{name} {tuple(shape)}.",
        *report["repairs"],
    ]
    if report["largest_difference"] is not None:
        said.append(
            "The repaired model agrees with the file as it came to "
            f"{report['largest_difference']:.1e} of the largest output."
        )
    return said


def _repaired(model, shape: tuple[int, ...], source: Path, inputs: dict | None = None):
    """The model in the first layout and batch that runs, and what was done to it."""
    repairs = [*onnx_repairs.free_constants(model), *onnx_repairs.name_nodes(model)]
    repairs += onnx_repairs.in_float32(model, source.parent)
    if onnx_repairs.opset_of(model) < onnx_repairs.OLDEST_OPSET:
        _load_constants(model, source)
    if inputs:
        return _with_inputs(model, inputs, source, repairs)
    declared = onnx_repairs.the_input(model)
    told, words = fixed_shape(declared), sides_in_words(declared)
    model, lifted = onnx_repairs.lift_opset(model)
    batch, channels, *sides = shape
    failures, missing = [], len(unshaped(model))
    for layout, tried in (("", shape), (" (channels last)", (batch, *sides, channels))):
        for before in _batches(declared):
            candidate = _copy(model)
            done = [*repairs, *lifted, *onnx_repairs.set_input_shape(candidate, tried)]
            try:
                candidate, said = _running(candidate, before, missing, source)
            except ValueError as error:
                failures.append(f"{tried}{layout}: {error}")
                continue
            return candidate, done + said
    hint = f" (the file declares {words})" if told != shape else ""
    raise ValueError(
        f"the graph does not take pictures of {shape}{hint}: tried {failures[0]}; declare the size "
        "that the graph was made for, or export it again at this size"
    )


def _with_inputs(model, inputs: dict[str, tuple[int, ...]], source: Path, repairs: list[str]):
    """As `_repaired`, of arrays: there is one way to feed them."""
    model, lifted = onnx_repairs.lift_opset(model)
    missing, failures = len(unshaped(model)), []
    for before in _batches(model.graph.input[0]):
        candidate = _copy(model)
        done = [*repairs, *lifted, *onnx_repairs.set_shapes(candidate, inputs)]
        try:
            candidate, said = _running(candidate, before, missing, source)
        except ValueError as error:
            failures.append(str(error))
            continue
        return candidate, done + said
    listed = ", ".join(f"{name} {shape}" for name, shape in inputs.items())
    raise ValueError(f"the graph does not take {listed}: {failures[0]}: save arrays that it takes")


def _copy(model):
    copied = type(model)()
    copied.CopyFrom(model)
    return copied


def _running(candidate, before: int, missing: int, source: Path):
    """A model whose inputs have their shapes, with all others inferred, and what was done to it.

    `before` is the batch that its reshapes were exported with, 0 to leave them. Raises ValueError
    where it does not run.
    """
    rebatched = onnx_repairs.rebatch(candidate, before) if before else []
    candidate, said = onnx_repairs.infer_shapes(candidate, missing)
    _try(candidate, source)
    return candidate, rebatched + said


def _batches(declared) -> tuple[int, ...]:
    """0 to leave reshapes as they are, then the declared batch where it is not 1."""
    first = declared.type.tensor_type.shape.dim[:1]
    found = first[0].dim_value if first else 0
    return (0, found) if found > 1 else (0,)


def _try(model, source: Path) -> None:
    """Runs the model once on zeros, in bounded memory: what it makes may depend on its values.

    Raises ValueError with what ONNX Runtime says.
    """
    import onnxruntime  # noqa: F401, what it reserves does not count

    weights = memory.TIMES * onnx_file.weight_bytes(model)
    with memory.at_most(memory.RUNNING + weights):
        _outputs(model.SerializeToString(), None, source.parent)


def _difference(source: Path, repaired: Path, allowed: float) -> float | None:
    """Largest difference on noise, relative to the largest output; None where the source fails."""
    try:
        rng, taken = np.random.default_rng(0), _loaded(repaired).graph.input
        noise = [rng.random(fixed_shape(info), np.float32) for info in taken]
        before = _outputs(source, noise)
    except ValueError:
        return None
    after = _outputs(repaired, noise)
    pairs = list(zip(before, after, strict=True))
    if any(one.shape != other.shape for one, other in pairs):
        return None
    real = [(np.float64(one), np.float64(other)) for one, other in pairs]
    if not all(np.isfinite(one).all() for one, _ in real):
        return None  # a half overflows where float32 does not
    scale = max(np.abs(one).max(initial=0) for one, _ in real) or 1.0
    found = float(max(np.abs(one - other).max(initial=0) for one, other in real) / scale)
    if not found <= allowed:
        raise ValueError(
            f"{source}: the repaired model differs from the file by {found:.1e} of its largest "
            f"output, at most {allowed:.0e} is expected: export it with opset "
            f"{onnx_repairs.OLDEST_OPSET} or later"
        )
    return found


def _outputs(
    model: Path | bytes, fed: list[np.ndarray] | None, data: Path | None = None
) -> list[np.ndarray]:
    """What a model gives of an array for each input, None: of zeros.

    One in memory finds its external data in the directory `data`.
    """
    entries = {_DATA_FOLDER: str(data.resolve())} if data else {}
    options = ort.options("DISABLE_ALL", entries=entries, severity=ort.FATAL_ONLY)
    try:
        session = ort.open_model(model, options)
        feeds = {}
        for place, spec in enumerate(map(ort.spec_of, session.get_inputs())):
            value = ort.zeros_of(spec) if fed is None else fed[place]
            feeds[spec.name] = value.astype(spec.dtype)
        return ort.run(session, feeds)
    # ONNX Runtime raises classes of its own, each a direct child of Exception.
    except Exception as error:
        raise ValueError(plainly(error)) from error


def _loaded(path: Path):
    import onnx

    return onnx.load(str(path), load_external_data=False)


def _load_constants(model, source: Path) -> None:
    """Reads the small ones, which lifting the operator set may look at."""
    from onnx import TensorProto, external_data_helper

    for tensor in model.graph.initializer:
        is_outside = tensor.data_location == TensorProto.EXTERNAL
        if is_outside and math.prod(tensor.dims) <= onnx_repairs.SMALL:
            external_data_helper.load_external_data_for_tensor(tensor, str(source.parent))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]


def _load_weights(model, source: Path) -> None:
    import onnx

    onnx.load_external_data_for_model(model, str(source.parent))
