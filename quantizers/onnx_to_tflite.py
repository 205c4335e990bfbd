"""An ONNX file to a float TFLite file, by onnx2tf, checked against ONNX Runtime.

onnx2tf writes channels last: its input is (1, h, w, c), and so are outputs that are maps. These are
turned back, so that outputs keep the ONNX file's order and layout.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from quantizers.onnx_for_tflite import rewrite_for_tflite
from quantizers.onnx_prepare import fold
from quantizers.recursion import recursion
from runtimes import onnx_file
from runtimes.file_names import ONNX, TFLITE

# How far an output may be off, as a part of its largest value: float32's rounding. Deep networks
# amplify it, so ONNX Runtime is asked what another order of summation and inputs of one last digit
# more change, and so many times that is allowed; beyond the last nobody can tell it from a mistake.
TOLERANCE, TIMES_ROUNDING, MOST_TOLERATED = 1e-4, 10, 1e-2
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
# onnx2tf loads this file from the working directory, or from the network if it is not there, though
# only its own quantizer needs it.
SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"
ENDLESS = 2**31 - 1  # what onnx2tf sets Python's limit of recursion to, once, when it is imported


def to_tflite(source: Path, directory: Path) -> dict:
    """Writes `directory`/model.tflite of an ONNX file; returns its description (`describe`).

    `source` is the file, or the directory that holds it as model.onnx; its shapes are static.
    Inputs of rank 4 become channels last. Raises ValueError in a sentence where onnx2tf refuses,
    and where the TFLite file does not compute what the ONNX file does.
    """
    from runtimes.litert import describe

    source = source / ONNX if source.is_dir() else source
    target = directory / TFLITE
    inputs, expected, allowed = _reference(source)
    with tempfile.TemporaryDirectory() as folder:
        folded = _folded(source, Path(folder))
        shutil.copyfile(_converted(folded, Path(folder)), target)
    found = _outputs(target, inputs, source.name)
    if len(found) != len(expected):
        raise ValueError(
            f"{source.name} has {len(expected)} outputs, the TFLite file that onnx2tf wrote has "
            f"{len(found)}: give every output an operator of its own"
        )
    compared = list(zip(expected, found, allowed, strict=True))
    turned = [
        number
        for number, (wanted, found, most) in enumerate(compared)
        if not _same(wanted, found, most) and _same(wanted, _turned(found), most)
    ]
    if turned:
        target.write_bytes(_with_turned_outputs(target.read_bytes(), turned))
        found = _outputs(target, inputs, source.name)
        compared = list(zip(expected, found, allowed, strict=True))
    for number, (wanted, found, most) in enumerate(compared):
        if not _same(wanted, found, most):
            raise ValueError(
                f"{source.name}: output {number} of the TFLite file does not compute what the ONNX "
                f"file does ({_difference(wanted, found)}): onnx2tf converted an operator wrongly; "
                "convert the network in halves to find it, or export it to TFLite from its source"
            )
    return describe(target)


def _folded(source: Path, folder: Path) -> Path:
    """A copy of the ONNX file in `folder`, of constants as far as they follow, all shapes known.

    onnx2tf reads a shape that is computed (Shape, Gather, Concat, Reshape) or a computed Pad wrongly
    or not at all, and it saves over what it is given.
    """
    folded = folder / source.name
    fold(source, folded, rewrite_for_tflite)
    return folded


def _converted(source: Path, folder: Path) -> Path:
    """The float file that onnx2tf makes, in a working directory of its own."""
    with contextlib.chdir(folder), _environment_kept():
        np.save(SAMPLES, np.zeros((20, 128, 128, 3), np.float32))
        import onnx2tf

        try:
            onnx2tf.convert(
                input_onnx_file_path=str(source),
                output_folder_path=str(folder / "out"),
                not_use_onnxsim=True,
                copy_onnx_input_output_names_to_tflite=True,
                disable_group_convolution=True,  # else none that is grouped and not depthwise
                non_verbose=True,
            )
        except (Exception, SystemExit) as error:  # both are its way to say that it cannot
            raise ValueError(f"{source.name}: onnx2tf stops at {_refused(error)}") from error
    found = sorted((folder / "out").glob("*_float32.tflite"))
    if not found:
        raise ValueError(f"{source.name}: onnx2tf wrote no float32 file; the log says why")
    return found[0]


def _refused(error: BaseException) -> str:
    """What onnx2tf could not convert; of an operator that it does not know, a module is missing."""
    module = getattr(error, "name", None) or ""
    known = not module.startswith("onnx2tf.ops.")
    operator = "an operator (the log says which)" if known else module.rpartition(".")[2]
    return (
        f"{operator}, which it cannot convert: replace it in the ONNX file, or end the network "
        "before it and leave it to the host"
    )


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """For whoever comes after it in this process.

    onnx2tf asks for the old Keras, hides graphics cards, makes TensorFlow refuse every random
    operator without a seed, and lets Python recurse without end.
    """
    from tensorflow.python.framework import config  # its public module can only switch it on

    before, was_determined = dict(os.environ), config.is_op_determinism_enabled()
    try:
        with recursion(ENDLESS):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if not was_determined:
            config.disable_op_determinism()


def _reference(source: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:
    """Random inputs of the ONNX file, what it computes of them, and how far each may be off."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    session = _session(source, levels.ORT_ENABLE_ALL)
    declared = session.get_inputs()
    for given in declared:
        if not all(isinstance(side, int) and side > 0 for side in given.shape):
            raise ValueError(
                f"{source.name}: input {given.name} has shape {given.shape}, expected static sides"
            )
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(-1, 1, given.shape).astype(np.float32) for given in declared]
    names = [given.name for given in declared]
    outputs = session.run(None, dict(zip(names, inputs, strict=True)))
    nearly = [np.nextafter(value, np.float32(np.inf)) for value in inputs]
    plain = _session(source, levels.ORT_DISABLE_ALL)
    otherwise = plain.run(None, dict(zip(names, nearly, strict=True)))
    allowed = [_allowed(*pair) for pair in zip(outputs, otherwise, strict=True)]
    return inputs, outputs, allowed


def _session(source: Path, level):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 3
    try:
        return onnxruntime.InferenceSession(
            str(source), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no common type
        said = " ".join(str(error).split())
        raise ValueError(f"{source.name} cannot be run by ONNX Runtime: {said}") from error


def _allowed(output: np.ndarray, otherwise: np.ndarray) -> float:
    """By how much an output may be off, from one that differs by rounding alone."""
    largest = max(float(np.abs(output).max()), 1e-6)
    rounding = float(np.abs(output - otherwise).max())
    return min(max(TOLERANCE * largest, TIMES_ROUNDING * rounding), MOST_TOLERATED * largest)


def _outputs(model: Path, inputs: list[np.ndarray], name: str) -> list[np.ndarray]:
    """What the TFLite file computes of the ONNX file's inputs, as it lays it out."""
    from runtimes.litert import LiteRTSession

    session = LiteRTSession(model)
    fed = [_turned(x, CHANNELS_LAST) if x.ndim == 4 else x for x in inputs]
    takes, given = [spec.shape for spec in session.inputs], [x.shape for x in fed]
    if takes != given:
        raise ValueError(f"{name}: the TFLite file takes {takes}, expected channels last: {given}")
    return session.run(fed)


def _turned(value: np.ndarray, axes: tuple[int, ...] = CHANNELS_FIRST) -> np.ndarray:
    return np.ascontiguousarray(value.transpose(axes)) if value.ndim == 4 else value


def _same(wanted: np.ndarray, found: np.ndarray, allowed: float) -> bool:
    return wanted.shape == found.shape and bool(np.abs(wanted - found).max() <= allowed)


def _difference(wanted: np.ndarray, found: np.ndarray) -> str:
    if wanted.shape != found.shape:
        return f"shape {found.shape}, expected {wanted.shape}"
    furthest = np.abs(wanted - found).max()
    return f"off by up to {furthest:.3g} where values go to {np.abs(wanted).max():.3g}"


def _with_turned_outputs(model: bytes, numbers: list[int]) -> bytes:
    """The `.tflite` with these outputs, maps (1, h, w, c), transposed to (1, c, h, w)."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    graph = whole.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE
    axes = schema.BufferT()
    axes.data = np.array(CHANNELS_FIRST, np.int32).view(np.uint8)
    whole.operatorCodes.append(code)
    whole.buffers.append(axes)
    constant = _tensor(b"channels_first", [4], schema.TensorType.INT32, len(whole.buffers) - 1)
    graph.tensors.append(constant)
    constant_index = len(graph.tensors) - 1
    for number in numbers:
        last = int(graph.outputs[number])
        shape = [int(graph.tensors[last].shape[axis]) for axis in CHANNELS_FIRST]
        name = graph.tensors[last].name + b"/channels_first"
        graph.tensors.append(_tensor(name, shape, schema.TensorType.FLOAT32, 0))
        operator = schema.OperatorT()
        operator.opcodeIndex = len(whole.operatorCodes) - 1
        operator.inputs, operator.outputs = [last, constant_index], [len(graph.tensors) - 1]
        operator.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
        operator.builtinOptions = schema.TransposeOptionsT()
        graph.operators.append(operator)
        graph.outputs[number] = len(graph.tensors) - 1
        for named in (entry for found in whole.signatureDefs or [] for entry in found.outputs):
            if named.tensorIndex == last:
                named.tensorIndex = len(graph.tensors) - 1
    builder = flatbuffers.Builder(len(model))
    builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(name: bytes, shape: list[int], kind: int, buffer: int):
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    tensor.quantization = schema.QuantizationParametersT()
    return tensor
