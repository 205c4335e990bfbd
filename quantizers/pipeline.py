"""From a declaration to an artifact: export, calibrate, quantize, each once and kept in the cache.

    pipeline = Pipeline(settings, cache, worker)
    pipeline.artifact(spec, recipe)      -> Built, with the `Artifact` and what it took

    model -> exported network -> float artifact -> statistics of its tensors -> quantized artifact

Each stage is a function that runs in the worker process (`stages.py` says which, by source format
and toolchain); its cache key holds all that its result depends on: the declaration, the code that
builds and converts, weights, calibration samples, recipe, library versions.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import calibration_data
from calibration_data.checks import check_calibration
from calibration_data.sample_set import SampleSet
from model_zoo.own.inspection import ModelFile
from model_zoo.own.resolve import own_samples, resolve
from model_zoo.spec import ModelSpec
from model_zoo.weights import Weights, find_quantized_file, find_weights
from quantizers import export, stages
from quantizers.auditing import findings
from quantizers.cache import ArtifactCache, CacheEntry, cache_key
from quantizers.diagnosis import ConversionFailed, diagnosed
from quantizers.recipe import REFERENCES, Recipe
from quantizers.settings import Settings
from quantizers.stages import Stage, code_digest
from quantizers.worker import Worker, WorkerError
from runtimes.artifact import Artifact, as_artifact, sha256_of
from runtimes.file_names import ARTIFACT, ONNX, PROGRAM, SAVED_MODEL, TFLITE
from runtimes.litert import describe

SAMPLES = "samples.npy"
PREPARED_BY = "calibration_data.preprocessing"
BATCH = 32  # samples drawn at a time
RECYCLE_ABOVE = 2e9  # bytes


@dataclass(frozen=True)
class Built:
    """An artifact, the seconds of each stage when it was built, and the peak memory of its worker.

    `peak_rss_bytes` is the largest of the stages, None where the system does not tell.
    `calibration` is the record's: the method and a row for each tensor, None without ranges.
    """

    artifact: Artifact
    seconds: dict = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    calibration: dict | None = None


class Pipeline:
    """The stages, over one cache and one worker.

    Raises ConversionFailed or WorkerError when a converter fails; their `log` is all it wrote.
    """

    def __init__(self, settings: Settings, cache: ArtifactCache, worker: Worker):
        self.settings, self.cache, self.worker = settings, cache, worker
        self._opened: dict[tuple[str, str], SampleSet] = {}
        self._failures: dict[str, WorkerError | ConversionFailed] = {}

    def weights(self, spec: ModelSpec) -> Weights:
        """Where the model's weights come from in this run; see `find_weights`."""
        if spec.own:
            return Weights("own", spec.own.file)
        chosen = self.settings
        return find_weights(spec, chosen.profile, chosen.weights_dir, chosen.random_weights)

    def samples(self, spec: ModelSpec, split: str):
        """The model's `SampleSet` of a split, at the size of the run's profile."""
        if spec.own:
            key = spec.name, split
            if key not in self._opened:
                self._opened[key] = own_samples(spec, split)
            return self._opened[key]
        network = spec.network(self.settings.profile)
        *size, channels = network.picture_shape
        folder = self.settings.data_dir
        data = spec.task if folder else spec.data
        return calibration_data.load(data, split, tuple(size), channels, folder, network.classes)

    def audit(self, spec: ModelSpec) -> list[dict] | None:
        """What is wrong with a user's calibration pictures; None for the project's own data."""
        if not (spec.own or self.settings.data_dir):
            return None
        sets = [self.samples(spec, split) for split in ("calibration", "evaluation")]
        classes, minimum = (
            spec.network(self.settings.profile).classes,
            self.settings.min_calibration_samples,
        )
        parts = {
            "sets": [samples.digest() for samples in sets],
            "preprocessing": repr(spec.preprocessing),
            "expected": [classes, minimum],
            "code": [code_digest(name) for name in stages.audited_by()],
        }

        def build(directory: Path) -> dict:
            return {"findings": findings(*sets, spec.preprocessing, classes, minimum)}

        return self.cache.get_or_build("audit", parts, build).meta["findings"]

    def resolved(self, spec: ModelSpec) -> ModelSpec:
        """The model itself; a team's own one with its input as its file has it."""
        if not spec.own:
            return spec
        own = spec.own
        parts = {"file": self.weights(spec).identity, "ends": [own.inputs, own.outputs]}
        asked = (own.file, own.format, own.inputs, own.outputs)
        kept = self._run(stages.INSPECTION, parts, *asked)
        return resolve(own, ModelFile.of(kept.meta["result"]))

    def artifact(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model quantized by the recipe; for a reference recipe the float artifact."""
        if recipe.is_prequantized:
            return self._prequantized(spec, recipe)
        stages.check_route(spec, recipe)
        exported, converted = self.exported(spec), self._converted(spec, recipe)
        calibrated = self.statistics(spec, recipe.toolchain) if recipe.is_calibrated else None
        built = {"export": exported, "calibrate": calibrated, "quantize": converted}
        peaks = [stage.meta["peak_rss_bytes"] for stage in built.values() if stage]
        return Built(
            as_artifact(
                converted.path / ARTIFACT[recipe.toolchain],
                converted.meta["result"],
                self._provenance(recipe, spec, self.weights(spec).identity),
            ),
            {name: stage and stage.meta["seconds"] for name, stage in built.items()},
            max((peak for peak in peaks if peak is not None), default=None),
            converted.meta["result"].get("calibration"),
        )

    def exported(self, spec: ModelSpec) -> CacheEntry:
        """The float network at its declared size, as its library keeps it.

        Of a frozen graph, a Darknet pair or an ONNX file the entry is what the importer wrote, its
        report in ``meta["result"]``.
        """
        weights, profile, seed = self.weights(spec), self.settings.profile, self.settings.seed
        declared = (spec.network(profile), spec.wrapper, spec.graph, spec.source)
        parts = {
            "network": repr((*declared, spec.preprocessing)),
            "weights": weights.identity,
            "seed": seed,
        }
        arguments = [spec, profile, weights, seed]
        if spec.source_format == "frozen_graph":
            samples = self._calibration_samples(spec)
            parts["samples"] = samples.path.name
            arguments.append(samples.path / SAMPLES)
        return self._run(stages.export_of(spec, profile), parts, *arguments)

    def exported_network(self, spec: ModelSpec) -> tuple[str, Path]:
        """The identity and the file or directory of what float artifacts are converted from."""
        exported = self.exported(spec)
        names = (SAVED_MODEL, PROGRAM, ONNX, TFLITE)
        found = next(exported.path / name for name in names if (exported.path / name).exists())
        return exported.path.name, found

    def statistics(self, spec: ModelSpec, toolchain: str) -> CacheEntry:
        """What every tensor of the float artifact held on the calibration samples.

        Collected once; every calibrated recipe of the toolchain takes its ranges from it.
        """
        float_model = self._converted(spec, REFERENCES[toolchain])
        samples = self._network_inputs(spec)
        parts = {"inputs": [float_model.path.name, samples.path.name]}
        stage = stages.calibration_of(toolchain)
        shards = self.cache.root / "shards" / cache_key({**parts, **stage.identity()})
        collected = self._run(
            stage,
            parts,
            float_model.path / ARTIFACT[toolchain],
            _arrays(samples),
            shards,
            self.settings.calibration_jobs,
        )
        shutil.rmtree(shards, ignore_errors=True)
        return collected

    def _converted(self, spec: ModelSpec, recipe: Recipe) -> CacheEntry:
        exported = self.exported(spec)
        if recipe.is_reference:
            stage = stages.float_of(spec, recipe.toolchain)
            return self._run(stage, {"inputs": [exported.path.name]}, exported.path)
        parts = {"recipe": repr(recipe), "pixel_range": spec.preprocessing.range}
        if recipe.is_calibrated or recipe.toolchain == "onnx":
            float_model = self._converted(spec, REFERENCES[recipe.toolchain])
            found = self.statistics(spec, recipe.toolchain) if recipe.is_calibrated else None
            inputs = [entry.path.name for entry in (float_model, found) if entry]
            return self._run(
                stages.quantization_of(recipe.toolchain),
                parts | {"inputs": inputs},
                float_model.path / ARTIFACT[recipe.toolchain],
                recipe,
                found and found.path / stages.STATISTICS,
                spec.preprocessing.range,
            )
        samples = self._network_inputs(spec) if recipe.activations == "int16" else None
        inputs = [entry.path.name for entry in (exported, samples) if entry]
        return self._run(
            stages.CONVERSION,
            parts | {"inputs": inputs},
            exported.path / SAVED_MODEL,
            recipe,
            samples and _arrays(samples),
        )

    def _prequantized(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model's own quantized file, copied to the cache under its content's name."""
        chosen = self.settings.profile, self.settings.weights_dir
        source = spec.own.file if spec.own else find_quantized_file(spec, *chosen)
        parts = {"file": sha256_of(source)}
        taken = Stage("prequantized", _take, ("runtimes.litert",), ("numpy",))
        kept = self._run(taken, parts, source)
        return Built(
            as_artifact(
                kept.path / TFLITE,
                kept.meta["result"],
                self._provenance(recipe, spec, parts["file"]) | {"file": source.name},
            ),
            {"export": None, "calibrate": None, "quantize": None},
            kept.meta["peak_rss_bytes"],
        )

    def _network_inputs(self, spec: ModelSpec) -> CacheEntry:
        """The calibration samples as they reach the network."""
        samples = self._calibration_samples(spec)
        if spec.source_format != "frozen_graph":
            return samples
        imported = self.exported(spec)
        parts = {"inputs": [imported.path.name, samples.path.name]}
        return self._run(stages.INPUTS, parts, imported.path, samples.path / SAMPLES)

    def _calibration_samples(self, spec: ModelSpec) -> CacheEntry:
        """The preprocessed calibration samples, checked before anything sees them."""
        drawn = self.samples(spec, "calibration")
        as_pixels = spec.source_format == "frozen_graph" and spec.preprocessing.is_identity

        def build(directory: Path) -> None:
            prepared = (
                images if as_pixels else spec.preprocessing.apply(images)
                for images, _ in drawn.batches(BATCH)
            )
            _write_batches(directory / SAMPLES, prepared, len(drawn))

        parts = {
            "digest": drawn.digest(),
            "as_pixels": as_pixels,
            "preprocessing": repr(spec.preprocessing),
            "code": [code_digest(name) for name in (PREPARED_BY, *spec.preprocessing.modules)],
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

    def _run(self, stage: Stage, parts: dict, *arguments) -> CacheEntry:
        """The cached result of a stage, run in the worker on a miss, its log kept either way.

        A stage that failed raises the same exception to every recipe that needs it:
        ConversionFailed where the reason is known, else the WorkerError.
        """
        parts = parts | stage.identity()
        key = cache_key({"kind": stage.kind, "parts": parts})
        if key in self._failures:
            raise self._failures[key]

        def build(directory: Path) -> dict:
            log = self.cache.root / "logs" / f"{directory.name}.log"
            result = self.worker.run(
                stage.function,
                *arguments,
                directory,
                timeout_s=self.settings.stage_timeout_s,
                log=log,
            )
            log.replace(directory / "converter.log")
            if (result.peak_rss_bytes or 0) > RECYCLE_ABOVE:
                self.worker.close()  # converters give little back: the next stage starts afresh
            took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
            return took | {"result": result.value}

        try:
            return self.cache.get_or_build(stage.kind, parts, build)
        except WorkerError as error:
            self._failures[key] = diagnosed(error, stage.kind)
            raise self._failures[key] from error

    def _provenance(self, recipe: Recipe, spec: ModelSpec, weights: str) -> dict:
        return {
            "model": spec.name,
            "recipe": recipe.name,
            "profile": self.settings.profile,
            "weights": weights,
            "versions": stages.float_of(spec, recipe.toolchain).identity()["versions"],
        }


def _write_batches(path: Path, batches: Iterator[np.ndarray], count: int) -> None:
    """An `.npy` file of `count` samples, of which a batch at a time is in memory."""
    first = next(batches)
    shape = (count, *first.shape[1:])
    stored = np.lib.format.open_memmap(path, "w+", first.dtype, shape)
    done = 0
    for batch in itertools.chain([first], batches):
        stored[done : done + len(batch)] = batch
        done += len(batch)
    stored.flush()


def _arrays(entry: CacheEntry) -> Path:
    """The file of calibration samples in an entry."""
    behind_the_host = entry.path / export.NETWORK_INPUTS
    return behind_the_host if behind_the_host.is_file() else entry.path / SAMPLES


def _take(source: Path, directory: Path) -> dict:
    """Copies a quantized file into the cache; returns its description. Runs in the worker."""
    described = describe(source)
    shutil.copyfile(source, directory / TFLITE)
    return described
