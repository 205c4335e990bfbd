"""From a declaration to a float ONNX file: a PyTorch program of fixed shape, then its graph.

A PyTorch model is exported once to `program.pt2` (`torch.export`), which every toolchain starts
from and every float artifact is compared with. Models whose users have a file (Darknet, ONNX) begin
with that file: it is written by the declaration or stands among the user's weights, and goes
through the importer. These functions run in the worker process (`worker.py`).
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

from int8gate.engine.plugins import resolve
from int8gate.model_zoo import torch_networks
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.runtimes import onnx_file
from int8gate.runtimes.artifact import ONNX, PROGRAM
from int8gate.runtimes.onnx_session import describe

INPUT, OUTPUT = "image", "output_{}"
PICTURE_AXES = 4
OPSET = 20  # the newest whose every operator ONNX Runtime 1.31 fuses and quantizes
USER_FILES = (".onnx", ".cfg")


def export_torch(
    spec: ModelSpec, profile: str, weights: Weights, seed: int, directory: Path
) -> dict:
    """Writes `directory`/program.pt2: the network at its declared size, batch 1, on the CPU.

    Returns the importer's report; of other models that of a user's program, its "repairs".
    """
    declared, repairs = spec.network(profile), []
    if spec.source_format == "darknet":
        from int8gate.model_zoo.importers.darknet.importer import import_darknet

        source = _source(spec, profile, weights, seed, directory)
        model = import_darknet(source, source.with_suffix(".weights")).eval()
    elif spec.own:
        example = torch_networks.example(declared)
        model, repairs = torch_networks.read_program(weights.path, example, weights.trusted)
    else:
        model = built(spec, profile, weights, seed)
    save_program(model, torch_networks.example(declared), directory)
    return {"repairs": repairs}


def save_program(model, example: tuple, directory: Path) -> None:
    """Writes `directory`/program.pt2: a module as it takes the tensors of `example`."""
    import torch

    with quiet(), torch.no_grad():
        program = torch.export.export(model, example)
        torch.export.save(program, str(directory / PROGRAM))


def export_onnx(
    spec: ModelSpec, profile: str, weights: Weights, seed: int, directory: Path
) -> dict:
    """Writes `directory`/model.onnx, an ONNX model's repaired file; returns the importer's report.

    PyTorch is needed only where the declaration writes the file.
    """
    from int8gate.model_zoo.importers.onnx.importer import import_onnx

    declared = spec.network(profile)
    source = _source(spec, profile, weights, seed, directory)
    picture = (1, declared.input_shape[-1], *declared.size)
    arrays = {each.name: (1, *each.shape) for each in declared.inputs}
    return import_onnx(source, picture, directory, arrays)


def export_trained(
    spec: ModelSpec, profile: str, weights: Weights, seed: int, directory: Path
) -> dict:
    """Writes `directory`/model.onnx, the float network of a user's quantization-aware training, and
    its scales beside it (`qdq_scales`); returns the importer's report.
    """
    from int8gate.model_zoo.importers.onnx.importer import import_onnx
    from int8gate.model_zoo.user_models import qat_network

    declared, trained = spec.network(profile), spec.own_model.qat
    assert trained is not None
    picture = (1, declared.input_shape[-1], *declared.size)
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / "qdq.onnx"
        module = qat_network.load(trained.network, trained.checkpoint)
        changed = qat_network.to_qdq(module, picture, written)
        report = import_onnx(written, picture, directory)
    return {**report, "file": trained.checkpoint.name, "repairs": changed + report["repairs"]}


def to_onnx(exported: Path, directory: Path) -> dict:
    """Writes `directory`/model.onnx, ready to run and to quantize; returns its description.

    `exported` is the directory that `export_torch` or `export_onnx` wrote. The input is ``image``,
    (1, c, h, w) of float32, or an array as the module calls it; outputs are ``output_0`` and so on
    in the module's order; an imported ONNX file keeps its own names. The weights of a model beyond
    protobuf's 2 GiB stand in files beside it.
    """
    target = directory / ONNX
    imported = exported / ONNX
    if imported.is_file():
        prepare(imported, target)
        return describe(target)
    import torch

    raw = directory / "exported.onnx"
    write_onnx(torch.export.load(str(exported / PROGRAM)), raw)
    written = onnx_file.files_of(raw)
    prepare(raw, target)
    for file in written:
        file.unlink()
    return describe(target)


def write_onnx(exported, target: Path) -> None:
    """Writes a `torch.export.ExportedProgram` as ONNX; see `to_onnx` for its names."""
    import torch

    inputs, outputs = exported.graph_signature.user_inputs, exported.graph_signature.user_outputs
    size = sum(tensor.nbytes for tensor in exported.state_dict.values())
    values = [node.meta["val"] for node in exported.graph.nodes if node.name in inputs]
    names = [f"input_{i}" for i in range(len(inputs))]
    if len(inputs) == 1:
        names = [INPUT] if values[0].ndim == PICTURE_AXES else list(inputs)
    with quiet(), torch.no_grad():
        converted = torch.onnx.export(
            exported,
            dynamo=True,
            input_names=names,
            output_names=[OUTPUT.format(i) for i in range(len(outputs))],
            opset_version=OPSET,
            verbose=False,
        )
        assert converted is not None  # with dynamo it is a program
        converted.save(str(target), external_data=size > onnx_file.LARGEST_INSIDE)


def _source(spec: ModelSpec, profile: str, weights: Weights, seed: int, directory: Path) -> Path:
    """The file that users of the model have: their own, or what the declaration writes."""
    if weights.path and weights.path.suffix in USER_FILES:
        return weights.path
    network = built(spec, profile, weights, seed)
    return Path(resolve(spec.source)(network, spec.network(profile), directory))


def built(spec: ModelSpec, profile: str, weights: Weights, seed: int):
    """The `torch.nn.Module` of a profile with its weights, in eval mode."""
    import torch

    torch.manual_seed(seed)
    is_repository = weights.path is not None and weights.path.is_dir()
    network = torch_networks.build(
        spec,
        profile,
        official=weights.kind == "official",
        repository=weights.path if is_repository else None,
    )
    if weights.path and not is_repository:
        torch_networks.load(network, weights.path)
    if weights.kind == "random":
        torch_networks.settle_normalization(network, spec, profile, seed)
    return network


@contextmanager
def quiet():
    """Without the exporter's warnings about its own deprecated calls and absent torchvision."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
