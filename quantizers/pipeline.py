"""From a declaration to an artifact: export, calibrate, quantize, each once and kept in the cache.

    pipeline = Pipeline(settings, cache, worker)
    pipeline.artifact(spec, recipe)      -> Built, with the `Artifact` and what it took

Each stage is a function of `tflite.py` that runs in the worker process; its cache key holds all
that its result depends on: the declaration, the code that builds and converts, weights, calibration
samples, recipe, library versions.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass, field
from functools import cache as memoize
from importlib.metadata import version
from pathlib import Path

import numpy as np

import calibration_data
from calibration_data.checks import check_calibration
from model_zoo.spec import ModelSpec
from model_zoo.weights import Weights, find_weights
from quantizers import tflite
from quantizers.cache import ArtifactCache, CacheEntry, cache_key
from quantizers.recipe import RECIPES, Recipe
from quantizers.settings import Settings
from quantizers.worker import Worker, WorkerError
from runtimes.artifact import Artifact
from runtimes.litert import read_artifact

LIBRARIES = ("tensorflow", "keras", "numpy")
SAMPLES = "samples.npy"
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
    """The stages, over one cache and one worker. Raises WorkerError when a converter fails."""

    def __init__(self, settings: Settings, cache: ArtifactCache, worker: Worker):
        self.settings, self.cache, self.worker = settings, cache, worker
        self._failures: dict[str, WorkerError] = {}

    def weights(self, spec: ModelSpec) -> Weights:
        """Where the model's weights come from in this run; see `find_weights`."""
        chosen = self.settings
        return find_weights(spec, chosen.profile, chosen.weights_dir, chosen.random_weights)

    def samples(self, spec: ModelSpec, split: str):
        """The model's `SampleSet` of a split, at the size of the run's profile."""
        network = spec.network(self.settings.profile)
        return calibration_data.load(
            spec.task,
            split,
            network.size,
            network.input_shape[-1],
            self.settings.data_dir,
            network.classes,
        )

    def artifact(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model quantized by the recipe; for `tflite_fp32` the float reference."""
        exported = self.exported(spec)
        needs_samples = recipe.activations == "int16"
        calibrated = self._calibrate(spec) if recipe.activations == "int8" else None
        samples = self._calibration_samples(spec) if needs_samples else None
        inputs = [stage for stage in (exported, calibrated, samples) if stage]
        converted = self._run(
            "artifact",
            {
                "inputs": [stage.path.name for stage in inputs],
                "recipe": repr(recipe),
                "code": code_digest("quantizers.tflite"),
                "versions": _versions(),
            },
            tflite.convert,
            exported.path / tflite.SAVED_MODEL,
            recipe,
            calibrated and calibrated.path / tflite.CALIBRATED,
            samples and samples.path / SAMPLES,
        )
        stages = {"export": exported, "calibrate": calibrated, "quantize": converted}
        peaks = [stage.meta["peak_rss_bytes"] for stage in stages.values() if stage]
        return Built(
            read_artifact(converted.path / tflite.MODEL, self._provenance(spec, recipe)),
            {name: stage and stage.meta["seconds"] for name, stage in stages.items()},
            max((peak for peak in peaks if peak is not None), default=None),
        )

    def exported(self, spec: ModelSpec) -> CacheEntry:
        """The float network as a SavedModel of fixed shape, in the entry's `saved_model`."""
        weights = self.weights(spec)
        profile = self.settings.profile
        return self._run(
            "saved_model",
            {
                "network": repr((spec.network(profile), spec.wrapper, spec.preprocessing)),
                "weights": weights.identity,
                "seed": self.settings.seed,
                "code": [code_digest(name) for name in _modules_of(spec, profile)],
                "versions": _versions(),
            },
            tflite.export_saved_model,
            spec,
            profile,
            weights,
            self.settings.seed,
        )

    def _calibrate(self, spec: ModelSpec) -> CacheEntry:
        exported, samples = self.exported(spec), self._calibration_samples(spec)
        return self._run(
            "ranges",
            {
                "inputs": [exported.path.name, samples.path.name],
                "code": code_digest("quantizers.tflite"),
                "versions": _versions(),
            },
            tflite.calibrate,
            exported.path / tflite.SAVED_MODEL,
            samples.path / SAMPLES,
        )

    def _calibration_samples(self, spec: ModelSpec) -> CacheEntry:
        """The preprocessed calibration samples, checked before anything sees them."""
        drawn = self.samples(spec, "calibration")
        network = spec.network(self.settings.profile)

        def build(directory: Path) -> None:
            images = np.concatenate([images for images, _ in drawn.batches(64)])
            np.save(directory / SAMPLES, spec.preprocessing.apply(images))

        parts = {
            "digest": drawn.digest(),
            "preprocessing": repr(spec.preprocessing),
            "code": code_digest("calibration_data.preprocessing"),
        }
        entry = self.cache.get_or_build("samples", parts, build)
        check_calibration(
            np.load(entry.path / SAMPLES, mmap_mode="r", allow_pickle=False),
            spec.name,
            (*network.size, network.input_shape[-1]),
            spec.preprocessing.range,
            self.settings.min_calibration_samples,
        )
        return entry

    def _run(self, kind: str, parts: dict, function, *arguments) -> CacheEntry:
        """The cached result of a stage, run in the worker on a miss, its log kept either way.

        A stage that failed raises the same exception to every recipe that needs it.
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
            return {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}

        try:
            return self.cache.get_or_build(kind, parts, build)
        except WorkerError as error:
            self._failures[key] = error
            raise

    def _provenance(self, spec: ModelSpec, recipe: Recipe) -> dict:
        return {
            "model": spec.name,
            "recipe": recipe.name,
            "profile": self.settings.profile,
            "weights": self.weights(spec).identity,
            "versions": _versions(),
        }


def _modules_of(spec: ModelSpec, profile: str) -> list[str]:
    """The modules whose code decides what is exported; of libraries the version does."""
    named = [spec.network(profile).builder, spec.wrapper or ""]
    builders = [path.partition(":")[0] for path in named]
    ours = [name for name in builders if name and name.partition(".")[0] not in LIBRARIES]
    return ["model_zoo.networks", "model_zoo.weights", "quantizers.tflite", *ours]


@memoize
def code_digest(module: str) -> str:
    """SHA-256 of a module's source, which is not run."""
    return hashlib.sha256(Path(importlib.util.find_spec(module).origin).read_bytes()).hexdigest()


@memoize
def _versions() -> dict:
    return {name: version(name) for name in LIBRARIES}
