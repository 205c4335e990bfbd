"""From a declaration to an artifact: export, calibrate, quantize, each once and kept in the cache.

    pipeline = Pipeline(settings, cache, worker)
    pipeline.artifact(spec, recipe)      -> Built, with the `Artifact` and what it took

    model -> exported network -> float artifact -> statistics of its tensors -> quantized artifact

Each stage is a function that runs in the worker process (`stages.py` says which, by source format
and toolchain); its cache key holds all that its result depends on: the declaration, the code that
builds and converts, weights, calibration samples, recipe, library versions.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from int8gate.engine.cache import SHARDS, ArtifactCache, CacheEntry, cache_key
from int8gate.engine.worker import Worker
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models.inspection import ModelFile
from int8gate.model_zoo.user_models.resolve import PREQUANTIZED, declared_spec, resolve
from int8gate.model_zoo.weights import Weights, find_quantized_file, find_weights
from int8gate.quantizers import export, stages
from int8gate.quantizers.data_sets import DataSets
from int8gate.quantizers.ranged import STATISTICS
from int8gate.quantizers.recipe import REFERENCES, Recipe
from int8gate.quantizers.samples import SAMPLES
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.stage_runner import StageRunner
from int8gate.runtimes.artifact import Artifact, as_artifact, sha256_of
from int8gate.runtimes.file_names import ARTIFACT, ONNX, PROGRAM, SAVED_MODEL, TFLITE

ALONE = (".safetensors", ".h5", ".pb", ".tflite")  # suffixes of weights that are one file


@dataclass(frozen=True)
class Built:
    """An artifact, the seconds of each stage when it was built, and the peak memory of its worker.

    `peak_rss_bytes` is the largest of the stages, None where the system does not tell.
    `calibration` is the record's: the method and a row for each tensor, None without ranges.
    `notes` are sentences for the record on what the recipe did, `log` is the converter's.
    """

    artifact: Artifact
    seconds: dict = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    calibration: dict | None = None
    notes: tuple[str, ...] = ()
    log: Path | None = None


class Pipeline:
    """The stages, over one cache and one worker; `data` are the samples that they take.

    Raises ConversionFailed or WorkerError when a converter fails; their `log` is all it wrote.
    """

    def __init__(self, settings: Settings, cache: ArtifactCache, worker: Worker):
        self.settings, self.cache, self.worker = settings, cache, worker
        self.runner = StageRunner(settings, cache, worker)
        self.data = DataSets(settings, self.runner)
        self._identities: dict[tuple, str] = {}

    def weights(self, spec: ModelSpec) -> Weights:
        """Where the model's weights come from in this run; see `find_weights`."""
        if spec.own:
            return Weights("own", spec.own.file, self.settings.trust)
        chosen = self.settings
        return find_weights(spec, chosen.profile, chosen.weights_dir, chosen.random_weights)

    def identity(self, spec: ModelSpec) -> str:
        """Of the model's weights; a file is read again only when it has changed."""
        weights = self.weights(spec)
        if weights.path is None or weights.path.suffix not in ALONE:
            return weights.identity
        state = weights.path.stat()
        key = weights.path, state.st_size, state.st_mtime_ns, state.st_ctime_ns
        if key not in self._identities:
            self._identities[key] = weights.identity
        return self._identities[key]

    def activation_audit(self, spec: ModelSpec, recipe: Recipe) -> list[dict]:
        """What the ranges of a user's calibration set would clip of the evaluation's activations.

        The float network runs over `activation_audit.SAMPLES` pictures of evaluation.
        """
        own = self.statistics(spec, recipe.toolchain)
        scored = self.statistics(spec, recipe.toolchain, "evaluation")
        pixels = spec.preprocessing.range
        kept = self.runner.run(
            stages.ACTIVATION_AUDIT,
            {"inputs": [own.key, scored.key], "recipe": repr(recipe), "pixel_range": pixels},
            lambda: (own.path / STATISTICS, scored.path / STATISTICS, recipe, pixels),
        )
        return kept.meta["result"]

    def resolved(self, spec: ModelSpec) -> ModelSpec:
        """The model itself; a team's own one with its input as its file has it."""
        return resolve(spec.own, self._inspected(spec)) if spec.own else spec

    def float_twin(self, spec: ModelSpec) -> ModelSpec:
        """What an own quantized model was made from, at the quantized file's input.

        Raises ValueError naming table and key where that file is no float model of such an input.
        """
        own, network = spec.own, spec.network(self.settings.profile)
        twin = declared_spec(own.twin(network.size, network.input_shape[-1]))
        found = self._inspected(twin)
        if found.is_quantized:
            raise ValueError(
                f"{own.where}: float_file {own.float_file.name} is quantized, too: name the float "
                "model, or leave the key out"
            )
        return replace(resolve(twin.own, found), recipes=PREQUANTIZED)  # nothing calibrates it

    def output_names(self, spec: ModelSpec) -> tuple[str, ...]:
        """Those of an own model's file, in its order."""
        return tuple(output.name for output in self._inspected(spec).outputs)

    def _inspected(self, spec: ModelSpec) -> ModelFile:
        own = spec.own
        parts = {"file": self.identity(spec), "ends": [own.inputs, own.outputs, own.signature]}
        ends = own.inputs, own.outputs
        asked = (own.file, own.format, *ends, self.settings.trust, own.signature)
        kept = self.runner.run(stages.INSPECTION, parts, lambda: asked)
        return ModelFile.of(kept.meta["result"])

    def artifact(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model quantized by the recipe; for a reference recipe the float artifact."""
        if recipe.is_prequantized:
            return self._prequantized(spec, recipe)
        stages.check_route(spec, recipe)
        self.data.check(spec)
        exported, converted = self.exported(spec), self._converted(spec, recipe)
        calibrated = self.statistics(spec, recipe.toolchain) if recipe.is_calibrated else None
        built = {"export": exported, "calibrate": calibrated, "quantize": converted}
        peaks = [stage.meta["peak_rss_bytes"] for stage in built.values() if stage]
        named = self._named(spec, converted) if recipe.toolchain == "tflite" else converted
        return Built(
            as_artifact(
                named.path / ARTIFACT[recipe.toolchain],
                named.meta["result"],
                self._provenance(recipe, spec, self.identity(spec)),
            ),
            {name: stage and stage.meta["seconds"] for name, stage in built.items()},
            max((peak for peak in peaks if peak is not None), default=None),
            converted.meta["result"].get("calibration"),
            tuple(converted.meta["result"].get("notes", ())),
            converted.path / "converter.log",
        )

    def _named(self, spec: ModelSpec, converted: CacheEntry) -> CacheEntry:
        """An own model's `.tflite` with the names that its file has for inputs and outputs.

        A Darknet file has none, a `.tflite` keeps its own, and those of a frozen graph stand for
        more than the network that was cut out of it.
        """
        if not spec.own or spec.source_format in ("darknet", "tflite", "frozen_graph"):
            return converted
        found = self._inspected(spec)
        names = [[end.name for end in ends] for ends in (found.inputs, found.outputs)]
        parts = {"inputs": [converted.key], "names": names}
        return self.runner.run(stages.NAMING, parts, lambda: (converted.path / TFLITE, *names))

    def exported(self, spec: ModelSpec) -> CacheEntry:
        """The float network at its declared size, as its library keeps it.

        Of a frozen graph, a Darknet pair or an ONNX file the entry is what the importer wrote, its
        report in ``meta["result"]``.
        """
        weights, profile, seed = self.weights(spec), self.settings.profile, self.settings.seed
        declared = (spec.network(profile), spec.wrapper, spec.graph, spec.source)
        parts = {
            "network": repr((*declared, spec.preprocessing)),
            "weights": self.identity(spec),
            "seed": seed,
        }
        if spec.source_format != "frozen_graph":
            asked = (spec, profile, weights, seed)
            return self.runner.run(stages.export_of(spec, profile), parts, lambda: asked)
        samples = self.data.calibration(spec)
        parts["samples"] = samples.key
        return self.runner.run(
            stages.export_of(spec, profile),
            parts,
            lambda: (spec, profile, weights, seed, samples.path / SAMPLES),
        )

    def exported_network(self, spec: ModelSpec) -> tuple[str, Path]:
        """The identity and the file or directory of what float artifacts are converted from."""
        exported = self.exported(spec)
        names = (SAVED_MODEL, PROGRAM, ONNX, TFLITE)
        found = next(exported.path / name for name in names if (exported.path / name).exists())
        return exported.key, found

    def statistics(self, spec: ModelSpec, toolchain: str, split: str = "calibration") -> CacheEntry:
        """What every tensor of the float artifact held on the calibration samples.

        Collected once; every calibrated recipe of the toolchain takes its ranges from it. Of the
        split "evaluation": on `activation_audit.SAMPLES` of it, for the audit.
        """
        float_model = self._converted(spec, REFERENCES[toolchain])
        samples = self._network_inputs(spec, split)
        parts = {"inputs": [float_model.key, samples.key]}
        stage = stages.calibration_of(toolchain)
        shards = self.cache.root / SHARDS / cache_key({**parts, **stage.identity()})
        collected = self.runner.run(
            stage,
            parts,
            lambda: (
                float_model.path / ARTIFACT[toolchain],
                _arrays(samples),
                shards,
                self.settings.calibration_jobs,
            ),
        )
        if not collected.hit:
            shutil.rmtree(shards, ignore_errors=True)
        return collected

    def _converted(self, spec: ModelSpec, recipe: Recipe) -> CacheEntry:
        exported = self.exported(spec)
        if recipe.is_reference:
            stage = stages.float_of(spec, recipe.toolchain)
            return self.runner.run(stage, {"inputs": [exported.key]}, lambda: (exported.path,))
        pixels = spec.preprocessing.range
        parts = {"recipe": repr(recipe), "pixel_range": pixels}
        if recipe.is_calibrated or recipe.toolchain == "onnx":
            float_model = self._converted(spec, REFERENCES[recipe.toolchain])
            found = self.statistics(spec, recipe.toolchain) if recipe.is_calibrated else None
            inputs = [entry.key for entry in (float_model, found) if entry]
            return self.runner.run(
                stages.quantization_of(recipe.toolchain),
                parts | {"inputs": inputs},
                lambda: (
                    float_model.path / ARTIFACT[recipe.toolchain],
                    recipe,
                    found and found.path / STATISTICS,
                    pixels,
                ),
            )
        samples = self._network_inputs(spec) if recipe.activations == "int16" else None
        inputs = [entry.key for entry in (exported, samples) if entry]
        return self.runner.run(
            stages.CONVERSION,
            parts | {"inputs": inputs},
            lambda: (self.exported_network(spec)[1], recipe, samples and _arrays(samples)),
        )

    def _prequantized(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model's own quantized file, copied to the cache under its content's name."""
        chosen = self.settings.profile, self.settings.weights_dir
        source = spec.own.file if spec.own else find_quantized_file(spec, *chosen)
        parts = {"file": sha256_of(source)}
        kept = self.runner.run(stages.PREQUANTIZED, parts, lambda: (source,))
        return Built(
            as_artifact(
                kept.path / TFLITE,
                kept.meta["result"],
                self._provenance(recipe, spec, parts["file"]) | {"file": source.name},
            ),
            {"export": None, "calibrate": None, "quantize": None},
            kept.meta["peak_rss_bytes"],
        )

    def _network_inputs(self, spec: ModelSpec, split: str = "calibration") -> CacheEntry:
        """The samples as they reach the network."""
        is_scored = split == "evaluation"
        samples = self.data.scored(spec) if is_scored else self.data.calibration(spec)
        if spec.source_format != "frozen_graph":
            return samples
        imported = self.exported(spec)
        parts = {"inputs": [imported.key, samples.key]}
        return self.runner.run(
            stages.INPUTS, parts, lambda: (imported.path, samples.path / SAMPLES)
        )

    def _provenance(self, recipe: Recipe, spec: ModelSpec, weights: str) -> dict:
        return {
            "model": spec.name,
            "recipe": recipe.name,
            "profile": self.settings.profile,
            "weights": weights,
            "versions": stages.float_of(spec, recipe.toolchain).identity()["versions"],
        }


def _arrays(entry: CacheEntry) -> Path:
    """The file of calibration samples in an entry."""
    behind_the_host = entry.path / export.NETWORK_INPUTS
    return behind_the_host if behind_the_host.is_file() else entry.path / SAMPLES
