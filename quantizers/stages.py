"""What each stage runs for a source format and a toolchain.

A stage's function runs in the worker process and writes into the directory that is its last
argument. A new source format or toolchain is an entry here. Which code a result depends on follows
from the function (`engine.code_identity`): nothing is listed but what no import names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from int8gate.engine import code_identity
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models import inspection
from int8gate.quantizers import activation_audit, auditing, export, samples
from int8gate.quantizers.recipe import ALL_OPERATORS, Recipe
from int8gate.quantizers.toolchains.onnx import from_torch as onnx_export
from int8gate.quantizers.toolchains.onnx import stages as onnx_stages
from int8gate.quantizers.toolchains.tflite import convert as tflite
from int8gate.quantizers.toolchains.tflite import from_onnx as onnx_to_tflite
from int8gate.quantizers.toolchains.tflite import from_torch as torch_to_tflite
from int8gate.quantizers.toolchains.tflite import stages as tflite_stages
from int8gate.quantizers.toolchains.tflite import tensor_names as tflite_names

WRITES_ONNX = ("onnxscript",)  # what PyTorch's exporter translates with; only PyTorch imports it


@dataclass(frozen=True)
class Stage:
    """A function, and what it looks up by name: functions (``module:name``), packages."""

    kind: str
    function: Callable
    named: tuple[str, ...] = ()

    @property
    def roots(self) -> tuple[str, ...]:
        """What reaches all the code that the result depends on."""
        return (f"{self.function.__module__}:{self.function.__name__}", *self.named)

    def identity(self) -> dict:
        """What a cache key holds of the code, ours, a user's and that of libraries."""
        return code_identity.identity(*self.roots)


def check_route(spec: ModelSpec, recipe: Recipe) -> None:
    """Raises ValueError where no toolchain brings such a model to such an artifact."""
    if recipe.is_mixed:
        narrow = next(rule.match for rule in recipe.rules if rule.match != ALL_OPERATORS)
        raise ValueError(
            f"{recipe.name} has a rule for the operators {narrow!r}, and {recipe.toolchain} "
            f"quantizes all operators alike so far: give it one rule that matches {ALL_OPERATORS!r}"
        )
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
    comes_converted = spec.own and spec.source_format == "tflite"
    if comes_converted and not from_ranges and recipe.activations != "int16":
        raise ValueError(
            f"{spec.name} comes as a float .tflite file, and {recipe.name} starts from TensorFlow: "
            "choose a full integer recipe, or give int8gate the model that the file was made of"
        )


def export_of(spec: ModelSpec, profile: str) -> Stage:
    """Called with (spec, profile, weights, seed, [calibration samples of a frozen graph])."""
    builders = (spec.network(profile).builder, spec.wrapper, spec.graph, spec.source)
    named = tuple(path for path in builders if path)
    if spec.source_format == "onnx":
        return Stage("program", onnx_export.export_onnx, named)
    if spec.is_torch:
        return Stage("program", onnx_export.export_torch, (*named, *WRITES_ONNX))
    if spec.source_format == "saved_model":
        return Stage("saved_model", export.export_saved_model, named)
    if spec.own and spec.source_format == "tflite":
        return Stage("program", export.take_tflite, named)
    if spec.source_format == "frozen_graph":
        return Stage("imported", export.export_frozen_graph, named)
    return Stage("saved_model", export.export_keras, named)


def float_of(spec: ModelSpec, toolchain: str) -> Stage:
    """Called with (the directory that the export wrote)."""
    if toolchain == "onnx":
        return Stage("artifact", onnx_export.to_onnx)
    if spec.own and spec.source_format == "tflite":
        return Stage("artifact", export.keep_tflite)
    if spec.source_format == "onnx":
        return Stage("artifact", onnx_to_tflite.to_tflite)
    if spec.is_torch:
        return Stage("artifact", torch_to_tflite.to_tflite)
    return Stage("artifact", tflite.to_tflite)


def calibration_of(toolchain: str) -> Stage:
    """Called with (float model, samples, where shards are kept, jobs)."""
    of_toolchain = {"onnx": onnx_stages, "tflite": tflite_stages}[toolchain]
    return Stage("statistics", of_toolchain.calibrate)


def quantization_of(toolchain: str) -> Stage:
    """Called with (float model, recipe, statistics or None, what pixels 0 and 255 become)."""
    of_toolchain = {"onnx": onnx_stages, "tflite": tflite_stages}[toolchain]
    return Stage("artifact", of_toolchain.quantize)


# Called with (SavedModel, recipe, calibration samples or None)
CONVERSION = Stage("artifact", tflite.convert)
# with (file, names of inputs, of outputs)
NAMING = Stage("artifact", tflite_names.name_ends)
# with (file, format, names of inputs, of outputs, whether it is trusted, signature)
INSPECTION = Stage("inspection", inspection.describe)
# with (a set of a folder's pictures)
PICTURE_CHECK = Stage("picture_check", samples.check_pictures)
# with (file)
PREQUANTIZED = Stage("prequantized", tflite_stages.take)
# with (the directory of an imported frozen graph, samples)
INPUTS = Stage("network_inputs", export.network_inputs)
# with (statistics of calibration, of evaluation, recipe, pixel range)
ACTIVATION_AUDIT = Stage("activation_audit", activation_audit.judge)


def preparation_of(spec: ModelSpec) -> Stage:
    """Called with (sample set, preprocessing, whether pixels stay as they are)."""
    return Stage("samples", samples.prepare, spec.preprocessing.hooks)


def picture_audit_of(spec: ModelSpec) -> Stage:
    """Called with (calibration set, evaluation set, preprocessing, classes, minimum)."""
    return Stage("audit", auditing.findings, spec.preprocessing.hooks)
