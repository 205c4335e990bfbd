"""Models of the zoo as the files that their users have.

Called in a worker process, so that the libraries are imported there once.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.weights import Weights, find_quantized_file, find_weights

KINDS = {  # of every source format, the first of which is the source itself
    "keras": ("h5", "keras", "saved_model", "tflite"),
    "frozen_graph": ("pb",),
    "tflite": ("shipped", "h5", "tflite"),
    "pytorch": ("pt2", "onnx"),
    "diffusers": (),  # several networks and a loop are no file
    "darknet": ("cfg", "onnx"),
    "onnx": ("onnx",),
}


def write(name: str, kind: str, profile: str, folder: Path, trained: bool = False) -> Path:
    """The file, of a neutral name, in `folder`; `trained` takes the project's weights."""
    folder.mkdir(parents=True)
    spec = _of_one_layer(model(name))
    weights = find_weights(spec, profile, random=not trained)
    if kind == "shipped":
        source = find_quantized_file(spec, profile, None)
        return Path(shutil.copyfile(source, folder / "gadget.tflite"))
    found = (_of_torch if spec.is_torch else _of_tensorflow)(spec, kind, profile, weights, folder)
    if found.is_dir() or found.suffix == ".cfg":  # its weights lie beside it
        return found
    return found.rename(folder / f"gadget{found.suffix}")


def _of_one_layer(spec):
    """A full language model with one of its layers, which are copies of each other: what its file
    takes and gives is the same, and all of them are 13 and 29 GB of random numbers.
    """
    if spec.task != "language":
        return spec
    sizes = spec.full.arguments | {"num_hidden_layers": 1}
    return replace(spec, full=replace(spec.full, arguments=sizes))


def _of_tensorflow(spec, kind: str, profile: str, weights: Weights, folder: Path) -> Path:
    from int8gate.quantizers import network_export as export
    from int8gate.quantizers.toolchains.tflite import convert as tflite

    network = export._network(spec, profile, weights, 0)
    if kind == "pb":
        graph = resolve(spec.graph)(network, spec.network(profile))
        (folder / "gadget.pb").write_bytes(graph.SerializeToString())
        return folder / "gadget.pb"
    if kind == "tflite":
        export.export_keras(spec, profile, weights, 0, folder)
        tflite.to_tflite(folder, folder)
        return folder / "model.tflite"
    if kind == "saved_model":
        network.export(str(folder / "saved"), verbose=False)
        return folder / "saved"
    network.save(folder / f"gadget.{kind}")
    return folder / f"gadget.{kind}"


def _of_torch(spec, kind: str, profile: str, weights: Weights, folder: Path) -> Path:
    from int8gate.quantizers.toolchains.onnx import from_torch as onnx_export

    if kind == "cfg" or (kind == "onnx" and spec.source_format == "onnx"):
        network = onnx_export.built(spec, profile, weights, 0)
        return Path(resolve(spec.source)(network, spec.network(profile), folder))
    onnx_export.export_torch(spec, profile, weights, 0, folder)
    if kind == "onnx":
        onnx_export.to_onnx(folder, folder)
        return folder / "model.onnx"
    return folder / "program.pt2"
