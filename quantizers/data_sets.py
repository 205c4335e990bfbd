"""The data sets of a run: opened where pictures are needed, elsewhere known by digest and count.

The digest of the project's own scenes depends on nothing but code, libraries and parameters, so
the cache keeps it: a run in which everything is known draws no scene and decodes no picture. A
user's own pictures, and the text that comes with Python, are read again in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate import calibration_data
from int8gate.calibration_data.drawn_samples import DrawnSamples, is_kept
from int8gate.calibration_data.sample_set import SampleSet, Subset, check_calibration
from int8gate.engine import code_identity
from int8gate.engine.cache import ArtifactCache, CacheEntry
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers import activation_audit, stages
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.stage import StageRunner
from int8gate.runtimes.artifact import sample_file
from int8gate.tasks.registry import scenes


@dataclass(frozen=True)
class SetFacts:
    """What cache keys and sample counts take of a `SampleSet`."""

    digest: str
    count: int


class DataSets:
    """The sample sets of a run by model and split, and what the cache keeps of them."""

    def __init__(self, settings: Settings, runner: StageRunner):
        self.settings, self.runner = settings, runner
        self._opened: dict[tuple, SampleSet] = {}

    def samples(self, spec: ModelSpec, split: str) -> SampleSet:
        """The model's `SampleSet` of a split, at the size of the run's profile."""
        network = None if spec.own else spec.network(self.settings.profile)
        key = spec.name, split, repr(network)
        if key not in self._opened:
            self._opened[key] = open_samples(spec, split, self.settings)
        return self._opened[key]

    def evaluation(self, spec: ModelSpec) -> SampleSet:
        """The samples of evaluation; the project's own pictures from a file that models share."""
        samples = self.samples(spec, "evaluation")
        is_own = not _is_drawn(spec, self.settings) or _is_text(spec, self.settings)
        if is_own or not is_kept(samples):
            return samples
        digest = self.known(spec, "evaluation").digest
        entry = self.runner.run(stages.DRAWN, {"samples": digest}, lambda: (samples,))
        return DrawnSamples(samples, entry.path)

    def check(self, spec: ModelSpec) -> None:
        """Reads a user's pictures of both splits, once; raises one ValueError with all faults."""
        if _is_drawn(spec, self.settings):
            return
        for split in ("calibration", "evaluation") if spec.is_calibrated else ("evaluation",):
            samples = self.samples(spec, split)
            parts = {"samples": samples.digest()}
            self.runner.run(stages.PICTURE_CHECK, parts, lambda read=samples: (read,))

    def known(self, spec: ModelSpec, split: str) -> SetFacts:
        """Digest and count of `samples`, which are not opened where the cache knows them."""
        if _is_drawn(spec, self.settings) and not _is_text(spec, self.settings):
            return _drawn_facts(spec, split, self.settings, self.runner.cache)
        samples = self.samples(spec, split)
        return SetFacts(samples.digest(), len(samples))

    def audit(self, spec: ModelSpec) -> list[dict] | None:
        """What is wrong with a user's calibration pictures; None for the project's own data."""
        if _is_drawn(spec, self.settings) or not spec.is_calibrated:
            return None
        if spec.network(self.settings.profile).inputs:
            return []  # what is wrong with arrays was refused when they were read
        sets = [self.samples(spec, split) for split in ("calibration", "evaluation")]
        classes = spec.network(self.settings.profile).classes
        minimum = self.settings.min_calibration_samples
        parts = {
            "sets": [samples.digest() for samples in sets],
            "preprocessing": repr(spec.preprocessing),
            "expected": [classes, minimum],
        }
        asked = (*sets, spec.preprocessing, classes, minimum)
        stage = stages.picture_audit_of(spec)
        return self.runner.run(stage, parts, lambda: asked).meta["result"]

    def calibration(self, spec: ModelSpec) -> CacheEntry:
        """The preprocessed calibration samples, checked before anything sees them."""
        digest = self.known(spec, "calibration").digest
        entry = self._prepared(spec, digest, lambda: self.samples(spec, "calibration"))
        network, minimum = (
            spec.network(self.settings.profile),
            self.settings.min_calibration_samples,
        )
        expected = (spec.name, network.sample_shape, spec.preprocessing.range, minimum)

        def check() -> None:
            stored = np.load(sample_file(entry.path), mmap_mode="r", allow_pickle=False)
            first = stored if isinstance(stored, np.ndarray) else stored["input_0"]
            check_calibration(first, *expected)

        parts = {"samples": entry.key, "expected": expected}
        parts |= code_identity.identity("int8gate.calibration_data.sample_set:check_calibration")
        self.runner.cache.remembered("sample_check", parts, check)
        return entry

    def scored(self, spec: ModelSpec) -> CacheEntry:
        """Preprocessed samples of evaluation, as many as the audit of activations takes."""
        few = Subset(self.samples(spec, "evaluation"), activation_audit.SAMPLES)
        return self._prepared(
            spec, few.digest(), lambda: Subset(self.evaluation(spec), activation_audit.SAMPLES)
        )

    def _prepared(self, spec: ModelSpec, digest: str, drawn: Callable[[], SampleSet]) -> CacheEntry:
        """Samples with that digest, preprocessed; of a graph that takes pixels, as they are."""
        as_pixels = source_of(spec).is_cut and spec.preprocessing.is_identity
        parts = {
            "digest": digest,
            "as_pixels": as_pixels,
            "preprocessing": repr(spec.preprocessing),
        }
        asked = (spec.preprocessing, as_pixels)
        return self.runner.run(stages.preparation_of(spec), parts, lambda: (drawn(), *asked))


def open_samples(spec: ModelSpec, split: str, settings: Settings) -> SampleSet:
    """The model's samples of a split, at the size of the run's profile."""
    if spec.own:
        from int8gate.model_zoo.user_models.resolve import own_samples

        return own_samples(spec, split)
    network = spec.network(settings.profile)
    if network.tokenizer and not settings.data_dir:
        tokenizer = resolve(network.tokenizer)(_repository(spec, settings))
        given = network.drawn or network.inputs
        return calibration_data.load_text(spec.data, split, given, tokenizer)
    data, size, channels, classes = _wanted(spec, settings)
    return calibration_data.load(data, split, size, channels, settings.data_dir, classes)


def _repository(spec: ModelSpec, settings: Settings) -> str | Path | None:
    """Where the tokenizer of a full network is: with the weights in a folder, or on the hub."""
    folder = settings.weights_dir and Path(settings.weights_dir) / spec.name
    if settings.profile == "full" and folder and folder.is_dir():
        return folder
    return spec.network(settings.profile).official


def _is_drawn(spec: ModelSpec, settings: Settings) -> bool:
    """Whether the samples are the project's own scenes, not a user's pictures."""
    return not (spec.own or settings.data_dir)


def _is_text(spec: ModelSpec, settings: Settings) -> bool:
    """Whether a tokenizer makes samples: some are cut from the text of this Python, which is read
    in every run, since another version has another.
    """
    return not spec.own and spec.network(settings.profile).tokenizer is not None


def _drawn_facts(spec: ModelSpec, split: str, settings: Settings, cache: ArtifactCache) -> SetFacts:
    """Of the project's own scenes, which are drawn only where the cache does not know them."""
    data, size, channels, _ = _wanted(spec, settings)
    parts = {
        "set": [data, split, size, channels],
        **code_identity.identity("int8gate.calibration_data:load", scenes()[data].draw),
    }

    def find() -> dict:
        drawn = open_samples(spec, split, settings)
        return {"digest": drawn.digest(), "count": len(drawn)}

    return SetFacts(**cache.remembered("set_facts", parts, find))


def _wanted(spec: ModelSpec, settings: Settings) -> tuple:
    """Name of the data, height and width, channels, classes."""
    network = spec.network(settings.profile)
    *size, channels = network.picture_shape
    return spec.task if settings.data_dir else spec.data, tuple(size), channels, network.classes
