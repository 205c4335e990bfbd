"""One run of onnx2tf, in a working directory of its own, and what it says when it stops."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.engine.memory import recursion
from int8gate.runtimes import onnx_file

# onnx2tf loads this file from the working directory, or from the network if it is not there, though
# only its own quantizer needs it.
SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"
ENDLESS = 2**31 - 1  # what onnx2tf sets Python's limit of recursion to, once, when it is imported
_STOPPED_AT = re.compile(r"onnx_op_name: (.+)")
_CONTROL_FLOW = ("If", "Loop", "Scan")


def converted(source: Path, as_they_are: list[str] | None = None) -> Path:
    """The float `.tflite` that onnx2tf makes of an ONNX file, in a folder beside it.

    Inputs `as_they_are` keep their shape.

    Raises ValueError naming the operator and node at which it stops.
    """
    folder = source.parent.resolve()
    given = folder / "given"  # it saves over what it is given
    given.mkdir(exist_ok=True)
    for file in onnx_file.files_of(source):
        shutil.copyfile(file, given / file.name)
    said = _Heard(sys.stdout)
    with contextlib.chdir(folder), _environment_kept():
        np.save(SAMPLES, np.zeros((20, 128, 128, 3), np.float32))
        import onnx2tf

        try:
            with contextlib.redirect_stdout(said):
                onnx2tf.convert(
                    input_onnx_file_path=str(given / source.name),
                    output_folder_path=str(folder / "out"),
                    not_use_onnxsim=True,
                    copy_onnx_input_output_names_to_tflite=True,
                    disable_group_convolution=True,  # else none that is grouped and not depthwise
                    keep_shape_absolutely_input_names=as_they_are or None,
                    non_verbose=True,
                )
        except (Exception, SystemExit) as error:  # both are its way to say that it cannot
            stopped = _refused(source, error, said.getvalue())
            raise ValueError(f"{source.name}: onnx2tf stops at {stopped}") from error
    found = sorted((folder / "out").glob("*_float32.tflite"))
    if not found:
        raise ValueError(f"{source.name}: onnx2tf wrote no float32 file; the log says why")
    return found[0]


class _Heard(io.StringIO):
    """Keeps what is printed, and passes it on."""

    def __init__(self, behind) -> None:
        super().__init__()
        self._behind = behind

    def write(self, text: str) -> int:
        self._behind.write(text)
        return super().write(text)


def _refused(source: Path, error: BaseException, said: str) -> str:
    """What onnx2tf could not convert; of an operator that it does not know, a module is missing."""
    import onnx

    graph = onnx.load(str(source), load_external_data=False).graph
    nodes = [node for inner in onnx_file.graphs_of(graph) for node in inner.node]
    by_name = {_as_printed(node.name): node for node in nodes}
    stopped = [by_name[name] for name in _printed(said) if name in by_name]
    module = getattr(error, "name", None) or ""
    if module.startswith("onnx2tf.ops."):
        operator = module.rpartition(".")[2]
        stopped += [node for node in nodes if node.op_type == operator][:1]
        where = f"{operator} ({stopped[-1].name})" if stopped else operator
    else:  # the last one: it is around the others
        where = f"{stopped[-1].op_type} ({stopped[-1].name})" if stopped else "an operator"
    if stopped and stopped[-1].op_type in _CONTROL_FLOW:
        return (
            f"{where}, control flow that it cannot convert: export the network with the condition "
            "constant or the loop written out, or take the onnx recipes"
        )
    return (
        f"{where}, which it cannot convert: replace it in the ONNX file, take the onnx recipes, or "
        "end the network before it and leave it to the host"
    )


def _printed(said: str) -> list[str]:
    return [_as_printed(name) for name in _STOPPED_AT.findall(said)]


def _as_printed(name: str) -> str:
    """It puts "wa" before names that begin with a slash."""
    return re.sub("^wa/", "/", name.strip())


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
