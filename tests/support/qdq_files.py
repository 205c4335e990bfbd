"""Small ONNX files in QDQ form, as trainings and quantizers write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from int8gate.model_zoo.importers.onnx.importer import import_onnx
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.ranged import table_of
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx import stages as onnx_stages
from int8gate.quantizers.toolchains.onnx import with_scales as onnx_floats
from int8gate.quantizers.toolchains.tflite import stages as tflite_stages
from int8gate.quantizers.toolchains.tflite import with_scales as tflite_floats
from int8gate.runtimes.artifact import ONNX, STATISTICS, TFLITE

STAGES = {
    "onnx": (ONNX, onnx_floats.to_onnx, onnx_stages),
    "tflite": (TFLITE, tflite_floats.to_tflite, tflite_stages),
}


class Builder:
    """A graph that grows node by node, with pairs around its tensors."""

    def __init__(self, shape: tuple[int, ...] = (1, 3, 8, 8)) -> None:
        self.nodes, self.stored = [], []
        self.input = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)

    def constant(self, name: str, values) -> str:
        self.stored.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], result: str, **settings) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [result], f"{result}_node", **settings))
        return result

    def pair(self, tensor: str, scale, zero_point, dtype: str, axis: int | None = None) -> str:
        """The tensor behind a Q and a DQ; with an axis a scale for each of its entries."""
        scales = np.asarray(scale, np.float32)
        points = np.broadcast_to(np.asarray(zero_point, dtype), scales.shape)
        given = [
            self.constant(f"{tensor}_scale", scales),
            self.constant(f"{tensor}_zero", np.array(points)),
        ]
        settings = {} if axis is None else {"axis": axis}
        self.node("QuantizeLinear", [tensor, *given], f"{tensor}_q", **settings)
        return self.node("DequantizeLinear", [f"{tensor}_q", *given], f"{tensor}_dq", **settings)

    def model(self, output: str, opset: int = 17) -> onnx.ModelProto:
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "made", [self.input], [result], self.stored)
        sets = [helper.make_opsetid("", opset)]
        made = helper.make_model(graph, opset_imports=sets, ir_version=8)
        return onnx.shape_inference.infer_shapes(made)  # the checker wants the output's shape


def shipped(
    file: Path,
    shape: tuple[int, ...],
    toolchain: str,
    folder: Path,
    recipe: str | None = None,
    samples: np.ndarray | None = None,
    inputs: dict[str, tuple[int, ...]] | None = None,
) -> tuple[Path, dict]:
    """The artifact of a toolchain, and its description: imported, calibrated, quantized.

    `inputs`: of a network that takes arrays, which `samples` are then.
    """
    name, to_float, stages = STAGES[toolchain]
    parts = {part: folder / f"{toolchain}_{part}" for part in ("export", "float", "table", "out")}
    for part in parts.values():
        part.mkdir(parents=True, exist_ok=True)
    import_onnx(file, shape, parts["export"], inputs)
    to_float(parts["export"], parts["float"])
    if samples is None:
        samples = np.random.default_rng(0).random((4, *shape[2:], shape[1]), np.float32)
    np.save(folder / "samples.npy", samples)
    drawn = folder / "samples.npy"
    float_model = parts["float"] / name
    stages.calibrate(float_model, drawn, folder / f"{toolchain}_shards", 1, parts["table"])
    chosen = RECIPES[recipe or f"{toolchain}_int8"]
    statistics = parts["table"] / STATISTICS
    described = stages.quantize(float_model, chosen, statistics, None, parts["out"])
    return parts["out"] / name, described


def calibrated_ranges(folder: Path, toolchain: str) -> dict:
    """Those that calibration alone would give, behind `shipped`."""
    table = table_of(folder / f"{toolchain}_table" / STATISTICS)
    return thresholds.ranges_of(table, RECIPES[f"{toolchain}_int8"])
