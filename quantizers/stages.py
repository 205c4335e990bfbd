"""Stages that no toolchain changes, and which way a model may go.

A stage's function runs in the worker process: pictures of a user are files that may crash it, like
any other. What differs between source formats stands in `sources.py`, what differs between
toolchains in `toolchains/NAME/toolchain.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.opening import ArraySamples
from int8gate.calibration_data.folders import FolderSamples
from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models import inspection
from int8gate.quantizers import activation_audit, auditing, network_export
from int8gate.quantizers.recipe import ALL_OPERATORS, Recipe
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.toolchains.registry import find
from int8gate.runtimes.artifact import TFLITE

SAMPLES, SEVERAL = "samples.npy", "samples.npz"
BATCH = 32  # samples drawn at a time


def prepare(
    drawn: SampleSet, preprocessing: Preprocessing, as_pixels: bool, directory: Path
) -> None:
    """Writes `directory`/samples.npy, (n, ...) of the one input: pixels, or what the network takes;
    of several inputs `directory`/samples.npz, ``input_0`` and so on in the network's order.
    """

    def of_input(place: int) -> Iterator[np.ndarray]:
        for arrays, _ in drawn.feeds(BATCH):
            value = list(arrays.values())[place]
            yield value if as_pixels else preprocessing.apply(value)

    count = len(drawn.named(0)[0])
    if count == 1:
        _write_batches(directory / SAMPLES, of_input(0), len(drawn))
        return
    whole = {f"input_{place}": np.concatenate(list(of_input(place))) for place in range(count)}
    np.savez(directory / SEVERAL, **whole)


def sample_file(directory: Path) -> Path:
    """What `prepare` wrote."""
    several = directory / SEVERAL
    return several if several.is_file() else directory / SAMPLES


def check_pictures(samples: FolderSamples | ArraySamples, directory: Path) -> None:
    """Reads every sample and label; raises one ValueError with all that is wrong with them."""
    samples.check()


def _write_batches(path: Path, batches: Iterator[np.ndarray], count: int) -> None:
    """An `.npy` file of `count` samples, of which a batch at a time is in memory.

    Not through a memory map: a full disk would be a bus error.
    """
    first = next(batches)
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (count, *first.shape[1:]),
    }
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for batch in itertools.chain([first], batches):
            file.write(np.ascontiguousarray(batch, first.dtype).data)


# Called with (file, format, names of inputs, of outputs, whether it is trusted, signature)
INSPECTION = Stage("inspection", inspection.describe)
# with (a set of a folder's pictures)
PICTURE_CHECK = Stage("picture_check", check_pictures)
# with (the directory of an imported frozen graph, samples)
INPUTS = Stage("network_inputs", network_export.network_inputs)
# with (statistics of calibration, of evaluation, recipe, pixel range)
ACTIVATION_AUDIT = Stage("activation_audit", activation_audit.judge)


def check_route(spec: ModelSpec, recipe: Recipe) -> None:
    """Raises ValueError where the recipe's toolchain does not bring such a model to an artifact."""
    if recipe.is_mixed:
        narrow = next(rule.match for rule in recipe.rules if rule.match != ALL_OPERATORS)
        raise ValueError(
            f"{recipe.name} has a rule for the operators {narrow!r}, and {recipe.toolchain} "
            f"quantizes all operators alike so far: give it one rule that matches {ALL_OPERATORS!r}"
        )
    numbers = [each for each in spec.compact.inputs if each.dtype.startswith(("int", "uint"))]
    if recipe.activations == "int16" and numbers:
        raise ValueError(
            f"{spec.name} takes whole numbers ({numbers[0]}), for which TensorFlow's quantizer to "
            f"int16 wants a range: choose another recipe than {recipe.name}"
        )
    source = source_of(spec)
    if why := find(recipe.toolchain).refusal(source.form, recipe):
        comes_as = "a float .tflite file" if source.form == TFLITE else source.name
        raise ValueError(f"{spec.name} comes as {comes_as}, and {recipe.name} {why}")


def preparation_of(spec: ModelSpec) -> Stage:
    """Called with (sample set, preprocessing, whether pixels stay as they are)."""
    return Stage("samples", prepare, spec.preprocessing.hooks)


def picture_audit_of(spec: ModelSpec) -> Stage:
    """Called with (calibration set, evaluation set, preprocessing, classes, minimum)."""
    return Stage("audit", auditing.findings, spec.preprocessing.hooks)
