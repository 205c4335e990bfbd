"""From a declaration to an artifact: export, calibrate, quantize, each once and kept in the cache.

    pipeline = Pipeline(settings, cache, worker)
    pipeline.artifact(spec, recipe)      -> Built, with the `Artifact` and what it took

What is done is a list of steps (`steps.py`), each a function that runs in the worker process; its
cache key holds all that its result depends on: the declaration, the code that builds and converts,
weights, calibration samples, recipe, library versions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from int8gate.engine.cache import ArtifactCache, CacheEntry
from int8gate.engine.file_digest import sha256_of
from int8gate.engine.worker import Worker
from int8gate.model_zoo.spec import PREQUANTIZED, ModelSpec
from int8gate.model_zoo.weights import Weights, find_quantized_file, find_weights
from int8gate.quantizers import artifact_steps, file_scales, stages, steps
from int8gate.quantizers.data_sets import DataSets
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.stage import StageRunner
from int8gate.quantizers.steps import Drawn, Step, run_steps
from int8gate.quantizers.toolchains import registry as toolchains
from int8gate.quantizers.toolchains import toolchain as kinds
from int8gate.quantizers.toolchains.toolchain import Toolchain
from int8gate.runtimes.artifact import STATISTICS, Artifact, as_artifact, sample_file

if TYPE_CHECKING:
    from int8gate.model_zoo.user_models.inspection import ModelFile

RGB = 3  # channels, where nothing says how many
ALONE = (".safetensors", ".h5", ".pb", ".tflite")  # suffixes of weights that are one file


@dataclass(frozen=True)
class Built:
    """An artifact, the seconds of each stage when it was built, and the peak memory of its worker.

    `peak_rss_bytes` is the largest of the stages, None where the system does not tell.
    `calibration` is the record's: the method and a row for each tensor, None without ranges.
    `notes` are sentences for the record on what the recipe did, `log` is the converter's.
    `training` is how a trained recipe's training went, None of others.
    """

    artifact: Artifact
    seconds: dict = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    calibration: dict | None = None
    notes: tuple[str, ...] = ()
    log: Path | None = None
    training: dict | None = None


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
        if not spec.own:
            return spec
        from int8gate.model_zoo.user_models.resolve import resolve

        return resolve(spec.own, self._inspected(spec))

    def float_twin(self, spec: ModelSpec) -> ModelSpec:
        """What an own quantized model was made from, at the quantized file's input.

        Raises ValueError naming table and key where that file is no float model of such an input.
        """
        from int8gate.model_zoo.user_models.resolve import declared_spec, resolve

        own, network = spec.own_model, spec.network(self.settings.profile)
        twin = declared_spec(own.twin(network.size, network.input_shape[-1]))
        found = self._inspected(twin)
        if found.is_quantized:
            file = twin.own_model.file.name
            raise ValueError(
                f"{own.where}: float_file {file} is quantized, too: name the float model, or leave "
                "the key out"
            )
        return replace(resolve(twin.own, found), recipes=PREQUANTIZED)  # nothing calibrates it

    def output_names(self, spec: ModelSpec) -> tuple[str, ...]:
        """Those of an own model's file, in its order."""
        return tuple(output.name for output in self._inspected(spec).outputs)

    def has_scales(self, spec: ModelSpec) -> bool:
        """Whether a model came with scales of its own (`file_scales`), which are what ships."""
        return bool(spec.own and self._inspected(spec).has_scales)

    def _inspected(self, spec: ModelSpec) -> ModelFile:
        from int8gate.model_zoo.user_models.inspection import ModelFile, TrainedNetwork

        own = spec.own_model
        parts = {"file": self.identity(spec), "ends": [own.inputs, own.outputs, own.signature]}
        ends = own.inputs, own.outputs
        trained = own.qat and TrainedNetwork(own.qat.network, own.size, own.channels or RGB)
        stage = replace(stages.INSPECTION, named=(own.qat.network,)) if own.qat else None
        parts |= {"trained": repr(trained)} if trained else {}
        asked = (own.file, own.format, *ends, self.settings.trust, own.signature, trained)
        kept = self.runner.run(stage or stages.INSPECTION, parts, lambda: asked)
        return ModelFile.of(kept.meta["result"])

    def artifact(self, spec: ModelSpec, recipe: Recipe) -> Built:
        """The model quantized by the recipe; for a reference recipe the float artifact."""
        toolchain = toolchains.find(recipe.toolchain)
        if recipe.is_prequantized:
            return self._prequantized(spec, recipe, toolchain)
        stages.check_route(spec, recipe)
        self.data.check(spec)
        done = run_steps(self.steps(spec, recipe), self.runner)
        converted = done[steps.FLOAT if recipe.is_reference else steps.QUANTIZED]
        named = done.get(steps.NAMED, converted)
        remedied = [
            done[steps.after(steps.FLOAT, recipe.remedies[: count + 1])]
            for count in range(len(recipe.remedies))
        ]
        built = {
            "export": done[steps.EXPORTED],
            "calibrate": done.get(steps.STATISTICS),
            "quantize": converted,
        }
        trained = done.get(steps.TRAINED)
        if trained:
            built["train"] = trained
        peaks = [stage.meta["peak_rss_bytes"] for stage in built.values() if stage]
        return Built(
            as_artifact(
                named.path / toolchain.file,
                named.meta["result"],
                self._provenance(recipe, spec, self.identity(spec)),
            ),
            {name: stage and stage.meta["seconds"] for name, stage in built.items()},
            max((peak for peak in peaks if peak is not None), default=None),
            converted.meta["result"].get("calibration"),
            tuple(
                note
                for stage in (*remedied, converted)
                for note in stage.meta["result"].get("notes", ())
            ),
            converted.path / "converter.log",
            trained and trained.meta["result"]["training"],
        )

    def steps(self, spec: ModelSpec, recipe: Recipe) -> list[Step | Drawn]:
        """What is done for the artifact of a recipe, in this order."""
        toolchain = toolchains.find(recipe.toolchain)
        if self.has_scales(spec):
            file_scales.check_recipe(spec.name, recipe)
        if recipe.is_reference:
            listed = [*self._export(spec), artifact_steps.float_artifact(spec, toolchain)]
        else:
            quantization = toolchain.quantization(recipe)
            listed = self._export(spec)
            if quantization.reads == kinds.FLOAT:
                listed.append(artifact_steps.float_artifact(spec, toolchain))
            if quantization.takes:
                listed += self._samples(spec, "calibration")
            if quantization.takes == kinds.STATISTICS:
                listed.append(artifact_steps.calibration(toolchain))
            listed += artifact_steps.remedies(recipe, toolchain)
            if recipe.is_trained:
                listed.append(
                    artifact_steps.training(spec, recipe, toolchain, self.settings, self.data)
                )
            listed.append(artifact_steps.quantization(spec, recipe, quantization))
        if spec.own and toolchain.naming and not source_of(spec).keeps_names:
            listed.append(artifact_steps.naming(self._inspected(spec), listed[-1].name, toolchain))
        return listed

    def exported(self, spec: ModelSpec) -> CacheEntry:
        """The float network at its declared size, as its library keeps it.

        Of a source that is reported (`sources.py`) the importer's report is ``meta["result"]``.
        """
        return run_steps(self._export(spec), self.runner)[steps.EXPORTED]

    def statistics(self, spec: ModelSpec, toolchain: str, split: str = "calibration") -> CacheEntry:
        """What every tensor of the float artifact held on the calibration samples.

        Collected once; every calibrated recipe of the toolchain takes its ranges from it. Of the
        split "evaluation": on `activation_audit.SAMPLES` of it, for the audit.
        """
        chosen = toolchains.find(toolchain)
        listed = [
            *self._export(spec),
            artifact_steps.float_artifact(spec, chosen),
            *self._samples(spec, split),
        ]
        listed.append(artifact_steps.calibration(chosen))
        return run_steps(listed, self.runner)[steps.STATISTICS]

    def _export(self, spec: ModelSpec) -> list[Step | Drawn]:
        weights, profile, seed = self.weights(spec), self.settings.profile, self.settings.seed
        source = source_of(spec)
        declared = (spec.network(profile), spec.wrapper, spec.graph, spec.source)
        parts = {
            "network": repr((*declared, spec.preprocessing)),
            "weights": self.identity(spec),
            "seed": seed,
        }
        stage, asked = source.stage(spec, profile), (spec, profile, weights, seed)
        if not source.sees_samples:
            return [Step(steps.EXPORTED, stage, lambda: asked, parts=parts)]
        samples = Drawn(steps.CALIBRATION_SAMPLES, lambda: self.data.calibration(spec))
        return [
            samples,
            Step(
                steps.EXPORTED,
                stage,
                lambda drawn: (*asked, sample_file(drawn.path)),
                (samples.name,),
                parts,
            ),
        ]

    def _samples(self, spec: ModelSpec, split: str) -> list[Step | Drawn]:
        """The samples as they reach the network, as the step `INPUTS`."""
        draw = self.data.scored if split == "evaluation" else self.data.calibration
        source, network = source_of(spec), spec.network(self.settings.profile)
        if network.calls:
            return [Drawn(split, lambda: draw(spec)), self._recorded(spec, split)]
        if not source.is_cut:
            return [Drawn(steps.INPUTS, lambda: draw(spec))]
        is_drawn = source.sees_samples and split == "calibration"  # for the export
        name = steps.CALIBRATION_SAMPLES if split == "calibration" else split
        behind_host = Step(
            steps.INPUTS,
            stages.INPUTS,
            lambda imported, drawn: (imported.path, sample_file(drawn.path)),
            (steps.EXPORTED, name),
        )
        return [behind_host] if is_drawn else [Drawn(name, lambda: draw(spec)), behind_host]

    def _recorded(self, spec: ModelSpec, split: str) -> Step:
        """The inputs of a step's calls on the samples of a split."""
        settings, weights = self.settings, self.weights(spec)
        network = spec.network(settings.profile)
        return Step(
            steps.INPUTS,
            stages.calls_of(network),
            lambda drawn: (
                *(spec, settings.profile, weights, settings.seed),
                sample_file(drawn.path),
            ),
            (split,),
            {"network": repr(network), "weights": self.identity(spec), "seed": settings.seed},
        )

    def _prequantized(self, spec: ModelSpec, recipe: Recipe, toolchain: Toolchain) -> Built:
        """The model's own quantized file, copied to the cache under its content's name."""
        recipe.check_mix()
        chosen = self.settings.profile, self.settings.weights_dir
        source = spec.own.file if spec.own else find_quantized_file(spec, *chosen)
        parts = {"file": sha256_of(source)}
        kept = self.runner.run(toolchain.taking, parts, lambda: (source,))
        return Built(
            as_artifact(
                kept.path / toolchain.file,
                kept.meta["result"],
                self._provenance(recipe, spec, parts["file"]) | {"file": source.name},
            ),
            {"export": None, "calibrate": None, "quantize": None},
            kept.meta["peak_rss_bytes"],
        )

    def _provenance(self, recipe: Recipe, spec: ModelSpec, weights: str) -> dict:
        float_stage = toolchains.find(recipe.toolchain).floats[source_of(spec).form]
        return {
            "model": spec.name,
            "recipe": recipe.name,
            "profile": self.settings.profile,
            "weights": weights,
            "versions": float_stage.identity()["versions"],
        }
