"""From a declaration to an artifact: export, calibrate, quantize, each once and kept in the cache.

    pipeline = Pipeline(settings, cache, worker)
    pipeline.artifact(spec, recipe)      -> Built, with the `Artifact` and what it took

Each stage is a function of `export.py` or `tflite.py` that runs in the worker process; its cache
key holds all that its result depends on: the declaration, the code that builds and converts,
weights, calibration samples, recipe, library versions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
import shutil
from dataclasses import dataclass, field
from functools import cache as memoize
from importlib.metadata import version
from pathlib import Path

import numpy as np

import calibration_data
from calibration_data.checks import check_calibration
from model_zoo.spec import ModelSpec
from model_zoo.weights import Weights, find_quantized_file, find_weights
from quantizers import export, tflite
from quantizers.cache import ArtifactCache, CacheEntry, cache_key
from quantizers.diagnosis import ConversionFailed, diagnosed
from quantizers.recipe import RECIPES, Recipe
from quantizers.settings import Settings
from quantizers.worker import Worker, WorkerError
from runtimes.artifact import Artifact, sha256_of
from runtimes.litert import as_artifact, describe

LIBRARIES = ("tensorflow", "keras", "numpy")
SAMPLES = "samples.npy"
IMPORTERS = "model_zoo.importers"
RECYCLE_ABOVE = 2e9  # bytes
HOST_CODE = "runtimes.frozen_graph"
CONVERTED_BY = (
    "quantizers.tflite",
    "quantizers.pixel_ranges",
    "runtimes.litert",
    "runtimes.artifact",
)
REFERENCE = RECIPES["tflite_fp32"]


@dataclass(frozen=True)
class Built:
    """An artifact, the seconds of each stage when it was built, and the peak memory of its worker.

    `peak_rss_bytes` is the largest of the stages, None where the system does not tell.
    """

    artifact: Artifact
    seconds: dict = field(default_factory=dict)
    peak_rss_bytes: int | None = None


class Pipeline:
    """The stages, over one cache and one worker.

    Raises ConversionFailed or WorkerError when a converter fails; their `log` is all it wrote.
    """

    def __init__(self, settings: Settings, cache: ArtifactCache, worker: Worker):
        self.settings, self.cache, self.worker = settings, cache, worker
        self._failures: dict[str, WorkerError | ConversionFailed] = {}

    def weights(self, spec: ModelSpec) -> Weights:
        """Where the model's weights come from in this run; see `find_weights`."""
        chosen = self.settings
        return find_weights(spec, chosen.profile, chosen.weights_dir, chosen.random_weights)

    def samples(self, spec: ModelSpec, split: str):
        """The model's `SampleSet` of a split, at the size of the run's profile."""
        network = spec.network(self.settings.profile)
        *size, channels = network.picture_shape
        folder = self.settings.data_dir
        data = spec.task if folder else spec.data
        return calibration_data.load(data, split, tuple(size), channels, folder, network.classes)

    def artifact(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model quantized by the recipe; for `tflite_fp32` the float reference."""
        if recipe.is_prequantized:
            return self._prequantized(spec, recipe)
        exported, converted = self.exported(spec), self._converted(spec, recipe)
        calibrated = self._calibrated(spec) if recipe.activations == "int8" else None
        stages = {"export": exported, "calibrate": calibrated, "quantize": converted}
        peaks = [stage.meta["peak_rss_bytes"] for stage in stages.values() if stage]
        return Built(
            as_artifact(
                converted.path / tflite.MODEL,
                converted.meta["result"],
                self._provenance(recipe, spec, self.weights(spec).identity),
            ),
            {name: stage and stage.meta["seconds"] for name, stage in stages.items()},
            max((peak for peak in peaks if peak is not None), default=None),
        )

    def _converted(self, spec: ModelSpec, recipe: Recipe) -> CacheEntry:
        exported = self.exported(spec)
        calibrated = self._calibrated(spec) if recipe.activations == "int8" else None
        samples = self._network_inputs(spec) if recipe.activations == "int16" else None
        inputs = [stage for stage in (exported, calibrated, samples) if stage]
        return self._run(
            "artifact",
            {
                "inputs": [stage.path.name for stage in inputs],
                "recipe": repr(recipe),
                "pixel_range": spec.preprocessing.range,
                "code": [code_digest(name) for name in CONVERTED_BY],
                "versions": _versions(),
            },
            tflite.convert,
            exported.path / export.SAVED_MODEL,
            recipe,
            calibrated and calibrated.path / tflite.CALIBRATED,
            samples and _arrays(samples),
            spec.preprocessing.range,
        )

    def exported(self, spec: ModelSpec) -> CacheEntry:
        """The float network as a SavedModel of fixed shape, in the entry's `saved_model`.

        Of a frozen graph the entry is what the importer wrote, its report in ``meta["result"]``.
        """
        weights, profile = self.weights(spec), self.settings.profile
        declared = (spec.network(profile), spec.wrapper, spec.graph, spec.preprocessing)
        parts = {
            "network": repr(declared),
            "weights": weights.identity,
            "seed": self.settings.seed,
            "code": [code_digest(name) for name in _modules_of(spec, profile)],
            "versions": _versions(),
        }
        chosen = (spec, profile, weights, self.settings.seed)
        if spec.source_format != "frozen_graph":
            return self._run("saved_model", parts, export.export_keras, *chosen)
        samples = self._calibration_samples(spec)
        parts["samples"] = samples.path.name
        drawn = samples.path / SAMPLES
        return self._run("imported", parts, export.export_frozen_graph, *chosen, drawn)

    def _prequantized(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model's own quantized file, copied to the cache under its content's name."""
        source = find_quantized_file(spec, self.settings.profile, self.settings.weights_dir)
        parts = {"file": sha256_of(source), "code": code_digest("runtimes.litert")}
        kept = self._run("prequantized", parts, _take, source)
        return Built(
            as_artifact(
                kept.path / tflite.MODEL,
                kept.meta["result"],
                self._provenance(recipe, spec, parts["file"]) | {"file": source.name},
            ),
            {"export": None, "calibrate": None, "quantize": None},
            kept.meta["peak_rss_bytes"],
        )

    def _calibrated(self, spec: ModelSpec) -> CacheEntry:
        float_model, samples = self._converted(spec, REFERENCE), self._network_inputs(spec)
        return self._run(
            "ranges",
            {
                "inputs": [float_model.path.name, samples.path.name],
                "code": code_digest("quantizers.tflite"),
                "versions": _versions(),
            },
            tflite.calibrate,
            float_model.path / tflite.MODEL,
            self.exported(spec).path / export.SAVED_MODEL,
            _arrays(samples),
        )

    def _network_inputs(self, spec: ModelSpec) -> CacheEntry:
        """The calibration samples as they reach the network."""
        samples = self._calibration_samples(spec)
        if spec.source_format != "frozen_graph":
            return samples
        imported = self.exported(spec)
        return self._run(
            "network_inputs",
            {
                "inputs": [imported.path.name, samples.path.name],
                "code": [code_digest(name) for name in ("quantizers.export", HOST_CODE)],
                "versions": _versions(),
            },
            export.network_inputs,
            imported.path,
            samples.path / SAMPLES,
        )

    def _calibration_samples(self, spec: ModelSpec) -> CacheEntry:
        """The preprocessed calibration samples, checked before anything sees them."""
        drawn = self.samples(spec, "calibration")
        as_pixels = spec.source_format == "frozen_graph" and spec.preprocessing.is_identity

        def build(directory: Path) -> None:
            images = np.concatenate([images for images, _ in drawn.batches(64)])
            samples = images if as_pixels else spec.preprocessing.apply(images)
            np.save(directory / SAMPLES, samples)

        parts = {
            "digest": drawn.digest(),
            "as_pixels": as_pixels,
            "preprocessing": repr(spec.preprocessing),
            "code": code_digest("calibration_data.preprocessing"),
        }
        entry = self.cache.get_or_build("samples", parts, build)
        check_calibration(
            np.load(entry.path / SAMPLES, mmap_mode="r", allow_pickle=False),
            spec.name,
            spec.network(self.settings.profile).picture_shape,
            spec.preprocessing.range,
            self.settings.min_calibration_samples,
        )
        return entry

    def _run(self, kind: str, parts: dict, function, *arguments) -> CacheEntry:
        """The cached result of a stage, run in the worker on a miss, its log kept either way.

        A stage that failed raises the same exception to every recipe that needs it:
        ConversionFailed where the reason is known, else the WorkerError.
        """
        key = cache_key({"kind": kind, "parts": parts})
        if key in self._failures:
            raise self._failures[key]

        def build(directory: Path) -> dict:
            log = self.cache.root / "logs" / f"{directory.name}.log"
            result = self.worker.run(
                function, *arguments, directory, timeout_s=self.settings.stage_timeout_s, log=log
            )
            log.replace(directory / "converter.log")
            if (result.peak_rss_bytes or 0) > RECYCLE_ABOVE:
                self.worker.close()  # converters give little back: the next stage starts afresh
            took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
            return took | {"result": result.value}

        try:
            return self.cache.get_or_build(kind, parts, build)
        except WorkerError as error:
            self._failures[key] = diagnosed(error, kind)
            raise self._failures[key] from error

    def _provenance(self, recipe: Recipe, spec: ModelSpec, weights: str) -> dict:
        return {
            "model": spec.name,
            "recipe": recipe.name,
            "profile": self.settings.profile,
            "weights": weights,
            "versions": _versions(),
        }


def _arrays(entry: CacheEntry) -> Path:
    """The file of calibration samples in an entry."""
    behind_the_host = entry.path / export.NETWORK_INPUTS
    return behind_the_host if behind_the_host.is_file() else entry.path / SAMPLES


def _take(source: Path, directory: Path) -> dict:
    """Copies a quantized file into the cache; returns its description. Runs in the worker."""
    described = describe(source)
    shutil.copyfile(source, directory / tflite.MODEL)
    return described


def _modules_of(spec: ModelSpec, profile: str) -> list[str]:
    """The modules whose code decides what is exported; of libraries the version does."""
    named = [spec.network(profile).builder, spec.wrapper or "", spec.graph or ""]
    builders = [path.partition(":")[0] for path in named]
    ours = [name for name in builders if name and name.partition(".")[0] not in LIBRARIES]
    if spec.graph:
        ours += [f"{IMPORTERS}.{found.name}" for found in _submodules(IMPORTERS)]
    return ["model_zoo.networks", "model_zoo.weights", "quantizers.export", *ours]


def _submodules(package: str) -> list:
    found = pkgutil.iter_modules(importlib.util.find_spec(package).submodule_search_locations)
    return sorted(found, key=lambda module: module.name)


@memoize
def code_digest(module: str) -> str:
    """SHA-256 of a module's source, which is not run."""
    return hashlib.sha256(Path(importlib.util.find_spec(module).origin).read_bytes()).hexdigest()


@memoize
def _versions() -> dict:
    return {name: version(name) for name in LIBRARIES}
