"""What each stage runs for a source format and a toolchain, and the code that its result is of.

A stage's function runs in the worker process and writes into the directory that is its last
argument. A new source format or toolchain is an entry here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from model_zoo.own import inspection
from model_zoo.spec import ModelSpec
from quantizers import (
    activation_audit,
    export,
    onnx_export,
    onnx_quantize,
    onnx_to_tflite,
    tflite,
    torch_to_tflite,
)
from quantizers.calibration import onnx_collector, shards, table, tflite_collector, thresholds
from quantizers.recipe import Recipe
from runtimes import litert
from runtimes.file_names import TFLITE

TENSORFLOW = ("tensorflow", "keras", "tf-keras", "numpy")
TORCH = ("torch", "transformers", "onnx", "onnxscript", "numpy")
IMPORTERS, TFLITE_RANGES = "model_zoo.importers", "quantizers.tflite_ranges"
WEIGHTS = ("model_zoo.weights", "model_zoo.weight_tensors")
REWRITES = ("affine", "einsum", "graph_view", "rewrites", "transposed")
SEARCHED_BY = (  # what a file that was taken is known not to hold
    *(f"model_zoo.own.{name}" for name in ("untrusted", "keras_file", "keras2_file", "hdf5_file")),
    "model_zoo.own.saved_model",
    *(f"model_zoo.importers.{name}" for name in ("untrusted_graph", "onnx_reading", "onnx_sizes")),
    *(f"runtimes.{name}" for name in ("archive", "memory", "program_archive", "program_graph")),
)
PACKAGED = ("keras", "transformers")  # builders of libraries: their version is their identity
STATISTICS = "statistics.npz"


@dataclass(frozen=True)
class Stage:
    """A function, the modules whose code its result depends on, and the libraries."""

    kind: str
    function: Callable
    modules: tuple[str, ...]
    libraries: tuple[str, ...]

    def identity(self) -> dict:
        """What a cache key holds of the code."""
        return {
            "code": [code_digest(name) for name in self.modules],
            "versions": {name: version_of(name) for name in self.libraries},
        }


def check_route(spec: ModelSpec, recipe: Recipe) -> None:
    """Raises ValueError where no toolchain brings such a model to such an artifact."""
    if not spec.is_torch and recipe.toolchain == "onnx":
        raise ValueError(
            f"{spec.name} comes as {spec.source_format}, and {recipe.name} starts from PyTorch, "
            "Darknet or ONNX: choose a tflite recipe"
        )
    from_ranges = recipe.is_calibrated or recipe.is_reference
    if spec.is_torch and recipe.toolchain == "tflite" and not from_ranges:
        raise ValueError(
            f"{spec.name} comes as {spec.source_format}, and {recipe.name} starts from TensorFlow: "
            "choose a calibrated tflite recipe, or an onnx one"
        )


def export_of(spec: ModelSpec, profile: str) -> Stage:
    """Called with (spec, profile, weights, seed, [calibration samples of a frozen graph])."""
    builders = (spec.network(profile).builder, spec.wrapper, spec.graph, spec.source)
    named = {path.partition(":")[0] for path in builders if path}
    ours = sorted(name for name in named if name.partition(".")[0] not in PACKAGED)
    if spec.is_torch:
        importers = submodules(IMPORTERS) if spec.source_format != "pytorch" else ()
        modules = ("model_zoo.torch_networks", *WEIGHTS, "quantizers.onnx_export")
        return Stage("program", onnx_export.export_torch, (*modules, *ours, *importers), TORCH)
    modules = ("model_zoo.networks", *WEIGHTS, "quantizers.export", *ours)
    if spec.own:
        modules = (*modules, *submodules("model_zoo.own"), "quantizers.torch_to_tflite")
    if spec.source_format == "saved_model":
        return Stage("saved_model", export.export_saved_model, modules, TENSORFLOW)
    if spec.own and spec.source_format == "tflite":
        return Stage("program", export.take_tflite, modules, ("ai-edge-litert",))
    if spec.source_format == "frozen_graph":
        modules = (*modules, *submodules(IMPORTERS))
        return Stage("imported", export.export_frozen_graph, modules, TENSORFLOW)
    return Stage("saved_model", export.export_keras, modules, TENSORFLOW)


def float_of(spec: ModelSpec, toolchain: str) -> Stage:
    """Called with (the directory that the export wrote)."""
    if toolchain == "onnx":
        modules = (
            "model_zoo.importers.onnx_repairs",
            "model_zoo.importers.onnx_shapes",
            "quantizers.onnx_export",
            "model_zoo.importers.onnx_names",
            "quantizers.onnx_prepare",
            *(f"quantizers.onnx_{name}" for name in REWRITES),
            "runtimes.onnx_file",
            "runtimes.onnx_session",
        )
        return Stage("artifact", onnx_export.to_onnx, modules, (*TORCH, "onnxruntime"))
    if spec.own and spec.source_format == "tflite":
        modules = ("quantizers.export", "runtimes.litert")
        return Stage("artifact", export.keep_tflite, modules, ("ai-edge-litert",))
    if spec.source_format == "onnx":
        modules, libraries = ("quantizers.onnx_to_tflite",), ("onnx2tf", "tensorflow")
        return Stage("artifact", onnx_to_tflite.to_tflite, modules, libraries)
    if spec.is_torch:
        modules, libraries = ("quantizers.torch_to_tflite",), ("litert-torch", "torch")
        return Stage("artifact", torch_to_tflite.to_tflite, modules, libraries)
    modules = ("quantizers.tflite", "runtimes.litert", "runtimes.artifact")
    return Stage("artifact", tflite.to_tflite, modules, TENSORFLOW)


def calibration_of(toolchain: str) -> Stage:
    """Called with (float model, samples, where shards are kept, jobs)."""
    collector, package = {
        "onnx": ("onnx_collector", "onnxruntime"),
        "tflite": ("tflite_collector", "ai-edge-litert"),
    }[toolchain]
    names = ("histogram", "statistics", "table", "shards", "sample_file", "strides", collector)
    taps = ("onnx_taps", "onnx_tap_nodes") if toolchain == "onnx" else ()
    modules = tuple(f"quantizers.calibration.{name}" for name in (*names, *taps))
    chosen_by = ("numbering", "placement", "quantize", "static") if toolchain == "onnx" else ()
    modules += tuple(f"quantizers.onnx_{name}" for name in chosen_by) or (TFLITE_RANGES,)
    return Stage("statistics", calibrate, modules, (package, "numpy"))


def calibrate(float_model: Path, samples: Path, kept: Path, jobs: int, directory: Path) -> None:
    """Writes `directory`/statistics.npz of an ONNX or TFLite model."""
    collector = onnx_collector if float_model.suffix == ".onnx" else tflite_collector
    found = shards.calibrate(collector.collect, float_model, samples, kept, jobs)
    collector.close()
    table.write_table(directory / STATISTICS, found)


def quantization_of(toolchain: str) -> Stage:
    """Called with (float model, recipe, statistics or None, what pixels 0 and 255 become)."""
    if toolchain == "onnx":
        modules = (
            *submodules("quantizers.calibration"),
            "quantizers.onnx_dynamic",
            "quantizers.onnx_moves",
            "quantizers.onnx_numbering",
            "quantizers.onnx_placement",
            "runtimes.onnx_integer_forms",
            "quantizers.onnx_quantize",
            "quantizers.onnx_static",
            "runtimes.onnx_file",
            "runtimes.onnx_session",
        )
        return Stage("artifact", quantize, modules, ("onnx", "onnxruntime", "numpy"))
    modules = (
        *submodules("quantizers.calibration"),
        "quantizers.tflite",
        TFLITE_RANGES,
        "quantizers.pixel_ranges",
        "runtimes.litert",
        "runtimes.artifact",
    )
    return Stage("artifact", quantize, modules, TENSORFLOW)


def quantize(
    float_model: Path, recipe: Recipe, statistics: Path | None, pixel_range, directory: Path
) -> dict:
    """Writes the artifact; returns its description and, with statistics, the record's
    `calibration`: the recipe's method, and of each tensor what it found and chose.
    """
    found = _table(statistics) if statistics else None
    ranges = found and thresholds.ranges(found, recipe.calibration)
    if recipe.toolchain == "onnx":
        described = onnx_quantize.quantize(float_model, recipe, ranges, directory)
    else:
        described = tflite.quantize(float_model, recipe, ranges, pixel_range, directory)
    if found:
        rows = table.summary(found, ranges)
        described["calibration"] = {"method": recipe.calibration, "tensors": rows}
    return described


def _table(statistics: Path) -> table.Table:
    """The statistics of every tensor that held values: a mask of -inf alone has no range."""
    found = table.read_table(statistics)
    return {name: of_tensor for name, of_tensor in found.items() if of_tensor.count}


CONVERSION = Stage(  # of a SavedModel, with (SavedModel, recipe, calibration samples or None)
    "artifact", tflite.convert, ("quantizers.tflite", "runtimes.litert"), TENSORFLOW
)
INSPECTION = Stage(  # with (file, format, names of inputs, of outputs, whether it is trusted)
    "inspection",
    inspection.describe,
    ("model_zoo.own.inspection", "model_zoo.own.tflite_file", *SEARCHED_BY),
    ("numpy",),
)


def take(source: Path, directory: Path) -> dict:
    """Copies a quantized file into the cache; returns its description."""
    described = litert.describe(source)
    shutil.copyfile(source, directory / TFLITE)
    return described


PREQUANTIZED = Stage("prequantized", take, ("runtimes.litert",), ("numpy",))  # with (file)
INPUTS = Stage(  # with (the directory of an imported frozen graph, samples)
    "network_inputs",
    export.network_inputs,
    ("quantizers.export", "runtimes.frozen_graph"),
    TENSORFLOW,
)


ACTIVATION_AUDIT = Stage(  # with (statistics of calibration, of evaluation, recipe, pixel range)
    "activation_audit",
    activation_audit.judge,
    (
        "quantizers.activation_audit",
        "quantizers.calibration.expected_error",
        "quantizers.calibration.thresholds",
    ),
    ("numpy",),
)


def audited_by() -> tuple[str, ...]:
    """The modules that an audit's findings depend on."""
    return ("quantizers.auditing", *submodules("calibration_data.audit"))


@cache
def version_of(library: str) -> str:
    """Of an installed library; a process sees one."""
    return version(library)


@cache
def submodules(package: str) -> tuple[str, ...]:
    """The modules of a package by their full names, in order."""
    found = pkgutil.iter_modules(importlib.util.find_spec(package).submodule_search_locations)
    return tuple(sorted(f"{package}.{module.name}" for module in found))


@cache
def code_digest(module: str) -> str:
    """SHA-256 of a module's source, which is not run."""
    return hashlib.sha256(Path(importlib.util.find_spec(module).origin).read_bytes()).hexdigest()
